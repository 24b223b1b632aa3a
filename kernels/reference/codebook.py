"""NumPy oracle of the Gaussian over a codebook, and of tables that are built for a single symbol."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def shares(weights: NDArray[np.int64], precision: int) -> NDArray[np.int64]:
    """Frequencies of one table: proportional, at least 1, what is missing to the largest weight."""
    factor = (((1 << precision) - len(weights)) << 32) // int(weights.sum())
    frequencies = 1 + np.array([int(w) * factor >> 32 for w in weights], dtype=np.int64)
    frequencies[int(np.argmax(weights))] += (1 << precision) - int(frequencies.sum())
    return frequencies


def distances(
    points: NDArray[Any], mean: NDArray[Any], rate: NDArray[Any], bias: NDArray[Any]
) -> NDArray[np.int64]:
    """Energies less biases, in units of 2**-12 bit; points (n, d), bias (n,)."""
    difference = np.clip(points.astype(np.int64) - mean, -(2**15), 2**15 - 1)
    u = (difference * rate.astype(np.int64) + (1 << 14)) >> 15
    return np.minimum((u * u).sum(axis=1), 1 << 29) - bias


def exponential(values: NDArray[np.int64], table: NDArray[np.int32]) -> NDArray[np.int64]:
    """``2**16`` times 2 to the minus values, which are in units of 2**-12 and not negative."""
    index = values >> 8 & 15
    level = table[0][index].astype(np.int64) - table[1][index].astype(np.int64) * (values & 255)
    return level >> np.minimum(8 + (values >> 12), 62)


def member_frequencies(
    points: NDArray[Any],
    bias: NDArray[Any],
    mean: NDArray[Any],
    rate: NDArray[Any],
    table: NDArray[np.int32],
    precision: int,
) -> NDArray[np.int64]:
    """Table of the members of one cell."""
    away = distances(points, mean, rate, bias)
    return shares(exponential(away - away.min(), table), precision)


def cell_frequencies(
    cells: list[tuple[NDArray[Any], NDArray[Any]]],
    centres: tuple[NDArray[Any], NDArray[Any]],
    mean: NDArray[Any],
    rates: tuple[NDArray[Any], NDArray[Any]],
    norm: int,
    refine: int,
    table: NDArray[np.int32],
    precision: int,
) -> NDArray[np.int64]:
    """Table of the cells.

    Parameters
    ----------
    cells
        Points and biases of each cell's members.
    centres
        Points and biases of the cells themselves.
    rates
        Of members and of centres.
    norm
        Added to the distance of a cell that is not summed.
    refine
        Cells whose centres are less than this beyond the nearest are summed; all if negative.
    """
    away = distances(centres[0], mean, rates[1], centres[1])
    summed = np.ones(len(cells), bool) if refine < 0 else away - away.min() < refine
    members = [
        distances(p, mean, rates[0], b) if s else None for (p, b), s in zip(cells, summed, strict=True)
    ]
    least = min(int((away[i] + norm) if m is None else m.min()) for i, m in enumerate(members))
    weights = [
        exponential(away[i : i + 1] + norm - least, table).sum()
        if m is None
        else exponential(m - least, table).sum()
        for i, m in enumerate(members)
    ]
    return shares(np.array(weights, dtype=np.int64), precision)
