"""NumPy oracle of the integer network's layers, in int64 arithmetic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def requantise(
    accumulators: NDArray[np.int64], multiplier: NDArray[np.int32], shift: int, low: int, high: int
) -> NDArray[np.int16]:
    """Scale int32 accumulators to int16 activations: multiply, round half up, shift, saturate.

    Parameters
    ----------
    accumulators
        (..., C) int64, every magnitude below 2**31.
    multiplier
        (C,) int32, not negative.
    shift
        1 to 46.
    low, high
        Interval of the result, within int16.
    """
    product = accumulators * multiplier.astype(np.int64) + (np.int64(1) << np.int64(shift - 1))
    return np.clip(product >> np.int64(shift), low, high).astype(np.int16)


def pointwise_sums(
    x: NDArray[np.int16], weight: NDArray[np.int8], bias: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the accumulators of a 1x1 convolution: (..., Cin), (Cout, Cin), (Cout,) -> (..., Cout)."""
    return x.astype(np.int64) @ weight.T.astype(np.int64) + bias


def depthwise_sums(
    x: NDArray[np.int16], weight: NDArray[np.int8], bias: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the accumulators of a depthwise 3x3 with zero padding; x is (N, H, W, C)."""
    height, width = x.shape[1:3]
    padded = np.pad(x.astype(np.int64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    sums = np.zeros(x.shape, np.int64) + bias
    for i in range(3):
        for j in range(3):
            sums += padded[:, i : i + height, j : j + width] * weight[i, j].astype(np.int64)
    return sums


def pixel_shuffle(x: NDArray[np.int16]) -> NDArray[np.int16]:
    """Rearrange (N, H, W, 4C) to (N, 2H, 2W, C): out[2h+i, 2w+j, c] = in[h, w, 4c+2i+j]."""
    n, height, width, channels = x.shape
    parts = x.reshape(n, height, width, channels // 4, 2, 2)  # (N, H, W, C, i, j)
    return parts.transpose(0, 1, 4, 2, 5, 3).reshape(n, 2 * height, 2 * width, channels // 4)
