"""A float network in NumPy, in float64: what the compiled layers compute up to the rounding of float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def activation(x: Floats) -> Floats:
    """The swish of straight pieces, x * clamp(x + 1/2, 0, 1)."""
    return x * np.clip(x + 0.5, 0.0, 1.0)


def cells_of(x: Floats) -> Floats:
    """(H, W, C) -> (H/2, W/2, 4C): each cell of 2 x 2 positions, channels ordered (row, column, channel)."""
    height, width, channels = x.shape
    cells = x.reshape(height // 2, 2, width // 2, 2, channels).transpose(0, 2, 1, 3, 4)
    return cells.reshape(height // 2, width // 2, 4 * channels)


def positions_of(x: Floats) -> Floats:
    """(H, W, 4C) -> (2H, 2W, C), the inverse of `cells_of`."""
    height, width, channels = x.shape
    cells = x.reshape(height, width, 2, 2, channels // 4).transpose(0, 2, 1, 3, 4)
    return cells.reshape(2 * height, 2 * width, channels // 4)


def pointwise(x: Floats, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Floats:
    """(..., Cin) -> (..., Cout) with a (Cout, Cin) weight."""
    return x @ weight.astype(np.float64).T + bias


def depthwise(x: Floats, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Floats:
    """(H, W, C) -> (H, W, C): 3x3 with zero padding and a (3, 3, C) weight."""
    height, width, _ = x.shape
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    taps = [padded[i : i + height, j : j + width] * weight[i, j] for i in range(3) for j in range(3)]
    return np.sum(taps, axis=0) + bias


def patches_of(samples: NDArray[np.uint8], multiple: int, patch: int = 8) -> Floats:
    """(H, W, 3) uint8 -> (h, w, 192): sample / 128 - 1, edges continued to whole patches and multiples of them.

    Channels are ordered (row, column, colour).
    """
    side = patch * multiple
    height, width = samples.shape[:2]
    padded = np.pad(samples, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge") / 128.0 - 1.0
    rows, columns = padded.shape[0] // patch, padded.shape[1] // patch
    patches = padded.reshape(rows, patch, columns, patch, 3).transpose(0, 2, 1, 3, 4)
    return patches.reshape(rows, columns, -1)


def samples_of(x: Floats, patch: int = 8) -> NDArray[np.uint8]:
    """(h, w, 192) -> (8h, 8w, 3) uint8: (value + 1/2) * 255, rounded and clamped."""
    rows, columns = x.shape[:2]
    pixels = x.reshape(rows, columns, patch, patch, 3).transpose(0, 2, 1, 3, 4)
    values = np.floor((pixels.reshape(rows * patch, columns * patch, 3) + 0.5) * 255.0 + 0.5)
    return np.clip(values, 0, 255).astype(np.uint8)
