"""NumPy oracle of the multivariate Gaussian's conditional means, in int64 arithmetic modulo 2**64.

Arrays are component first: values (d, n), mean (d, n) or (d, 1), factors (d (d - 1) / 2, n) or (..., 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHIFT = 16
RESIDUAL_SHIFT = 8


def conditional_mean(
    residuals: NDArray[np.int32], mean: NDArray[np.int32], factors: NDArray[np.int32], i: int, shift: int
) -> NDArray[np.int64]:
    """Mean of component i with 16 fraction bits, from the rows of residuals before it."""
    sums = np.zeros(residuals.shape[1], dtype=np.int64)
    for j in range(i):
        sums += factors[i * (i - 1) // 2 + j].astype(np.int64) * residuals[j]
    half = 1 << shift - 1 if shift else 0
    return mean[i].astype(np.int64) + ((sums + half) >> shift)


def split(mean: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Nearest integer of a mean that was rounded to sixteenths, and the -8 to 7 sixteenths above it."""
    sixteenths = (mean + (1 << SHIFT - 5)) >> SHIFT - 4
    whole = (sixteenths + 8) >> 4
    return whole.astype(np.int32), (sixteenths - 16 * whole).astype(np.int8)


def residuals(
    values: NDArray[np.float64], mean: NDArray[np.int32], factors: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Coded integers of real vectors."""
    coded = np.zeros(values.shape, dtype=np.int32)
    for i in range(len(values)):
        fixed = np.rint(values[i] * 2.0**SHIFT).astype(np.int64)
        away = fixed - conditional_mean(coded, mean, factors, i, 0)
        coded[i] = (away + (1 << SHIFT - 1)) >> SHIFT
    return coded


def reconstruct(
    coded: NDArray[np.int32], mean: NDArray[np.int32], factors: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Real vectors with 16 fraction bits."""
    rows = [
        conditional_mean(coded, mean, factors, i, 0) + (coded[i].astype(np.int64) << SHIFT)
        for i in range(len(coded))
    ]
    return np.array(rows, dtype=np.int64)


def residuals_integer(
    values: NDArray[np.int32], mean: NDArray[np.int32], factors: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Coded integers of integer vectors, and the fractions of their means."""
    coded = np.zeros(values.shape, dtype=np.int32)
    fractions = np.zeros(values.shape, dtype=np.int8)
    rest = np.zeros(values.shape, dtype=np.int32)
    for i in range(len(values)):
        middle = conditional_mean(rest, mean, factors, i, RESIDUAL_SHIFT)
        shift, fractions[i] = split(middle)
        coded[i] = values[i] - shift
        away = (values[i].astype(np.int64) << RESIDUAL_SHIFT) - (middle >> SHIFT - RESIDUAL_SHIFT)
        rest[i] = away.astype(np.int32)
    return coded, fractions
