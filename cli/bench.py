"""``codec bench``: rate, distortion and speed over a folder; speeds of the entropy coder."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from siglum.cli import batch
from siglum.cli.output import Reporter, print_json


@click.group(short_help="Rate, distortion and speed, over a folder or of the coder.", no_args_is_help=True)
def bench() -> None:
    """Measure codecs on data of one's own.

    \b
    Examples:
      codec bench image kodak
      codec bench entropy --quick
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


@bench.command(short_help="Measure entropy coders.")
@click.option("--quick", is_flag=True, help="A quarter of the symbols and fewer sizes: about a minute.")
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    metavar="N",
    help="Turns of each coder.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the symbols.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a coder and task on stdout.")
def entropy(quick: bool, repeats: int, seed: int, as_json: bool) -> None:
    """Time siglum's entropy coder beside others that are installed, on sources of known entropy.

    Speeds count CPU time of one thread, the least of all turns; the coders take turns. Every coder must give
    the symbols back before its speed is printed. Below stand siglum's aims, as ratios where they are ratios.

    \b
    Examples:
      codec bench entropy
      codec bench entropy --quick --json > rows.jsonl
    """  # noqa: D301
    from siglum.benchmarks import entropy as benchmark
    from siglum.benchmarks import entropy_report as report
    from siglum.benchmarks.machine import describe

    settings = f"thread CPU time (two threads: wall), least of at most {repeats} turns, int32, uint8 or int16 symbols"
    click.echo(describe(settings, benchmark.PACKAGES), err=as_json)
    rows = []
    for row in benchmark.run(benchmark.tasks(quick, seed), repeats, 0.5 if quick else 1.5, _progress):
        if as_json:
            print_json(asdict(row) | {"over_percent": row.over_percent})
        rows.append(row)
    if not as_json:
        click.echo("\n" + report.table(rows) + "\n\n" + report.verdicts(report.bars(rows)))


def _progress(line: str) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(line, err=True)


def _levels(text: str) -> tuple[int, ...]:
    from siglum.benchmarks.image import levels_of

    try:
        return levels_of(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is no list of levels from 0 to 255, such as 32,96,160", param_hint="--levels"
        ) from error
