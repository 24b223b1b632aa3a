"""``codec bench``: rate, distortion and speed over pictures, sound and arrays; speeds of the entropy coder."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from siglum.cli.bench_kv import kv
from siglum.cli.bench_options import dials_of, names_of, progress_bar, progress_line, rows_path
from siglum.cli.bench_quantizers import quantizers
from siglum.cli.errors import SOME_FAILED, CommandFailed
from siglum.cli.output import print_json, say

if TYPE_CHECKING:
    pass


class BenchGroup(click.Group):
    """A group whose first word, if it is none of its commands, is a path to be measured."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Put the name of the command that measures before anything that names no other."""
        if not args or args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(context, args)


anchor_option = click.option(
    "--anchor", default="jpeg", show_default=True, metavar="NAME", help="What others are compared with."
)


@click.group(cls=BenchGroup, short_help="Rate, distortion and speed, over a folder or of the coder.")
def bench() -> None:
    """Measure codecs on data of one's own."""


@bench.command(
    short_help="Measure codecs.",
    no_args_is_help=True,
    epilog="`codec bench report ROWS` makes the page anew; `codec bench entropy` times the entropy coder, "
    "`codec bench quantizers` compares vector quantizers, `codec bench kv` measures key-value caches. A folder "
    "called as one of these is ./entropy, and so on. "
    "Exit code: 5 if anything failed, or a codec or metric that was asked for is missing.",
)
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
@click.option("-c", "--codecs", metavar="NAMES", help="With commas.  [default: all that suit the data]")
@click.option(
    "-q",
    "--qualities",
    multiple=True,
    metavar="[NAME=]LIST",
    help="Values of a codec's dial, such as jpeg=40,60,80; without NAME of every codec. May be repeated.",
)
@click.option("--metrics", metavar="NAMES", help="With commas.  [default: those usual for the data]")
@click.option("--json", "rows_file", metavar="FILE", help="Write the rows there, one JSON object a line.")
@click.option("--html", "page", metavar="FILE", help="Write the report, a page that works offline.")
@click.option("--keep", metavar="DIR", help="Keep streams and decoded items, which the report then shows.")
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 1024), default=1, show_default=True, metavar="N", help="Processes."
)
@click.option(
    "-T",
    "--threads",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    metavar="N",
    help="Of every codec that can use more than one.",
)
@click.option("--quick", is_flag=True, help="Three items and four settings of each codec, in a minute.")
@anchor_option
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only so many items of each path.")
@click.option("--resume", is_flag=True, help="Keep the rows that FILE has, measure the others.")
@click.option("-f", "--force", is_flag=True, help="Overwrite FILE.")
def run(
    paths: tuple[str, ...],
    codecs: str | None,
    qualities: tuple[str, ...],
    metrics: str | None,
    rows_file: str | None,
    page: str | None,
    keep: str | None,
    jobs: int,
    threads: int,
    quick: bool,
    anchor: str,
    limit: int | None,
    resume: bool,
    force: bool,
) -> None:
    """Encode and decode every item below PATH with each codec; print means, speeds and BD-rates.

    Items are pictures, sound (.wav, .flac) and arrays (.npy, .safetensors). Whole files count. Everything is
    coded and decoded twice, which must give the same; a time is that of the quicker call, none of which is a
    codec's first. Several processes slow each other down: for speeds, leave -j at 1.

    \b
    Codecs:  image image-vq image-fast jpeg jpeg-444 jpeg2000 webp avif avif-s4 jxl heif
             compressai-NAME;
             audio audio-fullband opus opus-voip aac mp3 vorbis encodec-24khz encodec-48khz dac-16khz
             dac-24khz dac-44khz; tensor tensor-lossy zstd lz4 zfp
    Metrics: psnr psnr-y ms-ssim ssimulacra2 lpips top1-agreement; si-sdr mel pesq stoi visqol visqol-speech;
             mse cosine relative-error; package.module:function for one's own
    \b
    Examples:
      codec bench kodak --quick
      codec bench kodak -c image,jpeg,webp,avif --json rows.jsonl --html report.html --keep kept
      codec bench kodak -c image,jpeg -q image=20,40,60,80 -q jpeg=10,25,50,75 --metrics psnr,ssimulacra2
      codec bench kodak --json rows.jsonl --resume
    """  # noqa: D301
    from siglum.benchmarks import harness, summary
    from siglum.benchmarks.machine import describe

    planned = harness.plan(
        [Path(path) for path in paths],
        names_of(codecs),
        dials_of(qualities),
        names_of(metrics),
        limit=limit,
        quick=quick,
        threads=threads,
    )
    settings = (
        f"{threads} thread{'s' if threads > 1 else ''} a codec, {jobs} process{'es' if jobs > 1 else ''}"
    )
    click.echo(describe(settings), err=True)
    for name, hint in planned.absent_metrics.items():
        say(f"metric {name} is left out: {hint}", err=True)
    with rows_path(rows_file, resume, force) as path:
        rows = harness.run(
            planned,
            path,
            shlex.join(["codec", *sys.argv[1:]]),
            jobs=jobs,
            keep=None if keep is None else Path(keep),
            resume=resume,
            progress=progress_bar,
        )
        if page is not None:
            _render(path, Path(page), keep, anchor)
    say(summary.text(rows, anchor))
    failed = sum(row.item is not None and row.failure is not None for row in rows)
    if failed:
        raise CommandFailed(f"{failed} of {len(rows)} measurements failed", SOME_FAILED)
    # What was not asked for by name may be missing, unless nothing is left.
    asked = codecs is not None or not planned.tasks
    missing = len(planned.absent_metrics) + (len(planned.absent) if asked else 0)
    if missing:
        raise CommandFailed(f"{missing} of the codecs and metrics asked for are missing", SOME_FAILED)


@bench.command(short_help="Make the page of rows.")
@click.argument("rows", metavar="ROWS")
@click.option("--html", "page", required=True, metavar="FILE", help="Where to write the report.")
@click.option("--keep", metavar="DIR", help="Where streams and decoded items were kept.")
@anchor_option
def report(rows: str, page: str, keep: str | None, anchor: str) -> None:
    """Make the report of rows that were measured before, without coding anything.

    \b
    Example:
      codec bench report rows.jsonl --html report.html --keep kept
    """  # noqa: D301
    _render(Path(rows), Path(page), keep, anchor)


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
    for row in benchmark.run(benchmark.tasks(quick, seed), repeats, 0.5 if quick else 1.5, progress_line):
        if as_json:
            print_json(asdict(row) | {"over_percent": row.over_percent})
        rows.append(row)
    if not as_json:
        click.echo("\n" + report.table(rows) + "\n\n" + report.verdicts(report.bars(rows)))


bench.add_command(kv)
bench.add_command(quantizers)


def _render(rows: Path, page: Path, keep: str | None, anchor: str) -> None:
    from siglum.benchmarks.report import render

    render(rows, page, keep=None if keep is None else Path(keep), anchor=anchor)
