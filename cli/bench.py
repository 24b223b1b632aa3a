"""``codec bench``: rate, distortion and speed over a folder."""

from __future__ import annotations

from dataclasses import asdict

import click

from siglum.cli import batch
from siglum.cli.output import Reporter, print_json


@click.group(short_help="Rate, distortion and speed over a folder.", no_args_is_help=True)
def bench() -> None:
    """Measure codecs on data of one's own.

    \b
    Example:
      codec bench image kodak
    """  # noqa: D301


@bench.command(short_help="Measure picture codecs.", no_args_is_help=True)
@click.argument("folder")
@click.option(
    "-c", "--codecs", default="siglum,jpeg", show_default=True, metavar="NAMES", help="And webp, avif."
)
@click.option("-q", "--qualities", metavar="LIST", help="Of siglum, 0..100.  [default: 5,15,…,95]")
@batch.threads_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a picture and quality on stdout."
)
def image(folder: str, codecs: str, qualities: str | None, threads: int | None, as_json: bool) -> None:
    """Encode and decode every picture below FOLDER with each codec, and print means and BD-rates.

    Rates are those of whole files; PSNR and MS-SSIM are over RGB; rates and decibels are averaged over the
    pictures. The BD-rate is the mean difference in rate at the same quality, against JPEG,
    where both have 0.1 to 1.5 bits per pixel.

    \b
    Examples:
      codec bench image kodak
      codec bench image kodak -c siglum,jpeg,webp,avif --json > points.jsonl
    """  # noqa: D301
    from siglum.benchmarks import images
    from siglum.datasets.images import find_images

    chosen = images.OUR_QUALITIES if qualities is None else tuple(_numbers(qualities))
    names = [name.strip() for name in codecs.split(",") if name.strip()]
    paths = find_images(folder)
    reporter = Reporter(as_json)
    measured = []
    for path in reporter.progress(paths):
        for item in images.measure([path], names, chosen, threads):
            if as_json:
                print_json(asdict(item))
            measured.append(item)
    if as_json:
        return
    points = images.means(measured)
    click.echo(f"{len(paths)} picture{'s' if len(paths) != 1 else ''}")
    click.echo("codec   quality    bpp   PSNR dB  MS-SSIM dB  encode MP/s  decode MP/s")
    for point in points:
        similarity = "-" if point.ms_ssim_db is None else f"{point.ms_ssim_db:.2f}"
        click.echo(
            f"{point.codec:<7} {point.quality:>7g} {point.bpp:>6.3f}  {point.psnr_db:>8.2f}  {similarity:>10}"
            f"  {point.encode_mps:>11.1f}  {point.decode_mps:>11.1f}"
        )
    if "jpeg" in names:
        for name, rates in images.bd_rates(points).items():
            texts = [
                f"{label} {'-' if value is None else f'{value:+.1f} %'}"
                for label, value in zip(("PSNR", "MS-SSIM"), rates.values(), strict=True)
            ]
            click.echo(f"BD-rate of {name} against jpeg: {', '.join(texts)}")


def _numbers(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 <= number <= 100 for number in numbers):
        raise click.BadParameter(f"{text!r} is no list of numbers from 0 to 100, such as 20,40,60")
    return numbers
