"""Rate-distortion optimised rounding of latents, and where inside its interval a latent is reconstructed."""

from __future__ import annotations

from functools import cache

import numpy as np

from siglum.codecs.image.constants import SCALES
from siglum.entropy.gaussian import gaussian_tables
from siglum.entropy.tables import escape_order
from siglum.kernels import latents

MAX_SYMBOL = 2**15 - 1  # of a latent, in a file; keeps forged ones out of float arithmetic
MAX_COSTED = 24  # magnitudes from here on are never changed by the optimisation
OFFSET_CLASSES = 2  # reconstruction offsets for magnitude 1, and for 2 and above


@cache
def magnitude_bits() -> np.ndarray:
    """(scales, MAX_COSTED + 1) float32: bits of a symbol of each magnitude under each table of the bank."""
    tables = gaussian_tables()
    magnitudes = np.arange(MAX_COSTED + 1)
    rows = []
    for frequencies, offset in zip(tables.frequencies, tables.offsets, strict=True):
        last, order = len(frequencies) - 1, escape_order(len(frequencies))
        entry = np.minimum(magnitudes - offset, last)
        # Beyond the table an escape carries 2 * (entries beyond) in an exp-Golomb code.
        beyond = np.maximum(magnitudes - offset - last, 0)
        length = np.frexp(((2 * beyond) >> order) + 1.0)[1] - 1
        payload = np.where(entry == last, 2 * length + 1 + order, 0)
        rows.append(tables.precision - np.log2(frequencies[entry].astype(np.float64)) + payload)
    return np.asarray(rows, np.float32)


def optimised_rounding(
    latent: np.ndarray, mean: np.ndarray, index: np.ndarray, weight: np.ndarray, skip: int, threads: int = 1
) -> np.ndarray:
    """Round latents so that bits + weight * squared error is least, looking one step towards zero.

    Parameters
    ----------
    latent, mean
        (rows, columns, C) float32, in units of the step.
    index
        (rows, columns, C) uint8 table of each latent.
    weight
        (C,) float32, bits that one unit of squared error (in squared steps) is worth.
    skip
        Latents whose table is below this index are not coded: zero.

    Returns
    -------
    (rows, columns, C) int32.
    """
    return latents.choose(latent, mean, index, weight, magnitude_bits(), skip, threads)


def fit_offsets(symbols: np.ndarray, residual: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Centroids of the residuals that were coded as each integer: the table that `latents.reconstruct` takes.

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
