"""Bjøntegaard differences: the mean saving in rate at equal quality, or the gain in quality at equal rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.benchmarks.interpolate import Interpolant, Method, mean_difference
from siglum.errors import UsageError

LEAST_OVERLAP = 0.5
LEAST_POINTS = 3  # a line through two points says nothing of what is between them

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BdRate:
    """A BD-rate and what it rests on.

    Attributes
    ----------
    percent
        Mean difference in rate; negative where the codec needs less than the anchor.
    overlap
        The common range of quality as a share (0..1) of the shorter of the two curves' ranges.
    low, high
        The common range of quality, in its unit.
    crossings
        The qualities at which the curves cross: the difference has both signs, and its mean hides that.
    """

    percent: float
    overlap: float
    low: float
    high: float
    crossings: tuple[float, ...] = ()


@dataclass(frozen=True)
class BdQuality:
    """A BD-quality (BD-PSNR, where the quality is PSNR) and what it rests on.

    Attributes
    ----------
    difference
        Mean difference in quality, in its unit; positive where the codec is better than the anchor.
    overlap
        The common range of log rate as a share (0..1) of the shorter of the two curves' ranges.
    low, high
        The common range of rates.
    crossings
        The rates at which the curves cross.
    """

    difference: float
    overlap: float
    low: float
    high: float
    crossings: tuple[float, ...] = ()


class Curve:
    """Log rate as a piecewise cubic of quality, through the points of one codec.

    Parameters
    ----------
    rates
        Bits per pixel (or any unit), positive, at least two, in any order.
    qualities
        PSNR or MS-SSIM in dB of the same points, or anything that grows with the rate; where less is better,
        its negative.
    method
        "pchip" is monotone as the points are; "akima" follows them more smoothly.

    Raises
    ------
    UsageError
        If the points make no such curve.
    """

    def __init__(self, rates: ArrayLike, qualities: ArrayLike, method: Method = "pchip") -> None:
        rate, quality = np.asarray(rates, np.float64), np.asarray(qualities, np.float64)
        if rate.ndim != 1 or rate.shape != quality.shape or len(rate) < 2:
            raise UsageError("a curve needs two points or more, each a rate and a quality")
        if not (np.isfinite(rate).all() and np.isfinite(quality).all() and (rate > 0).all()):
            raise UsageError("the points of a curve need positive rates and finite qualities")
        order = np.argsort(rate)
        self.x, self.y = quality[order], np.log(rate[order])
        if (np.diff(self.x) <= 0).any() or (np.diff(self.y) <= 0).any():
            raise UsageError("the quality of a curve must grow with its rate")
        self.log_rate = Interpolant(self.x, self.y, method)
        self.quality = Interpolant(self.y, self.x, method)

    def __call__(self, quality: ArrayLike) -> Floats:
        """Return the log rate at qualities within the curve's range."""
        return self.log_rate(quality)

    def range_within(self, lowest_rate: float, highest_rate: float) -> tuple[float, float]:
        """Return the range of quality in which the curve's rate is within bounds.

        Raises
        ------
        UsageError
            If no part of the curve is.
        """
        low, high = np.log(lowest_rate), np.log(highest_rate)
        if low >= self.y[-1] or high <= self.y[0]:
            raise UsageError(
                f"a curve of rates {np.exp(self.y[0]):.3g} to {np.exp(self.y[-1]):.3g} has no part in "
                f"{lowest_rate:g} to {highest_rate:g}"
            )
        return self._quality_at(low), self._quality_at(high)

    def _quality_at(self, log_rate: float) -> float:
        left, right = float(self.x[0]), float(self.x[-1])
        if log_rate <= self.y[0] or log_rate >= self.y[-1]:
            return left if log_rate <= self.y[0] else right
        for _ in range(60):  # halving reaches the last bit; the curve is monotone
            middle = (left + right) / 2
            left, right = (middle, right) if self(middle) < log_rate else (left, middle)
        return (left + right) / 2


def bd_rate(
    anchor_rates: ArrayLike,
    anchor_qualities: ArrayLike,
    rates: ArrayLike,
    qualities: ArrayLike,
    rate_range: tuple[float, float] | None = None,
) -> float:
    """Return the mean difference in rate in per cent; see `compare_curves`, which tells more.

    Examples
    --------
    >>> round(bd_rate([0.1, 0.2, 0.4], [28, 31, 34], [0.09, 0.18, 0.36], [28, 31, 34]), 6)
    -10.0
    """
    return compare_curves(anchor_rates, anchor_qualities, rates, qualities, rate_range=rate_range).percent


