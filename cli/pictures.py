"""The seam between the verbs and the image codec; what is heavy is imported when it is called."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from siglum.cli.kinds import SIGLUM, kind_of
from siglum.errors import UsageError

DEFAULT_CODEC = "image"
PROGRESSIVE_CODEC = "image-vq"

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siglum.codecs.container import Limits
    from siglum.codecs.image.picture import Picture


def make_codec(name: str | None = None, **config: Any) -> Any:
    """Return the codec of a name (by default the image codec); settings that are None keep its defaults."""
    from siglum import codecs

    given = {key: value for key, value in config.items() if value is not None}
    return codecs.get(name or DEFAULT_CODEC, **given)


def limits_of(max_pixels: int | None) -> Limits:
    """Return what is accepted of a siglum file; None keeps the default."""
    from siglum.codecs.container import Limits

    return Limits() if max_pixels is None else Limits(max_pixels=max_pixels)


def decode_picture(
    data: bytes,
    threads: int | None = None,
    max_pixels: int | None = None,
    engine: str | None = None,
    region: tuple[int, int, int, int] | None = None,
    factor: int = 1,
) -> Picture:
    """Decode a siglum file, or a region of it, at 1/factor of its size; an engine of None is the codec's own choice.

    Raises
    ------
    BitstreamError
        If it cannot be decoded, or has more than ``max_pixels`` pixels.
    UsageError
        If the region is not within the picture.
    """
    from siglum import codecs

    limits = limits_of(max_pixels)
    given = {} if engine is None else {"engine": engine}
    codec = codecs.codec_of_file(data, limits, threads=threads, **given)
    return _decoded(codec, data, region, factor, limits)


def _decoded(
    codec: Any, data: bytes, region: tuple[int, int, int, int] | None, factor: int, limits: Limits
) -> Picture:
    if factor > 1 and hasattr(codec, "decode_scaled"):
        scaled: Picture = codec.decode_scaled(data, factor, region, limits)
        return scaled
    if factor > 1 and region is not None:
        from siglum.codecs.image.region import Region
        from siglum.codecs.image.scale import check_region

        check_region(Region(*region), factor)
    picture: Picture = (
        codec.decode(data, limits) if region is None else codec.decode_region(data, region, limits)
    )
    if factor == 1:
        return picture
    from siglum.codecs.image.scale import means

    return replace(picture, pixels=means([picture.pixels], factor))


def decode_damaged(
    data: bytes,
    threads: int | None,
    max_pixels: int | None,
    engine: str | None,
    region: tuple[int, int, int, int] | None,
    factor: int,
    partial: bool,
    conceal: bool,
    warn: Callable[[str], None],
) -> Picture:
    """As `decode_picture`, also of what is left of a progressive file; `warn` gets what is guessed.

    Raises
    ------
    UsageError
        If partial or concealed decoding is asked of a codec that has none.
    """
    if not (partial or conceal):
        return decode_picture(data, threads, max_pixels, engine, region, factor)
    from siglum import codecs
    from siglum.codecs.container import read_header

    limits = limits_of(max_pixels)
    name = codecs.name_of_id(read_header(data, limits).codec)
    if name != PROGRESSIVE_CODEC:
        raise UsageError(
            f"--partial and --conceal are for pictures of {PROGRESSIVE_CODEC}, this is one of {name}"
        )
    given = {} if engine is None else {"engine": engine}
    codec = make_codec(name, threads=threads, partial=partial, conceal=conceal, **given)
    with warnings.catch_warnings(record=True) as guessed:
        warnings.simplefilter("always")
        picture = _decoded(codec, data, region, factor, limits)
    for warning in guessed:
        warn(str(warning.message))
    return picture


def parse_region(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """Return x, y, width and height of a text such as 0,128,640,480."""
    if value is None:
        return None
    numbers = value.replace("x", ",").split(",")
    if len(numbers) != 4 or not all(number.strip().isdecimal() for number in numbers):
        raise click.BadParameter(
            f"{value!r} is no region: give X,Y,WIDTH,HEIGHT in pixels, such as 0,128,640,480"
        )
    return tuple(int(number) for number in numbers)


def read_input_picture(keep_metadata: bool, max_pixels: int | None, data: bytes) -> Picture:
    """Return the picture in a file of another format."""
    from siglum.codecs.image.picture import DEFAULT_MAX_PIXELS, read_picture

    return read_picture(data, keep_metadata, DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels)


def load(data: bytes, threads: int | None = None) -> tuple[Picture, int]:
    """Return the picture in a file of either kind, and the file's size in bytes."""
    if kind_of(data) == SIGLUM:
        return decode_picture(data, threads), len(data)
    return read_input_picture(False, None, data), len(data)


def color_of(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H, W) or (H, W, 3 or 4) -> the same without alpha."""
    return pixels if pixels.ndim == 2 else pixels[..., :3]


def color_psnr(reference: NDArray[Any], pixels: NDArray[Any]) -> float:
    """Return the PSNR in dB over gray or RGB; alpha, which is always lossless, does not count."""
    from siglum.benchmarks.metrics import psnr

    return psnr(color_of(reference), color_of(pixels))


def check_codec(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Object to a codec that is not installed, naming near matches."""
    if value is not None:
        from siglum.codecs import CODECS

        if value not in CODECS:
            CODECS.find(value)
    return value
