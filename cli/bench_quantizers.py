"""``codec bench quantizers``: vector quantizers side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from siglum.cli.bench_options import names_of, progress_line
from siglum.cli.output import print_json
from siglum.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from siglum.benchmarks.entropy_report import Bar


@click.command(short_help="Measure vector quantizers.")
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

    names = names_of(only)
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
            for result in benchmark.run([source], chosen, codes, bits, seed, progress_line):
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
