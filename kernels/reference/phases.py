"""The phases of a group of channels in NumPy, bit for bit; see `siglum.kernels.phases`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POSITIONS = ((0, 0), (1, 1), (0, 1), (1, 0))
_DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_DIRECT = ((0, -1), (0, 1), (-1, 0), (1, 0))
NEIGHBOURS = ((), _DIAGONAL, _DIRECT, _DIRECT)


def pull(factors: NDArray[np.int16], deviation: NDArray[np.int16], phase: int) -> NDArray[np.int32]:
    """The pull on all latents of a phase, (rows, columns, C) int32 in 1/8192 of a step."""
    rows, columns, channels = deviation.shape
    around = np.pad(deviation.astype(np.int32), ((1, 1), (1, 1), (0, 0)))
    total = np.zeros((rows, columns, channels), np.int32)
    for number, (down, right) in enumerate(NEIGHBOURS[phase]):
        own = factors[..., number * channels : (number + 1) * channels].astype(np.int32)
        total += own * around[1 + down : 1 + down + rows, 1 + right : 1 + right + columns]
    row, column = POSITIONS[phase]
    return total[row::2, column::2]


def lean(
    factors: NDArray[np.int16], deviation: NDArray[np.int16], mean: NDArray[np.float32], phase: int
) -> None:
    """As `siglum.kernels.phases.lean`."""
    row, column = POSITIONS[phase]
    total = pull(factors, deviation, phase)
    deviation[row::2, column::2] = np.clip((total + 128) >> 8, -(2**15), 2**15 - 1)
    mean[row::2, column::2] += total.astype(np.float32) * np.float32(1 / 8192)


def settle(symbols: NDArray[np.int32], deviation: NDArray[np.int16]) -> None:
    """As `siglum.kernels.phases.settle`."""
    total = np.clip(symbols, -(2**15) + 1, 2**15 - 1).astype(np.int32) * 32 + deviation
    deviation[...] = np.clip(total, -(2**15), 2**15 - 1)


def join(
    features: NDArray[np.int16], deviation: NDArray[np.int16], gain: NDArray[np.int32], limit: int
) -> NDArray[np.int16]:
    """As `siglum.kernels.phases.join`."""
    context = np.clip((deviation.astype(np.int64) * gain + 512) >> 10, -limit, limit)
    above = 32 + np.abs(deviation.astype(np.int64))
    power = np.frexp(above.astype(np.float64))[1] - 1
    magnitude = (power - 5) * 1024 + ((above << 10) >> power) - 1024
    return np.concatenate([features, context.astype(np.int16), magnitude.astype(np.int16)], axis=-1)
