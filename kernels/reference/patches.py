"""NumPy oracle of the patch coder: the same symbols and tables, slowly; see `siglum.codecs.image_fast`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

SIDE = 16
GROUPS = (8, 24, 32, 64, 64)
PHASES = 3, 2, 1, 1, 1
Integers = NDArray[np.int64]
# Tables of a step, (h, w, c) in 1/256, from the magnitudes that are known, (h, w, C).
Context = Callable[[int, Integers], Integers]


def steps() -> Iterator[tuple[int, slice, int]]:
    """Group, its channels and phase of every step."""
    first = 0
    for group, count in enumerate(GROUPS):
        for phase in range(PHASES[group]):
            yield group, slice(first, first + count), phase
        first += count


def phase_mask(group: int, phase: int, rows: int, columns: int) -> NDArray[np.bool_]:
    """(rows, columns): the positions of a phase."""
    y, x = np.mgrid[:rows, :columns]
    if group == 0:
        return np.asarray([(y % 2 == 0) & (x % 2 == 0), (y % 2 == 1) & (x % 2 == 1), (y + x) % 2 == 1][phase])
    return np.asarray((y + x) % 2 == phase) if group == 1 else np.ones((rows, columns), bool)


def coefficients(
    pixels: NDArray[np.uint8], weight: NDArray[np.int8], scales: NDArray[np.float32]
) -> Integers:
    """(H, W, 3) -> (rows, columns, C) in 1/32 of a step; edges are continued."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % SIDE), (0, -width % SIDE), (0, 0)), mode="edge").astype(np.int64)
    rows, columns = padded.shape[0] // SIDE, padded.shape[1] // SIDE
    patches = padded.reshape(rows, SIDE, columns, SIDE * 3).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    sums = 2 * (patches @ weight.T.astype(np.int64)) - 255 * weight.sum(axis=1, dtype=np.int64)
    value = sums.astype(np.float32) * scales
    return np.rint(np.clip(value, -32767, 32767)).astype(np.int64)


def means(phase: int, known: Integers, weight: NDArray[np.int8]) -> Integers:
    """Means of the first group, (h, w, 8), from the symbols of its earlier phases (zero elsewhere)."""
    rows, columns, count = known.shape
    padded = np.pad(known, ((1, 1), (1, 1), (0, 0)))
    taps = [padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    around = np.concatenate(taps, -1)
    sums = around @ weight[phase - 1].reshape(count, -1).T.astype(np.int64)
    return np.clip((sums + 64) >> 7, -16384, 16384)


def first_means(symbols: Integers, row: int, column: int, weight: NDArray[np.int8]) -> Integers:
    """Means of the first phase at a position, (8,), from the nearest before it; one at the edge stands for all."""
    left = symbols[row, column - 2] if column else None
    above = symbols[row - 2, column] if row else None
    if left is None and above is None:
        around = [np.zeros(symbols.shape[2], np.int64)] * 3
    elif left is None or above is None:
        around = [above if left is None else left] * 3  # type: ignore[list-item]
    else:
        around = [left, above, symbols[row - 2, column - 2]]
    sums = (np.stack(around, -1) * weight).sum(axis=-1)
    return np.clip((sums + 64) >> 7, -16384, 16384)


def code(
    y: Integers,
    context: Context,
    first_weight: NDArray[np.int8],
    mean_weight: NDArray[np.int8],
    magnitudes: NDArray[np.int16],
    thresholds: NDArray[np.int16],
    skip: int,
    groups: int,
) -> tuple[Integers, NDArray[np.bool_], list[tuple[Integers, Integers]]]:
    """Symbols of a tile, the flags of its channels, and (residuals, tables) of every step in coding order.

    Parameters
    ----------
    y
        (rows, columns, C) coefficients in 1/32.
    context
        Called with the number of a step (from 0) and all magnitudes known so far.
    """
    rows, columns = y.shape[:2]
    channels = sum(GROUPS[:groups])
    active = (np.abs(y).max(axis=(0, 1)) >= 32 - int(thresholds.max()))[:channels]
    while groups and not active[sum(GROUPS[: groups - 1]) :].any():
        groups -= 1
        active = active[: sum(GROUPS[:groups])]
    channels = sum(GROUPS[:groups])
    symbols = np.zeros((rows, columns, channels), np.int64)
    seen = np.zeros_like(symbols)
    coded = []
    for number, (group, own, phase) in enumerate(steps()):
        if group >= groups:
            break
        where = phase_mask(group, phase, rows, columns)
        table = np.clip((context(number, seen) + 128) >> 8, 0, 63)[where] * active[own]
        part = symbols[..., own]

        def rounded(
            y: Integers, mean: Integers, table: Integers, mask: NDArray[np.bool_] = active[own]
        ) -> tuple[Integers, Integers]:
            mean = mean * mask
            value = y - 32 * mean
            size = np.abs(value)
            units = (size + thresholds[np.where(size < 48, 0, 1), table]) >> 5
            residual = np.where(table >= skip, np.sign(value) * units, 0)
            return residual, mean + residual

        if number:
            mean = means(phase, part, mean_weight)[where] if group == 0 else np.zeros_like(table)
            residual, part[where] = rounded(y[..., own][where], mean, table)
        else:
            residual = np.zeros_like(table)
            for i, (r, c) in enumerate(np.argwhere(where)):
                mean = first_means(part, r, c, first_weight)
                residual[i], part[r, c] = rounded(y[r, c, own], mean, table[i])
        seen[..., own][where] = magnitudes[np.minimum(np.abs(part[where]), 255)]
        chosen = table >= skip
        coded.append((residual[chosen], table[chosen]))
    return symbols, ~active, coded
