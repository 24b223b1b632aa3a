"""Rows of caches as tables: means with intervals, bits at a quality, bytes against rivals at equal quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.benchmarks.rows import Row
from siglum.benchmarks.summary import failures

Floats = NDArray[np.float64]
RESAMPLES = 1000
TARGETS = (0.002, 0.004, 0.006, 0.01, 0.02)
OURS = ("kv", "kv-free")


@dataclass(frozen=True)
class Curve:
    """Rates and divergences of a codec over the documents that have every one of its dials.

    Attributes
    ----------
    documents
        Digests (N,).
    dials
        (D,).
    rates, kl
        (N, D) each: bits an element over all bytes of the file, nats a token.
    """

    documents: tuple[str, ...]
    dials: tuple[float | None, ...]
    rates: Floats
    kl: Floats

    def of(self, documents: Sequence[str]) -> Curve:
        """The part of some documents."""
        chosen = [self.documents.index(document) for document in documents]
        return Curve(tuple(documents), self.dials, self.rates[chosen], self.kl[chosen])

    def rate_at(self, kl: float, drawn: NDArray[np.int64] | None = None) -> float:
        """The least mean rate whose mean divergence is at most ``kl``; NaN if there is none.

        Between two dials the logarithms of both are interpolated.
        """
        rates = self.rates if drawn is None else self.rates[drawn]
        found = self.kl if drawn is None else self.kl[drawn]
        order = np.argsort(rates.mean(0))
        x = np.log(rates.mean(0)[order])
        y = np.minimum.accumulate(np.log(np.maximum(found.mean(0)[order], 1e-12)))
        enough = np.nonzero(y <= np.log(max(kl, 1e-12)))[0]
        if not len(enough):
            return float("nan")
        place = int(enough[0])
        if place == 0 or y[place] == y[place - 1]:
            return float(np.exp(x[place]))
        share = (np.log(max(kl, 1e-12)) - y[place - 1]) / (y[place] - y[place - 1])
        return float(np.exp(x[place - 1] + share * (x[place] - x[place - 1])))


def curve_of(rows: Sequence[Row], codec: str) -> Curve:
    """The curve of a codec; documents that lack a dial are left out."""
    found: dict[str, dict[float | None, tuple[float, float]]] = {}
    dials: dict[float | None, None] = {}
    for row in rows:
        kl = row.metrics.get("kl")
        if row.codec == codec and row.rate is not None and kl is not None and row.item_sha256 is not None:
            dials[row.dial] = None
            found.setdefault(row.item_sha256, {})[row.dial] = (row.rate, kl)
    whole = tuple(document for document, got in found.items() if len(got) == len(dials))
    cube = np.array([[found[document][dial] for dial in dials] for document in whole], np.float64)
    cube = cube.reshape(len(whole), len(dials), 2)
    return Curve(whole, tuple(dials), cube[..., 0], cube[..., 1])


def interval(statistic: Callable[[NDArray[np.int64]], float], count: int) -> tuple[float, float] | None:
    """95 % interval of a statistic of documents drawn anew; None for one document, or where most draws give none."""
    if count < 2:
        return None
    rng = np.random.default_rng(0)
    values = np.array([statistic(rng.integers(0, count, count)) for _ in range(RESAMPLES)])
    values = values[np.isfinite(values)]
    if len(values) < 0.9 * RESAMPLES:
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def bits_at(rows: Sequence[Row], codec: str, kl: float) -> tuple[float, tuple[float, float] | None]:
    """Bits an element that a codec needs for a divergence, and their interval over documents."""
    curve = curve_of(rows, codec)
    if not curve.documents:
        return float("nan"), None
    return curve.rate_at(kl), interval(lambda drawn: curve.rate_at(kl, drawn), len(curve.documents))


def advantage(
    rows: Sequence[Row], codec: str, rival: str, dial: float | None
) -> tuple[float, tuple[float, float] | None]:
    """How many times the bytes of a codec a rival needs at the rival's own divergence; NaN beyond the codec's dials."""
    mine, theirs = curve_of(rows, codec), curve_of(rows, rival)
    shared = [document for document in theirs.documents if document in set(mine.documents)]
    if not shared:
        return float("nan"), None
    mine, theirs, place = mine.of(shared), theirs.of(shared), theirs.dials.index(dial)

    def ratio(drawn: NDArray[np.int64] | None = None) -> float:
        rates = theirs.rates[:, place] if drawn is None else theirs.rates[drawn, place]
        kl = theirs.kl[:, place] if drawn is None else theirs.kl[drawn, place]
        return float(rates.mean()) / mine.rate_at(float(kl.mean()), drawn)

    return ratio(), interval(ratio, len(shared))


def tables(rows: Sequence[Row]) -> list[Any]:
    """Tables of rich: every setting, bits at some divergences, bytes against rivals."""
    from rich.table import Table

    measured = [row for row in rows if row.rate is not None]
    codecs = list(dict.fromkeys(row.codec for row in measured))
    found = [_means(measured)]
    curved = [
        codec for codec in codecs if any(row.codec == codec and "kl" in row.metrics for row in measured)
    ]
    if not curved:
        return found
    at = Table(title="Bits an element at a divergence, interpolated between dials; 95 % over documents")
    at.add_column("codec")
    for target in TARGETS:
        at.add_column(f"KL ≤ {target:g}", justify="right")
    for codec in curved:
        at.add_row(codec, *(_with_interval(*bits_at(measured, codec, target)) for target in TARGETS))
    found.append(at)
    for ours in (codec for codec in OURS if codec in curved):
        against = Table(
            title=f"Bytes of rivals over those of {ours} at the rival's own KL; 95 % over documents"
        )
        for name in ("rival", "dial", "KL", "bits", "times as large"):
            against.add_column(name, justify="left" if name == "rival" else "right")
        for rival in (codec for codec in curved if codec not in (*OURS, "none")):
            curve = curve_of(measured, rival)
            for place, dial in enumerate(curve.dials if curve.documents else ()):
                kl, rate = curve.kl[:, place].mean(), curve.rates[:, place].mean()
                cells = ["-" if dial is None else f"{dial:g}", f"{kl:.5f}", f"{rate:.3f}"]
                against.add_row(rival, *cells, _with_interval(*advantage(measured, ours, rival, dial)))
        if against.row_count:
            found.append(against)
    return found


def text(rows: Sequence[Row], width: int = 160) -> str:
    """The tables and what failed, as text without colours."""
    from io import StringIO

    from rich.console import Console

    out = StringIO()
    console = Console(file=out, width=width, color_system=None, force_terminal=False)
    for table in tables(rows):
        console.print(table)
    return "\n".join([out.getvalue().rstrip(), *failures(rows)])


def _means(rows: Sequence[Row]) -> Any:
    from rich.table import Table

    count = len({row.item_sha256 for row in rows})
    table = Table(
        title=f"{count} document{'s' if count != 1 else ''}; means over them; speeds in GB/s of float16"
    )
    heads = (
        "codec",
        "dial",
        "bits",
        "ratio",
        "KL",
        "95 %",
        "PPL",
        "top-1",
        "needle",
        "generation",
        "enc",
        "dec",
    )
    for name in heads:
        table.add_column(name, justify="left" if name == "codec" else "right")
    groups: dict[tuple[str, float | None], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.codec, row.dial), []).append(row)
    for (codec, dial), group in groups.items():
        rate = float(np.mean([row.rate for row in group if row.rate is not None]))
        kl = _values(group, "kl")
        spread = interval(lambda drawn, kl=kl: float(kl[drawn].mean()), len(kl))  # type: ignore[misc]
        table.add_row(
            codec,
            "-" if dial is None else f"{dial:g}",
            f"{rate:.3f}",
            f"{16 / rate:.2f}",
            f"{kl.mean():.5f}" if len(kl) else "-",
            f"{spread[0]:.5f}-{spread[1]:.5f}" if spread else "-",
            _share(group, "ppl_change", "{:+.2%}"),
            _share(group, "top1", "{:.1%}"),
            _share(group, "needle", "{:.0%}"),
            _share(group, "generation", "{:.0%}"),
            _speed(group, "encode_s"),
            _speed(group, "decode_s"),
        )
    return table


def _values(rows: Sequence[Row], metric: str) -> Floats:
    return np.array([value for row in rows if (value := row.metrics.get(metric)) is not None], np.float64)


def _share(rows: Sequence[Row], metric: str, shape: str) -> str:
    values = _values(rows, metric)
    return shape.format(values.mean()) if len(values) else "-"


def _speed(rows: Sequence[Row], which: str) -> str:
    pairs = [(row.units, getattr(row, which)) for row in rows if row.units and getattr(row, which)]
    total = sum(seconds for _, seconds in pairs)
    return f"{2e-9 * sum(units for units, _ in pairs) / total:.3f}" if total else "-"


def _with_interval(value: float, spread: tuple[float, float] | None) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.3f}" if spread is None else f"{value:.3f} ({spread[0]:.3f}-{spread[1]:.3f})"
