"""``codec compare``: how far two pictures or recordings are apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siglum.cli import audio, audio_measure, batch
from siglum.cli.errors import CommandFailed, describe, exit_code_of, show_traceback
from siglum.cli.inputs import STANDARD_INPUT, Input, accept_both
from siglum.cli.output import Reporter, print_json, say
from siglum.cli.pictures import color_of, load
from siglum.cli.units import format_size
from siglum.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siglum.codecs.audio.recording import Recording
    from siglum.codecs.image.picture import Picture


@click.command(short_help="Measures and sizes of two pictures or recordings.", no_args_is_help=True)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@batch.threads_option
@batch.json_option
def compare(first: str, second: str, threads: int | None, as_json: bool) -> None:
    """Compare two pictures of the same size, or two recordings; each is a siglum file or any other.

    Of recordings: SI-SDR, and where the packages pesq and pystoi are installed PESQ-WB and STOI (of the mean of the
    channels at 16 kHz, in pieces of 20 seconds). Both have the same rate and channels; what one has more is left out.

    PSNR and MS-SSIM are over gray or RGB, the largest difference is over alpha too. A picture without alpha
    counts as opaque; gray is compared with RGB as RGB. MS-SSIM needs 176 pixels a side.

    \b
    Examples:
      codec compare photo.png photo.sgl
      codec compare --json photo.png photo.jpg
      codec compare talk.wav talk.sgl
    """  # noqa: D301
    from siglum.codecs.image.picture import Picture

    if first == second == STANDARD_INPUT:
        raise UsageError("standard input (-) can be read only once")
    (a, size_a), (b, size_b) = (_load(name, threads) for name in (first, second))
    if not (isinstance(a, Picture) and isinstance(b, Picture)):
        if isinstance(a, Picture) or isinstance(b, Picture):
            raise UsageError("one is a picture and the other a recording")
        audio_measure.report((first, a, size_a), (second, b, size_b), as_json)
        return
    if a.pixels.shape[:2] != b.pixels.shape[:2]:
        sizes = f"{a.width}x{a.height} and {b.width}x{b.height}"
        raise UsageError(f"the pictures differ in size: {sizes}")
    measured = _measure(a, b)
    pixels = a.width * a.height
    if as_json:
        rates = {"first_bpp": 8 * size_a / pixels, "second_bpp": 8 * size_b / pixels}
        sizes_of = {"first_bytes": size_a, "second_bytes": size_b}
        shape = {"width": a.width, "height": a.height}
        print_json({"first": first, "second": second, **shape, **sizes_of, **rates, **measured})
        return
    width = max(len(first), len(second))
    for name, size in ((first, size_a), (second, size_b)):
        say(f"{name:<{width}}  {format_size(size):>9}  {8 * size / pixels:.3f} bpp")
    similarity = measured["ms_ssim"]
    lines = {
        "PSNR": "infinite" if math.isinf(measured["psnr_db"]) else f"{measured['psnr_db']:.2f} dB",
        "MS-SSIM": "too small for it (176 pixels a side are needed)"
        if similarity is None
        else f"{similarity:.5f} ({_decibels(measured['ms_ssim_db'])})",
        "largest difference": f"{measured['largest_difference']:g} of 255",
    }
    for label, text in lines.items():
        click.echo(f"{label:<18}  {text}")


def _load(name: str, threads: int | None) -> tuple[Picture | Recording, int]:
    source = Input(name, None if name == STANDARD_INPUT else Path(name), Path(name))
    try:
        with Reporter().warnings_of(name), source.open(accept_both) as file:
            if audio.is_recording(file.head) or audio.is_coded(file.head):
                return audio.read_any(source, file, threads)
            return load(file.read(), threads)
    except Exception as error:
        show_traceback(error)
        raise CommandFailed(describe(error, name), exit_code_of(error)) from error


def _measure(a: Picture, b: Picture) -> dict[str, Any]:
    from siglum.benchmarks import metrics

    first, second = color_of(a.pixels), color_of(b.pixels)
    if first.ndim != second.ndim:
        first, second = _as_rgb(first), _as_rgb(second)
    largest = metrics.largest_difference(first, second)
    if 4 in (a.channels, b.channels):
        largest = max(largest, metrics.largest_difference(*(_alpha_of(picture.pixels) for picture in (a, b))))
    similarity = None
    if min(a.width, a.height) >= metrics.MS_SSIM_SMALLEST_SIDE:
        similarity = metrics.ms_ssim(first, second)
    return {
        "psnr_db": metrics.psnr(first, second),
        "ms_ssim": similarity,
        "ms_ssim_db": None if similarity is None else metrics.ms_ssim_db(similarity),
        "largest_difference": largest,
        "equal": largest == 0,
    }


def _as_rgb(color: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    return np.repeat(color[..., None], 3, axis=-1) if color.ndim == 2 else color


def _alpha_of(pixels: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return pixels[..., 3]
    return np.full(pixels.shape[:2], 255, np.uint8)


def _decibels(value: float) -> str:
    return "infinite" if math.isinf(value) else f"{value:.2f} dB"
