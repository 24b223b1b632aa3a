"""Fits the integer form of a Gaussian over a codebook: rotation, grid, cells, spreads, weights (all in floats)."""

from __future__ import annotations

from functools import cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from siglum.entropy.tables import MAX_ENTRIES

SCALES = 64
ENERGY_BITS = 12
"""Energies and biases are in units of 2**-12 bit."""

REACH = 16000
"""The grid puts the farthest coordinate of a codeword here."""

UNIT = 64 * np.sqrt(np.log2(np.e) / 2)
"""Standard deviation of scale 0 in grid units: of scale i, ``UNIT * 2**(i / 8)``."""

_MAX_BIAS = 1 << 20

Floats = NDArray[np.float64]


@cache
def rates() -> NDArray[np.int16]:
    """Factors of the 64 scales: ``2**(15 - i / 8)`` rounded, at most 2**15 - 1, by integer roots."""
    eighth_roots = [isqrt(isqrt(isqrt(1 << 8 * 16 - i))) for i in range(SCALES)]
    return np.array([min((root + 1) // 2, 2**15 - 1) for root in eighth_roots], dtype=np.int16)


@cache
def exponentials() -> NDArray[np.int32]:
    """``2**(24 - i / 16)`` rounded, and 1/256 of the differences rounded down; shape (2, 16)."""
    roots = [isqrt(isqrt(isqrt(isqrt(1 << 16 * 25 - i)))) for i in range(17)]
    levels = [(root + 1) // 2 for root in roots]
    return np.array([levels[:16], [(levels[i] - levels[i + 1]) // 256 for i in range(16)]], dtype=np.int32)


def scale_numbers(sigma: Floats) -> NDArray[np.uint8]:
    """Numbers of the scales nearest in log to standard deviations in grid units."""
    octaves = np.log2(np.maximum(sigma, 1e-9) / UNIT)
    return np.clip(np.rint(8 * octaves), 0, SCALES - 1).astype(np.uint8)


def cell_count(codewords: int) -> int:
    """1 for up to 256 codewords, else the power of two next above the square root, at most 256."""
    if codewords <= MAX_ENTRIES:
        return 1
    return min(256, 1 << -(-(codewords - 1).bit_length() // 2))


def bisect(points: Floats, parts: int) -> list[NDArray[np.int64]]:
    """Cut points into ``parts`` (a power of two) cells of nearly equal size, across the widest direction."""
    cells = [np.arange(len(points))]
    while len(cells) < parts:
        halves = []
        for cell in cells:
            centred = points[cell] - points[cell].mean(axis=0)
            direction = np.linalg.eigh(centred.T @ centred)[1][:, -1]
            order = np.argsort(centred @ direction, kind="stable")
            middle = (len(cell) + 1) // 2
            halves += [cell[order[:middle]], cell[order[middle:]]]
        cells = halves
    return cells


def biases(weights: Floats) -> NDArray[np.int32]:
    """Logarithms in units of 2**-12 bit."""
    logs = np.log2(np.maximum(weights, 1e-300)) * 2**ENERGY_BITS
    return np.clip(np.rint(logs), -_MAX_BIAS, _MAX_BIAS).astype(np.int32)


def spreads(variances: Floats) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    """Rates and norms of centres whose members spread by these variances around them; each (d, 64).

    A Gaussian seen from a cell is wider by the spread of its members, and lower by the square root of the
    ratio of the variances.
    """
    own = (UNIT * 2.0 ** (np.arange(SCALES) / 8)) ** 2
    wide = own + variances[:, None]
    factors = np.rint(2.0**15 * UNIT / np.sqrt(wide))
    norms = np.rint(2.0**ENERGY_BITS * np.log2(wide / own) / 2)
    return np.clip(factors, 0, 2**15 - 1).astype(np.int16), norms.astype(np.int32)


def probabilities(points: Floats, bias: Floats, mean: Floats, sigma: Floats) -> Floats:
    """Exact ``P(k)`` in float64: rows of a softmax over ``bias - |(c - mean) / sigma|**2 / 2``, in nats.

    Parameters
    ----------
    points : (K, d)
    bias : (K,)
    mean, sigma : (n, d)

    Returns
    -------
    probabilities : (n, K)
    """
    inverse = sigma**-2.0
    logits = bias + (mean * inverse) @ points.T - 0.5 * inverse @ (points**2).T
    logits -= logits.max(axis=1, keepdims=True)
    weights = np.exp(logits)
    result: Floats = weights / weights.sum(axis=1, keepdims=True)
    return result


def matching_weights(
    points: Floats, codes: NDArray[np.int64], mean: Floats, sigma: Floats, rounds: int = 10
) -> Floats:
    """Weights under which the model expects each codeword as often as it occurs.

    Iterative scaling (Darroch and Ratcliff, Annals of Mathematical Statistics 43, 1972), with half an
    occurrence added to both counts.
    """
    used = max(1, 2**24 // len(points))
    codes, mean, sigma = codes[:used], mean[:used], sigma[:used]
    counts = np.bincount(codes, minlength=len(points)) + 0.5
    logs = np.zeros(len(points))
    for _ in range(rounds):
        expected = probabilities(points, logs, mean, sigma).sum(axis=0) + 0.5
        logs += np.log(counts / expected)
    return np.exp(logs - logs.max())
