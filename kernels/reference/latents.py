"""The latents' arithmetic in NumPy, equal to the compiled functions bit for bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
MAX_SYMBOL = 2**15 - 1
COSTED = 24
TABLES = 64


def predict(prior: NDArray[np.int16], unit: Floats) -> tuple[Floats, NDArray[np.uint8]]:
    """(..., 2C) int16 -> means (..., C) float32 and table indices (..., C) uint8."""
    channels = prior.shape[-1] // 2
    index = (prior[..., channels:].astype(np.int32) + 128) >> 8
    mean = prior[..., :channels].astype(np.float32) * unit
    return mean, np.clip(index, 0, TABLES - 1).astype(np.uint8)


def choose(
    latent: Floats, mean: Floats, index: NDArray[np.uint8], weight: Floats, bits: Floats, skip: int
) -> NDArray[np.int32]:
    """Integers nearest to latent - mean, or one nearer to zero where that costs less."""
    residual = np.clip(latent - mean, np.float32(-MAX_SYMBOL), np.float32(MAX_SYMBOL))
    symbols = np.rint(residual).astype(np.int32)
    magnitude = np.abs(symbols)
    excess = np.abs(residual) - magnitude.astype(np.float32)
    below = (excess < 0) & (magnitude <= COSTED)
    k = np.where(below, magnitude, 1)
    saved = bits[index, k] - bits[index, k - 1]
    lower = below & (saved > weight * (2 * excess + 1))
    symbols -= np.where(lower, np.sign(symbols), 0)
    return np.where(index < skip, 0, symbols).astype(np.int32)


def offsets(symbols: NDArray[np.int32], index: NDArray[np.uint8], table: Floats) -> Floats:
    """How far towards zero each latent is reconstructed from its integer, with its sign."""
    padded = np.concatenate([np.zeros((len(table), 1), np.float32), table], axis=1)
    magnitude = np.minimum(np.abs(symbols), table.shape[1])
    moved: Floats = padded[index, magnitude] * np.sign(symbols).astype(np.float32)
    return moved


def reconstruct(symbols: NDArray[np.int32], mean: Floats, index: NDArray[np.uint8], table: Floats) -> Floats:
    """Symbol + mean - offset."""
    return symbols.astype(np.float32) + mean - offsets(symbols, index, table)
