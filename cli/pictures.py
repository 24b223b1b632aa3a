"""The seam between the verbs and the image codec; what is heavy is imported when it is called."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from siglum.cli.inputs import Input, accept_both
from siglum.cli.kinds import SIGLUM, kind_of
from siglum.errors import LimitExceeded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siglum.codecs.image.picture import Picture


def make_codec(**config: Any) -> Any:
    """Return an image codec; settings that are None keep the codec's defaults, except ``lossless``."""
    from siglum.codecs.image.codec import ImageCodec

    given = {name: value for name, value in config.items() if value is not None or name == "lossless"}
    return ImageCodec(**given)


def decode_picture(data: bytes, threads: int | None = None, max_pixels: int | None = None) -> Picture:
    """Decode a siglum file.

    Raises
    ------
    BitstreamError
        If it cannot be decoded.
    """
    from siglum.codecs.image.codec import ImageCodec

    if max_pixels is not None:
        import siglum

        shape = siglum.inspect(data).shape
        if math.prod(shape[:2]) > max_pixels:
            size = f"{shape[1]}x{shape[0]}"
            raise LimitExceeded(
                f"the picture ({size}) has more than {max_pixels} pixels, the limit that was set"
            )
    picture: Picture = ImageCodec(**({} if threads is None else {"threads": threads})).decode(data)
    return picture


def read_input_picture(source: Input, keep_metadata: bool, max_pixels: int | None, data: bytes) -> Picture:
    """Return the picture in a file of another format."""
    from siglum.codecs.image.picture import DEFAULT_MAX_PIXELS, read_picture

    return read_picture(data, keep_metadata, DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels)


def load(source: Input, threads: int | None = None) -> tuple[Picture, int]:
    """Return the picture in a file of either kind, and the file's size in bytes."""
    data = source.read(accept_both)
    if kind_of(data) == SIGLUM:
        return decode_picture(data, threads), len(data)
    return read_input_picture(source, False, None, data), len(data)


def color_of(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H, W) or (H, W, 3 or 4) -> the same without alpha."""
    return pixels if pixels.ndim == 2 else pixels[..., :3]


def color_psnr(reference: NDArray[Any], pixels: NDArray[Any]) -> float:
    """Return the PSNR in dB over gray or RGB; alpha, which is always lossless, does not count."""
    from siglum.benchmarks.metrics import psnr

    return psnr(color_of(reference), color_of(pixels))


def check_codec(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Object to a codec that the command line does not know, naming near matches."""
    if value in (None, "image"):
        return value
    import difflib

    hint = "did you mean 'image'?" if difflib.get_close_matches(str(value), ["image"]) else "there is: image"
    raise click.BadParameter(f"unknown codec {value!r}; {hint}")
