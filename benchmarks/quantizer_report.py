"""The rows of ``codec bench quantizers`` as tables, and what they are held against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.table import Table

from siglum.benchmarks.entropy_report import Bar
from siglum.benchmarks.quantizers import LARGE, Row, SearchRow

GFLOPS = {8: 180.0, 64: 230.0}
CDIST = {8: 20.0, 64: 4.0}


def search_table(rows: Sequence[SearchRow]) -> Table:
    """One section for every size of codebook."""
    table = Table(title="Nearest codeword, one thread", title_justify="left", box=None, pad_edge=False)
    for name in ("N", "D", "K", "search", "settings", "version"):
        table.add_column(name, justify="right" if name in "NDK" else "left")
    for name in ("GFLOP/s", "time / siglum's", "as near %", "memory MB"):
        table.add_column(name, justify="right")
    for sizes, block in groupby(rows, key=lambda row: (row.vectors, row.dimension, row.codewords)):
        for row in block:
            start = (*(f"{size:,}" for size in sizes), row.name, row.settings, row.version)
            if row.note:
                table.add_row(*start, row.note)
            else:
                figures = (_number(row.gflops, 0), _number(row.slower, 2), _percent(row.equal))
                table.add_row(*start, *figures, _number(row.peak_mb, 1))
        table.add_section()
    return table


def quantizer_table(rows: Sequence[Row]) -> Table:
    """The quantizers of one source."""
    first = rows[0]
    title = (
        f"{first.source}: {first.train_vectors:,} training and {first.test_vectors:,} test vectors, "
        f"{first.codes} codes of {first.bits} bits"
    )
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("package", "quantizer", "settings"):
        table.add_column(name)
    for name in (
        "distortion",
        "SNR dB",
        "used %",
        "perplexity",
        "train s",
        "encode us",
        "decode us",
        "memory MB",
    ):
        table.add_column(name, justify="right")
    for row in rows:
        start = (f"{row.package} {row.version}", row.name, row.settings)
        if row.note:
            table.add_row(*start, row.note)
            continue
        speeds = (_number(row.train_s, 1), _number(row.encode_us, 2), _number(row.decode_us, 2))
        quality = (_number(row.distortion, 4), _number(row.snr_db, 2), _percent(row.used))
        table.add_row(*start, *quality, _number(row.perplexity, 1), *speeds, _number(row.peak_mb, 0))
    return table


def search_bars(rows: Sequence[SearchRow]) -> Iterator[Bar]:
    """What the searches say of the project's aims."""
    for (vectors, dimension, codewords), block in groupby(
        rows, key=lambda row: (row.vectors, row.dimension, row.codewords)
    ):
        whole = [row for row in block if row.gflops is not None and row.slower is not None]
        size = f"nearest of {codewords}, dimension {dimension}"
        for row in whole:
            if (vectors, dimension, codewords) == LARGE:
                if row.peak_mb is not None:
                    name = f"{size}: memory with {vectors:,} vectors"
                    yield Bar(name, row.peak_mb, 1000.0, "MB", at_most=True)
            elif row.name == "siglum":
                yield Bar(size, row.gflops or 0.0, GFLOPS.get(dimension), "GFLOP/s")
            elif row.settings == "IndexFlatL2":
                yield Bar(f"{size}: faiss's IndexFlatL2", row.slower or 0.0, 1.0, "x")
            elif row.settings.startswith("cdist"):
                yield Bar(f"{size}: torch.cdist and argmin", row.slower or 0.0, CDIST.get(dimension), "x")


def quantizer_bars(rows: Sequence[Row]) -> Iterator[Bar]:
    """Distortions beside faiss's quantizer of the same structure: at most equal."""
    pairs = (("group-residual", "PRQ", "beam 8"), ("residual", "RQ", "beam 8"))
    for source, block in groupby(rows, key=lambda row: row.source):
        whole = [row for row in block if row.distortion is not None]
        for own, other, settings in pairs:
            found = [row for row in whole if row.name == own and row.settings.endswith(settings)]
            peers = [row for row in whole if row.name == other and row.settings.endswith(settings)]
            if found and peers:
                ratio = (found[0].distortion or 0.0) / (peers[0].distortion or 1.0)
                yield Bar(f"{source}: {own} by faiss's {other}, distortion", ratio, 1.0, "x", at_most=True)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