def compare_curves(
    anchor_rates: ArrayLike,
    anchor_qualities: ArrayLike,
    rates: ArrayLike,
    qualities: ArrayLike,
    *,
    rate_range: tuple[float, float] | None = None,
    least_overlap: float = LEAST_OVERLAP,
    method: Method = "pchip",
) -> BdRate:
    """Return the mean difference in rate at equal quality between a codec and an anchor.

    The difference of the log rates is averaged over the qualities that both curves reach; the integral of
    the piecewise cubics is exact.

    Parameters
    ----------
    anchor_rates, anchor_qualities, rates, qualities
        The points of the two curves, see `Curve`; at least three of each.
    rate_range
        Of each curve only the part with rates in this range counts. It ends on the curve, between points.
    least_overlap
        The overlap below which there is no result. It refers to the shorter range: between bounds of rate a
        much better codec lies at higher qualities, although the curves are well comparable.
    method
        How the curves go from point to point, see `Curve`.

    Raises
    ------
    UsageError
        If the points make no curve, or the curves overlap too little to be compared.

    References
    ----------
    Bjøntegaard: Calculation of average PSNR differences between RD-curves. ITU-T VCEG-M33, 2001.
    """
    anchor, other = _curves(anchor_rates, anchor_qualities, rates, qualities, method)
    bounds = rate_range or (np.exp(min(anchor.y[0], other.y[0])), np.exp(max(anchor.y[-1], other.y[-1])))
    ranges = [curve.range_within(*bounds) for curve in (anchor, other)]
    low, high, overlap = _common(ranges, least_overlap, "{:.2f} to {:.2f}", "BD-rate")
    mean, crossings = mean_difference(anchor.log_rate, other.log_rate, low, high)
    return BdRate(float(100 * np.expm1(mean)), overlap, low, high, crossings)


def compare_qualities(
    anchor_rates: ArrayLike,
    anchor_qualities: ArrayLike,
    rates: ArrayLike,
    qualities: ArrayLike,
    *,
    least_overlap: float = LEAST_OVERLAP,
    method: Method = "pchip",
) -> BdQuality:
    """Return the mean difference in quality at equal rate, over the log rates that both curves reach.

    Parameters and errors are those of `compare_curves`.

    Examples
    --------
    >>> round(compare_qualities([0.1, 0.2, 0.4], [28, 31, 34], [0.1, 0.2, 0.4], [29, 32, 35]).difference, 6)
    1.0
    """
    anchor, other = _curves(anchor_rates, anchor_qualities, rates, qualities, method)
    ranges = [(float(curve.y[0]), float(curve.y[-1])) for curve in (anchor, other)]
    low, high, overlap = _common(ranges, least_overlap, "log rates {:.2f} to {:.2f}", "BD-quality")
    mean, crossings = mean_difference(anchor.quality, other.quality, low, high)
    rates_of = tuple(float(np.exp(crossing)) for crossing in crossings)
    return BdQuality(mean, overlap, float(np.exp(low)), float(np.exp(high)), rates_of)


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    items: int,
    *,
    confidence: float = 0.95,
    resamples: int = 400,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile interval of a statistic when the items are drawn anew with replacement.

    Parameters
    ----------
    statistic
        From the indexes of the items drawn, of shape (items,), to a number.
    items
        How many there are.
    """
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(0, items, items)) for _ in range(resamples)]
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _curves(
    anchor_rates: ArrayLike,
    anchor_qualities: ArrayLike,
    rates: ArrayLike,
    qualities: ArrayLike,
    method: Method,
) -> tuple[Curve, Curve]:
    curves = Curve(anchor_rates, anchor_qualities, method), Curve(rates, qualities, method)
    fewest = min(len(curve.x) for curve in curves)
    if fewest < LEAST_POINTS:
        raise UsageError(f"a curve of {fewest} points is no basis for a comparison; add qualities")
    return curves


def _common(
    ranges: list[tuple[float, float]], least: float, span: str, what: str
) -> tuple[float, float, float]:
    """Return the range that two curves share and its share of the shorter one."""
    low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
    overlap = max(high - low, 0.0) / min(r[1] - r[0] for r in ranges)
    if overlap < least or high <= low:
        spans = " and ".join(span.format(*r) for r in ranges)
        raise UsageError(
            f"the curves reach {spans}: an overlap of {100 * overlap:.0f} %, and a {what} needs "
            f"{100 * least:.0f} %; add points"
        )
    return low, high, float(overlap)
