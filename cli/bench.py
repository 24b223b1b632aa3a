"""``codec bench``: rate, distortion and speed over pictures, sound and arrays; speeds of the entropy coder."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from siglum.cli.errors import SOME_FAILED, CommandFailed
from siglum.cli.output import print_json, say
from siglum.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from siglum.benchmarks.entropy_report import Bar
    from siglum.benchmarks.rows import Row


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
    "`codec bench quantizers` the quantizers. A folder called run, report, entropy or quantizers is ./run, "
    "./report, ./entropy, ./quantizers. "
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
    Codecs:  image jpeg jpeg-444 jpeg2000 webp avif avif-s4 jxl heif; opus aac mp3 vorbis; zstd lz4 zfp
    Metrics: psnr psnr-y ms-ssim ssimulacra2 top1-agreement; si-sdr mel pesq stoi visqol;
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
        _names(codecs),
        _dials(qualities),
        _names(metrics),
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
    with _rows_path(rows_file, resume, force) as path:
        rows = harness.run(
            planned,
            path,
            shlex.join(["codec", *sys.argv[1:]]),
            jobs=jobs,
            keep=None if keep is None else Path(keep),
            resume=resume,
            progress=_progress_bar,
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
    for row in benchmark.run(benchmark.tasks(quick, seed), repeats, 0.5 if quick else 1.5, _progress):
        if as_json:
            print_json(asdict(row) | {"over_percent": row.over_percent})
        rows.append(row)
    if not as_json:
        click.echo("\n" + report.table(rows) + "\n\n" + report.verdicts(report.bars(rows)))


@bench.command(short_help="Measure vector quantizers.")
@click.argument("paths", metavar="[PATH…]", nargs=-1)
@click.option(
    "--codes", type=click.IntRange(1, 64), default=8, show_default=True, metavar="N", help="Of a vector."
)
@click.option(
    "--bits", type=click.IntRange(1, 12), default=8, show_default=True, metavar="N", help="Of each code."
)
@click.option(
    "--vectors",
    type=click.IntRange(1000),
    default=20_000,
    show_default=True,
    metavar="N",
    help="To train on; a quarter as many others are the test.",
)
@click.option(
    "--only",
    metavar="NAMES",
    help="Quantizers with commas, such as residual,PRQ; search for the search alone.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of all that is drawn.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a row on stdout.")
def quantizers(
    paths: tuple[str, ...], codes: int, bits: int, vectors: int, only: str | None, seed: int, as_json: bool
) -> None:
    """Compare siglum's vector quantizers with faiss's and vector-quantize-pytorch's, at equal bits.

    On vectors like SIFT's, which are drawn, and on those of each PATH: latents of pictures by siglum's image model,
    log-mel frames of recordings, vectors along the last axis of arrays (.npy, .safetensors). First stands the search
    for the nearest codeword alone. Everything runs on one thread; times are CPU times.

    \b
    Examples:
      codec bench quantizers
      codec bench quantizers --only search
      codec bench quantizers kodak speech kv.safetensors --json > rows.jsonl
    """  # noqa: D301
    from siglum.benchmarks import quantizer_report as tables
    from siglum.benchmarks import quantizers as benchmark
    from siglum.benchmarks.entropy_report import verdicts
    from siglum.benchmarks.machine import describe
    from siglum.benchmarks.quantizer_methods import methods
    from siglum.benchmarks.quantizer_searches import one_thread
    from siglum.benchmarks.quantizer_sources import sources

    names = _names(only)
    known = {method.name for method in methods()} | {"search"}
    if names is not None and not set(names) <= known:
        raise UsageError(f"--only takes {', '.join(sorted(known))}, not {only!r}")
    one_thread()
    settings = f"one thread, CPU time; {codes} codes of {bits} bits, seed {seed}"
    click.echo(describe(settings, benchmark.PACKAGES), err=as_json)
    found: list[Bar] = []
    if names is None or "search" in names:
        searched = [*benchmark.run_searches(seed), benchmark.run_large(seed)]
        if as_json:
            for row in searched:
                print_json(row.to_dict())
        else:
            _tables(tables.search_table(searched))
            found += tables.search_bars(searched)
    chosen = [method for method in methods() if names is None or method.name in names]
    if chosen:
        given = sources([Path(path) for path in paths], vectors, vectors // 4, seed)
        for source in given:
            rows = []
            for result in benchmark.run([source], chosen, codes, bits, seed, _progress):
                rows.append(result)
                if as_json:
                    print_json(result.to_dict())
            if not as_json:
                _tables(tables.quantizer_table(rows))
                found += tables.quantizer_bars(rows)
    if not as_json:
        click.echo("\n" + verdicts(found))


def _tables(table: Table) -> None:
    """Print a table as wide as it is, so that no figure is cut off."""
    from rich.console import Console

    width = Console(width=1000).measure(table).maximum
    click.echo()
    Console(width=width, highlight=False, markup=False).print(table)


def _progress(line: str) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(line, err=True)


@contextmanager
def _rows_path(given: str | None, resume: bool, force: bool) -> Iterator[Path]:
    """Give the file for the rows: the one that was named, or one that is gone afterwards."""
    if given is None:
        if resume:
            raise UsageError("--resume needs the rows of a run before: name them with --json")
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / "rows.jsonl"
        return
    path = Path(given)
    if path.exists() and not (resume or force):
        raise UsageError(f"{path} exists; --resume goes on with it, -f begins anew")
    yield path


def _render(rows: Path, page: Path, keep: str | None, anchor: str) -> None:
    from siglum.benchmarks.report import render

    render(rows, page, keep=None if keep is None else Path(keep), anchor=anchor)


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"{text!r} names nothing")
    return names


def _dials(given: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """Return the values of dials by codec, "" for those without a name."""
    dials = {}
    for text in given:
        name, _, values = text.rpartition("=")
        try:
            dials[name] = tuple(float(value) for value in values.split(","))
        except ValueError as error:
            raise UsageError(f"{text!r} is no list of values, such as jpeg=40,60,80") from error
    return dials


def _progress_bar(rows: Iterable[Row], count: int) -> Iterable[Row]:
    """Pass rows on; on a terminal, with a bar of how many are done."""
    if sys.stderr is None or not sys.stderr.isatty() or not count:
        yield from rows
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}", markup=False)  # names of files are no markup
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=count)
        for row in rows:
            progress.update(task, advance=1, description=f"{row.codec} {row.item}")
            yield row
