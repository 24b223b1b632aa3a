"""The rows of ``codec bench entropy`` as text, and what they are held against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from siglum.benchmarks.entropy import Row

HEAD = (
    "coder         settings                            version   encode    decode    bits/sym  over entropy"
)
UNITS = "                                                            Msym/s    Msym/s              %"


@dataclass(frozen=True)
class Bar:
    """A figure and what it should be.

    Attributes
    ----------
    what : str
    value : float
    bound : float or None
        None where the value is only reported.
    at_most : bool
        The bound is the most that is good, not the least.
    unit : str
    """

    what: str
    value: float
    bound: float | None
    unit: str
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure is as good as it should be."""
        if self.bound is None:
            return True
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def table(rows: Iterable[Row]) -> str:
    """One block of lines for every task."""
    lines = []
    for (task, symbols), block in groupby(rows, key=lambda row: (row.task, row.symbols)):
        whole = list(block)
        information = (whole[0].source_bits or 0.0) / max(symbols, 1)
        lines += ["", f"{task}: {symbols:,} symbols of {information:.3f} bits", HEAD, UNITS]
        lines += [line(row) for row in whole]
    return "\n".join(lines[1:])


def line(row: Row) -> str:
    """One coder on one task."""
    start = f"{row.coder:12}  {row.settings:34}  {row.version:8}"
    if row.encode_msps is None or row.decode_msps is None:
        return f"{start}  {row.note}"
    speeds = f"{row.encode_msps:<8.4g}  {row.decode_msps:<8.4g}"
    over = row.over_percent
    if over is None or row.bytes is None:
        return f"{start}  {speeds}"
    wall = "  wall" if row.clock == "wall" else ""
    return f"{start}  {speeds}  {8 * row.bytes / row.symbols:<8.4f}  {over:<8.3f}{wall}".rstrip()


def bars(rows: Sequence[Row]) -> Iterator[Bar]:
    """What the rows say of the project's aims; nothing of a coder that was not there."""

    def find(task: str, coder: str, settings: str, longest: bool = True) -> Row | None:
        key = (task, coder, settings)
        found = [
            row for row in rows if (row.task, row.coder, row.settings) == key and row.encode_msps is not None
        ]
        ordered = sorted(found, key=lambda row: row.symbols)
        return ordered[-1 if longest else 0] if ordered else None

    def ratio(own: Row, other: Row | None, what: str, bound: float, encoding: bool = False) -> Iterator[Bar]:
        same = [
            row for row in rows if other is not None and (row.task, row.symbols) == (own.task, own.symbols)
        ]
        for row in same:
            if other is not None and (row.coder, row.settings) == (other.coder, other.settings):
                ours, theirs = (
                    (own.encode_msps, row.encode_msps) if encoding else (own.decode_msps, row.decode_msps)
                )
                if ours and theirs:
                    yield Bar(f"{own.task}: {what}", ours / theirs, bound, "x")

    for task, bound in (("gauss20", 1.0), ("laplace 4 bits", 0.95)):
        own = find(task, "siglum", "compress")
        if own is None:
            continue
        yield Bar(f"{task}: decode", own.decode_msps or 0, 2000, "Msym/s")
        yield Bar(f"{task}: encode", own.encode_msps or 0, 1500, "Msym/s")
        yield Bar(f"{task}: over entropy", own.over_percent or 0, 0.45, "%", at_most=True)
        yield from ratio(own, find(task, "zstd", "level 1 (zstd -1)"), "decode by zstd -1", bound)
    own = _of_size(rows, "64 Gaussian tables", "compress")
    if own is not None:
        yield Bar(f"{own.task}: decode", own.decode_msps or 0, 1000, "Msym/s")
        yield Bar(f"{own.task}: encode", own.encode_msps or 0, 1000, "Msym/s")
        other = find(own.task, "constriction", "ANS, QuantizedGaussian")
        yield from ratio(own, other, "decode by constriction's QuantizedGaussian", 100)
        other = find(own.task, "compressai", "lists ready")
        yield from ratio(own, other, "decode by compressai", 30)
        yield from ratio(own, other, "encode by compressai", 30, encoding=True)
    for task in ("laplace 4 bits", "64 Gaussian tables"):
        small = find(task, "siglum", "Encoder, one chunk", longest=False)
        if small is not None and small.symbols <= 1000:
            yield Bar(f"{task}, {small.symbols:,} symbols: decode", small.decode_msps or 0, 30, "Msym/s")
            yield Bar(f"{task}, {small.symbols:,} symbols: encode", small.encode_msps or 0, 30, "Msym/s")
        lone = find(task, "siglum", "Encoder, 1 lane", longest=False)
        if lone is not None and lone.symbols <= 1000:
            fixed = (lone.bytes or 0) - (lone.table_bits or 0) / 8
            yield Bar(
                f"{task}, {lone.symbols:,} symbols: beyond the entropy", fixed, 4, "bytes", at_most=True
            )
    for row in rows:
        if row.settings == "precise" and row.over_percent is not None:
            yield Bar(f"{row.task}: precise, over entropy", row.over_percent, 0.01, "%", at_most=True)
    for row in rows:
        own = next(
            (r for r in rows if (r.task, r.symbols, r.settings) == (row.task, row.symbols, "compress")), None
        )
        if row.threads == 2 and row.coder == "siglum" and row.decode_msps and own and own.decode_msps:
            yield Bar(
                f"{row.task}: 2 threads (wall) by 1, decode", row.decode_msps / own.decode_msps, None, "x"
            )


def verdicts(found: Iterable[Bar]) -> str:
    """The bars as lines."""
    lines = []
    for bar in found:
        start = f"{bar.what:62}  {bar.value:<9.4g} {bar.unit:6}"
        if bar.bound is None:
            lines.append(start.rstrip())
            continue
        word = "at most" if bar.at_most else "at least"
        lines.append(f"{start}  {word:8}  {bar.bound:<6g}  {'met' if bar.met else 'missed'}")
    return "\n".join(lines)


def _of_size(rows: Sequence[Row], task: str, settings: str) -> Row | None:
    """The row of the full comparison, in which all coders took part."""
    full = {(row.task, row.symbols) for row in rows if row.settings == "precise"}
    found = (
        row for row in rows if row.task == task and row.settings == settings and row.decode_msps is not None
    )
    return next((row for row in found if (row.task, row.symbols) in full), None)
