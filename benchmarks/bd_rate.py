"""The Bjøntegaard difference: the mean saving in rate at the same quality, of one codec against another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.errors import UsageError

LEAST_OVERLAP = 0.5

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
        The common range of quality, in dB.
    """

    percent: float
    overlap: float
    low: float
    high: float


class Curve:
    """Log rate as a monotone piecewise cubic (PCHIP) of quality, through the points of one codec.

    Parameters
    ----------
    rates
        Bits per pixel (or any unit), positive, at least two, in any order.
    qualities
        PSNR or MS-SSIM in dB of the same points; they grow with the rate.

    Raises
    ------
    UsageError
        If the points make no such curve.

    References
    ----------
    Fritsch, Carlson: Monotone piecewise cubic interpolation. SIAM J. Numer. Anal. 17, 1980; the slopes are
    those of Fritsch, Butland: A method for constructing local monotone piecewise cubic interpolants. SIAM
    J. Sci. Stat. Comput. 5, 1984.
    """

    def __init__(self, rates: ArrayLike, qualities: ArrayLike) -> None:
        rate, quality = np.asarray(rates, np.float64), np.asarray(qualities, np.float64)
        if rate.ndim != 1 or rate.shape != quality.shape or len(rate) < 2:
            raise UsageError("a curve needs two points or more, each a rate and a quality")
        if not (np.isfinite(rate).all() and np.isfinite(quality).all() and (rate > 0).all()):
            raise UsageError("the points of a curve need positive rates and finite qualities")
        order = np.argsort(rate)
        self.x, self.y = quality[order], np.log(rate[order])
        if (np.diff(self.x) <= 0).any() or (np.diff(self.y) <= 0).any():
            raise UsageError("the quality of a curve must grow with its rate")
        self._slopes = _monotone_slopes(np.diff(self.x), np.diff(self.y))

    def __call__(self, quality: ArrayLike) -> Floats:
        """Return the log rate at qualities within the curve's range."""
        at = np.asarray(quality, np.float64)
        i = np.clip(np.searchsorted(self.x, at, side="right") - 1, 0, len(self.x) - 2)
        step = self.x[i + 1] - self.x[i]
        t = (at - self.x[i]) / step
        # The cubic Hermite basis on the unit interval.
        ends = self.y[i] * (1 + 2 * t) * (1 - t) ** 2 + self.y[i + 1] * t**2 * (3 - 2 * t)
        inner = self._slopes[i] * t * (1 - t) ** 2 - self._slopes[i + 1] * t**2 * (1 - t)
        return np.asarray(ends + step * inner)

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
) -> BdRate:
    """Return the mean difference in rate at equal quality between a codec and an anchor.

    The difference of the log rates is averaged over the qualities that both curves reach; the integral of
    the piecewise cubics is exact.

    Parameters
    ----------
    anchor_rates, anchor_qualities, rates, qualities
        The points of the two curves, see `Curve`.
    rate_range
        Of each curve only the part with rates in this range counts. It ends on the curve, between points.
    least_overlap
        The overlap below which there is no result. It refers to the shorter range: between bounds of rate a
        much better codec lies at higher qualities, although the curves are well comparable.

    Raises
    ------
    UsageError
        If the points make no curve, or the curves overlap too little to be compared.

    References
    ----------
    Bjøntegaard: Calculation of average PSNR differences between RD-curves. ITU-T VCEG-M33, 2001.
    """
    curves = (Curve(anchor_rates, anchor_qualities), Curve(rates, qualities))
    bounds = rate_range or (np.exp(min(c.y[0] for c in curves)), np.exp(max(c.y[-1] for c in curves)))
    ranges = [curve.range_within(*bounds) for curve in curves]
    low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
    overlap = max(high - low, 0.0) / min(r[1] - r[0] for r in ranges)
    if overlap < least_overlap or high <= low:
        spans = " and ".join(f"{r[0]:.2f} to {r[1]:.2f} dB" for r in ranges)
        raise UsageError(
            f"the curves reach {spans}: an overlap of {100 * overlap:.0f} %, and a BD-rate needs "
            f"{100 * least_overlap:.0f} %; add points"
        )
    anchor, other = curves
    mean = _mean_difference(anchor, other, low, high)
    return BdRate(float(100 * np.expm1(mean)), float(overlap), low, high)


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


def _mean_difference(anchor: Curve, other: Curve, low: float, high: float) -> float:
    knots = np.concatenate([anchor.x, other.x])
    edges = np.unique(np.concatenate([[low, high], knots[(knots > low) & (knots < high)]]))
    half, middle = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    # Between two edges both curves are cubics, which Gauss's rule with two nodes integrates exactly.
    nodes = [middle + sign * half / np.sqrt(3) for sign in (-1, 1)]
    total = sum(((other(at) - anchor(at)) * half).sum() for at in nodes)
    return float(total) / (high - low)


def _monotone_slopes(step: Floats, rise: Floats) -> Floats:
    """Slopes at the points of growing data: inside, weighted harmonic means of the secants on both sides."""
    secant = rise / step
    if len(secant) == 1:
        return np.repeat(secant, 2)
    left, right = step[:-1] + 2 * step[1:], 2 * step[:-1] + step[1:]
    inner = (left + right) / (left / secant[:-1] + right / secant[1:])
    first = _end_slope(step[:2], secant[:2])
    last = _end_slope(step[:-3:-1], secant[:-3:-1])
    return np.concatenate([[first], inner, [last]])


def _end_slope(step: Floats, secant: Floats) -> float:
    """Slope of the parabola through the last three points, where it grows; it is below two secants."""
    slope = ((2 * step[0] + step[1]) * secant[0] - step[0] * secant[1]) / (step[0] + step[1])
    return float(max(slope, 0.0))
