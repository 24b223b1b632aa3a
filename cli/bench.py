"""``codec bench``: rate, distortion and speed over a folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

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
    "-c", "--codecs", default="siglum,jpeg,webp,avif", show_default=True, metavar="NAMES", help="With commas."
)
@click.option("--levels", metavar="LIST", help="Of siglum, 0 to 255.  [default: nine over the range]")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only so many pictures.")
@click.option("--cache", metavar="FILE", help="Keep what was measured of the other codecs for the next time.")
@batch.threads_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a picture and quality on stdout."
)
def image(
    folder: str,
    codecs: str,
    levels: str | None,
    limit: int | None,
    cache: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Encode and decode every picture below FOLDER with each codec; print means, BD-rates and speeds.

    Rates are those of whole files, PSNR and MS-SSIM are over RGB. The BD-rate is the mean difference in rate
    at equal quality, from 0.1 to 1.5 bits per pixel.

    \b
    Examples:
      codec bench image kodak
      codec bench image kodak -c siglum,jpeg --cache peers.jsonl -T 2
      codec bench image kodak --json > rows.jsonl
    """  # noqa: D301
    from siglum.benchmarks import image as benchmark
    from siglum.benchmarks.machine import describe

    chosen = benchmark.LEVELS if levels is None else _levels(levels)
    coders = benchmark.choose([name.strip() for name in codecs.split(",") if name.strip()], chosen, threads)
    click.echo(describe(f"{folder}, RGB, whole files"), err=True)
    kept = None if cache is None else Path(cache)
    rows = []
    for row in benchmark.run(folder, coders, kept, limit, Reporter(as_json).progress):
        if as_json:
            print_json(asdict(row))
        rows.append(row)
    if not as_json:
        click.echo(benchmark.report(rows, coders))


def _levels(text: str) -> tuple[int, ...]:
    from siglum.benchmarks.image import levels_of

    try:
        return levels_of(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is no list of levels from 0 to 255, such as 32,96,160", param_hint="--levels"
        ) from error
