"""Piecewise cubics through points: PCHIP and Akima, and the mean difference of two of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Method = Literal["pchip", "akima"]
CROSSING_STEPS = 512  # places at which two curves are compared to find where they cross


class Interpolant:
    """A cubic between each two neighbouring points, continuous with its slope.

    Parameters
    ----------
    x, y
        The points, both growing; two or more.
    method
        "pchip" grows as the points do; "akima" may overshoot, and bends less at a point that is off.

    References
    ----------
    Fritsch, Butland: A method for constructing local monotone piecewise cubic interpolants. SIAM J. Sci.
    Stat. Comput. 5, 1984. Akima: A new method of interpolation and smooth curve fitting based on local
    procedures. J. ACM 17, 1970.
    """

    def __init__(self, x: Floats, y: Floats, method: Method = "pchip") -> None:
        self.x, self.y = x, y
        slopes = _monotone_slopes if method == "pchip" else _akima_slopes
        self._slopes = slopes(np.diff(x), np.diff(y))

    def __call__(self, at: ArrayLike) -> Floats:
        """Return the values at places within the range of the points."""
        place = np.asarray(at, np.float64)
        i = np.clip(np.searchsorted(self.x, place, side="right") - 1, 0, len(self.x) - 2)
        step = self.x[i + 1] - self.x[i]
        t = (place - self.x[i]) / step
        # The cubic Hermite basis on the unit interval.
        ends = self.y[i] * (1 + 2 * t) * (1 - t) ** 2 + self.y[i + 1] * t**2 * (3 - 2 * t)
        inner = self._slopes[i] * t * (1 - t) ** 2 - self._slopes[i + 1] * t**2 * (1 - t)
        return np.asarray(ends + step * inner)


def mean_difference(
    first: Interpolant, second: Interpolant, low: float, high: float
) -> tuple[float, tuple[float, ...]]:
    """Return the mean of second - first from low to high, and the places at which they cross."""
    knots = np.concatenate([first.x, second.x])
    edges = np.unique(np.concatenate([[low, high], knots[(knots > low) & (knots < high)]]))
    half, middle = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    # Between two edges both curves are cubics, which Gauss's rule with two nodes integrates exactly.
    nodes = [middle + sign * half / np.sqrt(3) for sign in (-1, 1)]
    total = sum(((second(at) - first(at)) * half).sum() for at in nodes)
    places = np.linspace(low, high, CROSSING_STEPS)
    apart = second(places) - first(places)
    apart[np.abs(apart) < 1e-9] = 0
    places, signs = places[apart != 0], np.sign(apart[apart != 0])
    turns = np.flatnonzero(np.diff(signs))
    return float(total) / (high - low), tuple(float(places[i] + places[i + 1]) / 2 for i in turns)


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


def _akima_slopes(step: Floats, rise: Floats) -> Floats:
    """Means of the secants on both sides, each weighted by how little the ones beyond the other turn."""
    secant = rise / step
    if len(secant) == 1:
        return np.repeat(secant, 2)
    # Two more secants on each side, as a parabola through the last three points would have them.
    before, after = 2 * secant[0] - secant[1], 2 * secant[-1] - secant[-2]
    m = np.concatenate([[2 * before - secant[0], before], secant, [after, 2 * after - secant[-1]]])
    turns = np.abs(np.diff(m))
    left, right = turns[:-2], turns[2:]
    total = left + right
    bent = total > 1e-9 * max(float(total.max()), 1e-300)
    safe = np.where(bent, total, 1.0)
    weighted = (right * m[1:-2] + left * m[2:-1]) / safe
    return np.where(bent, weighted, (m[1:-2] + m[2:-1]) / 2)
