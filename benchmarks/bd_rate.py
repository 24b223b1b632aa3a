"""The Bjøntegaard difference: the mean saving in rate at the same quality, of one codec against another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from siglum.errors import UsageError

Floats = NDArray[np.float64]
_STEPS = 4000


def bd_rate(
    anchor_rates: Sequence[float],
    anchor_qualities: Sequence[float],
    rates: Sequence[float],
    qualities: Sequence[float],
    rate_range: tuple[float, float] | None = None,
) -> float:
    """Return the mean difference in rate in per cent, negative where the codec needs less than the anchor.

    The logarithm of the rate is interpolated over the quality by a monotone piecewise cubic (PCHIP), and its
    difference is averaged over the qualities that both curves reach.

    Parameters
    ----------
    anchor_rates, rates
        Bits per pixel, at least two a curve.
    anchor_qualities, qualities
        PSNR or MS-SSIM in dB of the same points.
    rate_range
        Average only over qualities at which both curves lie within these rates (bits per pixel).

    Raises
    ------
    UsageError
        If the curves have no quality in common, or a quality does not grow with the rate.

    References
    ----------
    Bjøntegaard: Calculation of average PSNR differences between RD-curves. ITU-T VCEG-M33, 2001.
    Fritsch, Carlson: Monotone piecewise cubic interpolation. SIAM J. Numer. Anal. 17, 1980.

    Examples
    --------
    >>> round(bd_rate([0.1, 0.2, 0.4], [28, 31, 34], [0.09, 0.18, 0.36], [28, 31, 34]), 6)
    -10.0
    """
    curves = [_sorted(anchor_rates, anchor_qualities), _sorted(rates, qualities)]
    low = max(quality[0] for _, quality in curves)
    high = min(quality[-1] for _, quality in curves)
    if rate_range is not None:
        for rate, quality in curves:
            bounds = np.clip(np.log(rate_range), np.log(rate[0]), np.log(rate[-1]))
            at_bounds = pchip(np.log(rate), quality, bounds)
            low, high = max(low, at_bounds[0]), min(high, at_bounds[1])
    if high <= low:
        raise UsageError("the two curves have no quality in common")
    at = np.linspace(low, high, _STEPS + 1)
    anchor, other = (pchip(quality, np.log(rate), at) for rate, quality in curves)
    difference = other - anchor
    mean = (difference.sum() - (difference[0] + difference[-1]) / 2) / _STEPS
    return float(100 * np.expm1(mean))


def pchip(x: Floats, y: Floats, at: Floats) -> Floats:
    """Return the monotone piecewise cubic through (x, y) at other places; all are within x."""
    step = np.diff(x)
    slope = np.diff(y) / step
    if len(x) == 2:
        return y[0] + slope[0] * (at - x[0])
    tangent = np.zeros_like(y)
    # Inside, the weighted harmonic mean of the two slopes; zero at a local extreme.
    same = slope[1:] * slope[:-1] > 0
    left, right = 2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (left + right) / (left / slope[:-1] + right / slope[1:])
    tangent[1:-1] = np.where(same, mean, 0.0)
    tangent[0] = _end_tangent(step[0], step[1], slope[0], slope[1])
    tangent[-1] = _end_tangent(step[-1], step[-2], slope[-1], slope[-2])
    piece = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(step) - 1)
    h = step[piece]
    t = (at - x[piece]) / h
    rise = y[piece + 1] - y[piece]
    curve = t * t * (3 - 2 * t) * rise
    return y[piece] + curve + h * t * (1 - t) * ((1 - t) * tangent[piece] - t * tangent[piece + 1])


def _end_tangent(near: float, far: float, slope: float, next_slope: float) -> float:
    tangent = ((2 * near + far) * slope - near * next_slope) / (near + far)
    if tangent * slope <= 0:
        return 0.0
    if slope * next_slope <= 0 and abs(tangent) > 3 * abs(slope):
        return 3 * slope
    return tangent


def _sorted(rates: Sequence[float], qualities: Sequence[float]) -> tuple[Floats, Floats]:
    rate, quality = np.asarray(rates, np.float64), np.asarray(qualities, np.float64)
    order = np.argsort(rate)
    rate, quality = rate[order], quality[order]
    if len(rate) < 2 or len(rate) != len(quality) or not np.isfinite(quality).all() or rate[0] <= 0:
        raise UsageError("a curve needs two or more points of positive rate and finite quality")
    if (np.diff(quality) <= 0).any():
        raise UsageError("a quality must grow with its rate along a curve")
    return rate, quality
