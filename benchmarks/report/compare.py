"""Curves of codecs and what one needs less than another: for every pair and metric, before the page is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from siglum.benchmarks.bd_rate import LEAST_OVERLAP, BdRate, bootstrap, compare_curves, compare_qualities
from siglum.benchmarks.report.load import Row
from siglum.benchmarks.report.measures import Floats, Metric
from siglum.errors import UsageError

RESAMPLES = 200
CONFIDENCE = 0.95
# A setting that fails on more items than this share is left out, lest it take the items out.
LEAST_ITEMS = 0.5


@dataclass(frozen=True)
class Samples:
    """One codec under one metric: what was measured of every item at every dial.

    Attributes
    ----------
    dials
        The dials whose values are finite, in order of mean rate, (D,).
    items
        Items that have a value at every dial, (N,).
    rates, values
        (D, N), float64.
    left_out
        Measured points that are not in: without a finite value, or of an item or dial that is not.
    """

    codec: str
    metric: Metric
    dials: tuple[float | None, ...]
    items: tuple[str, ...]
    rates: Floats
    values: Floats
    left_out: int = 0

    def only(self, items: Sequence[str]) -> Samples:
        """Return the part of some of the items."""
        place = {item: i for i, item in enumerate(self.items)}
        chosen = [place[item] for item in items]
        return replace(self, items=tuple(items), rates=self.rates[:, chosen], values=self.values[:, chosen])

    def curve(self, drawn: NDArray[np.int64] | None = None) -> tuple[Floats, Floats]:
        """Return mean rates and mean values, (D,) each, over all items or some by index."""
        rates = self.rates if drawn is None else self.rates[:, drawn]
        values = self.values if drawn is None else self.values[:, drawn]
        return rates.mean(axis=1), np.asarray(self.metric.mean(values), np.float64)


@dataclass(frozen=True)
class Comparison:
    """A codec against an anchor under one metric.

    Attributes
    ----------
    percent
        BD-rate: the mean difference in rate at equal quality; None where it is refused.
    low, high
        Interval of 95 % over the items, or None.
    better
        BD-quality: the mean difference in quality at equal rate, positive where the codec is better; None where the
        rates overlap too little.
    overlap, span
        Common range of quality as a share of the shorter curve's, and that range.
    crossings
        Qualities at which the curves cross: a mean over both signs hides that.
    items, of
        Items that both have whole, of all.
    refusal
        Why there is no figure, or "".
    """

    codec: str
    anchor: str
    percent: float | None = None
    low: float | None = None
    high: float | None = None
    better: float | None = None
    overlap: float = 0.0
    span: tuple[float, float] = (math.nan, math.nan)
    crossings: tuple[float, ...] = ()
    items: int = 0
    of: int = 0
    refusal: str = ""

    @property
    def clear(self) -> bool:
        """Whether the interval, where there is one, leaves no doubt which is better."""
        if self.percent is None:
            return False
        return self.low is None or self.high is None or self.low > 0 or self.high < 0

    def reversed(self) -> Comparison:
        """Return the same with codec and anchor exchanged: rates by their reciprocals."""

        def turn(value: float | None) -> float | None:
            return None if value is None else 100 * (1 / (1 + value / 100) - 1)

        return replace(
            self,
            codec=self.anchor,
            anchor=self.codec,
            percent=turn(self.percent),
            low=turn(self.high),
            high=turn(self.low),
            better=None if self.better is None else -self.better,
        )


def difference(anchor: tuple[Floats, Floats], other: tuple[Floats, Floats], metric: Metric) -> BdRate:
    """Return the BD-rate between two curves of (rates, values); `UsageError` if there is none."""
    return compare_curves(anchor[0], metric.quality(anchor[1]), other[0], metric.quality(other[1]))


def _quality(anchor: tuple[Floats, Floats], other: tuple[Floats, Floats], metric: Metric) -> float | None:
    try:
        return compare_qualities(
            anchor[0], metric.quality(anchor[1]), other[0], metric.quality(other[1])
        ).difference
    except UsageError:
        return None


def samples_of(rows: Sequence[Row], codec: str, metric: Metric) -> Samples:
    """Return what the rows have of one codec under one metric."""
    table: dict[float | None, dict[str, tuple[float, float]]] = {}
    measured, names = 0, dict.fromkeys(row.item for row in rows if row.codec == codec)
    for row in rows:
        if row.codec == codec:
            measured += 1
            value = row.metrics.get(metric.key, math.nan)
            if math.isfinite(value):
                table.setdefault(row.dial, {})[row.item] = (row.rate, value)
    kept = {dial: got for dial, got in table.items() if len(got) >= LEAST_ITEMS * len(names)}
    items = tuple(item for item in names if all(item in got for got in kept.values())) if kept else ()
    if not items:
        return Samples(codec, metric, (), (), np.empty((0, 0)), np.empty((0, 0)), measured)
    cube = np.array([[got[item] for item in items] for got in kept.values()], np.float64)
    order = np.argsort(cube[..., 0].mean(axis=1), kind="stable")
    dials = list(kept)
    return Samples(
        codec,
        metric,
        tuple(dials[i] for i in order),
        items,
        cube[order, :, 0],
        cube[order, :, 1],
        measured - len(kept) * len(items),
    )


def compare(codec: Samples, anchor: Samples, of: int, *, confident: bool = True) -> Comparison:
    """Compare two codecs over the items that both have.

    Parameters
    ----------
    of
        How many items there are, to be printed.
    confident
        Whether to draw items anew for an interval.
    """
    empty = Comparison(codec.codec, anchor.codec, of=of)
    shared = [item for item in codec.items if item in set(anchor.items)]
    if not shared:
        return replace(empty, refusal=f"no item has {codec.metric.label} with both codecs")
    first, second = anchor.only(shared), codec.only(shared)
    empty = replace(empty, items=len(shared))
    try:
        result = difference(first.curve(), second.curve(), codec.metric)
    except UsageError as error:
        faults = ((one.codec, _fault(one)) for one in (second, first))
        refusal = next((f"{name}: {fault}" for name, fault in faults if fault), str(error))
        return replace(empty, refusal=refusal)
    low, high = _interval(first, second) if confident and len(shared) > 1 else (None, None)
    return replace(
        empty,
        percent=result.percent,
        low=low,
        high=high,
        better=_quality(first.curve(), second.curve(), codec.metric),
        overlap=result.overlap,
        span=(result.low, result.high),
        crossings=tuple(getattr(result, "crossings", ())),
    )


def all_pairs(samples: Sequence[Samples], of: int, *, confident: bool = True) -> list[Comparison]:
    """Return the comparison of every codec with every other as anchor; each pair is computed once."""
    found = []
    for i, anchor in enumerate(samples):
        for codec in samples[i + 1 :]:
            there = compare(codec, anchor, of, confident=confident)
            found += [there, there.reversed()]
    return found


def _fault(samples: Samples) -> str:
    """Return what keeps a codec's points from being a curve: those of a curve agree with themselves."""
    curve = samples.curve()
    try:
        difference(curve, curve, samples.metric)
    except UsageError as error:
        return str(error)
    return ""


def _interval(anchor: Samples, codec: Samples) -> tuple[float | None, float | None]:
    def statistic(drawn: NDArray[np.int64]) -> float:
        try:
            return difference(anchor.curve(drawn), codec.curve(drawn), codec.metric).percent
        except UsageError:
            return math.nan  # few items, drawn anew, may make no curve; then there is no interval

    low, high = bootstrap(statistic, len(anchor.items), confidence=CONFIDENCE, resamples=RESAMPLES)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (None, None)


__all__ = ["LEAST_OVERLAP", "Comparison", "Samples", "all_pairs", "compare", "difference", "samples_of"]
