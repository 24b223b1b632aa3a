"""Rate-distortion optimised rounding of latents, and where inside its interval a latent is reconstructed."""

from __future__ import annotations

from functools import cache

import numpy as np

from siglum.codecs.image.constants import SCALES
from siglum.entropy.gaussian import gaussian_tables

MAX_SYMBOL = 2**15 - 1  # of a latent, in a file; keeps forged ones out of float arithmetic
MAX_COSTED = 24  # magnitudes from here on are never changed by the optimisation
OFFSET_CLASSES = 2  # reconstruction offsets for magnitude 1, and for 2 and above


@cache
def magnitude_bits() -> np.ndarray:
    """(scales, MAX_COSTED + 1) float32: bits of a symbol of each magnitude under each table of the bank."""
    tables = gaussian_tables()
    magnitudes = np.arange(MAX_COSTED + 1, dtype=np.int32)
    costs = [
        [tables.bits(magnitudes[k : k + 1], np.full(1, t, np.uint8)) for k in range(MAX_COSTED + 1)]
        for t in range(len(tables))
    ]
    return np.asarray(costs, np.float32)


def optimised_rounding(residual: np.ndarray, index: np.ndarray, weight: np.ndarray, skip: int) -> np.ndarray:
    """Round latents so that bits + weight * squared error is least, looking one step towards zero.

    Parameters
    ----------
    residual
        (..., C) float32, latent minus mean, in units of the step.
    index
        (..., C) uint8 table of each latent.
    weight
        (C,) float32, bits that one unit of squared error (in squared steps) is worth.
    skip
        Latents whose table is below this index are not coded: zero.

    Returns
    -------
    (..., C) int32.
    """
    symbols = np.rint(np.clip(residual, -MAX_SYMBOL, MAX_SYMBOL)).astype(np.int32)
    symbols[index < skip] = 0
    magnitude = np.abs(symbols)
    distance = np.abs(residual)
    where = np.nonzero((magnitude > distance) & (magnitude <= MAX_COSTED))
    k, r, table = magnitude[where], distance[where], index[where]
    bits = magnitude_bits()
    saved = bits[table, k] - bits[table, k - 1]
    paid = weight[where[-1]] * ((r - (k - 1)) ** 2 - (r - k) ** 2)
    lower = saved > paid
    chosen = tuple(axis[lower] for axis in where)
    symbols[chosen] -= np.sign(symbols[chosen])
    return symbols


def offsets(symbols: np.ndarray, index: np.ndarray, table: np.ndarray) -> np.ndarray:
    """How far towards zero each latent is reconstructed from its integer.

    Parameters
    ----------
    symbols, index
        (...,) integers and their table indices.
    table
        (scales, OFFSET_CLASSES) float32 learned offsets, 0..0.5.

    Returns
    -------
    (...,) float32, signed so that ``symbols + mean - offsets`` is the reconstruction.
    """
    magnitude = np.minimum(np.abs(symbols), OFFSET_CLASSES)
    padded = np.concatenate([np.zeros((len(table), 1), np.float32), table], axis=1)
    return padded[index, magnitude] * np.sign(symbols).astype(np.float32)


def fit_offsets(symbols: np.ndarray, residual: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Centroids of the residuals that were coded as each integer: the table that `offsets` takes.

    Classes with fewer than 200 samples keep 0.
    """
    table = np.zeros((SCALES, OFFSET_CLASSES), np.float32)
    magnitude = np.minimum(np.abs(symbols), OFFSET_CLASSES)
    shift = (symbols - residual) * np.sign(symbols)
    for k in range(1, OFFSET_CLASSES + 1):
        chosen = magnitude == k
        count = np.bincount(index[chosen], minlength=SCALES)
        total = np.bincount(index[chosen], weights=shift[chosen], minlength=SCALES)
        table[:, k - 1] = np.where(count >= 200, total / np.maximum(count, 1), 0.0)
    return np.clip(table, -0.25, 0.5)
