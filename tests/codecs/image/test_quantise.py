"""Rate-distortion optimised rounding and reconstruction offsets."""

from __future__ import annotations

import numpy as np

from siglum.codecs.image import quantise
from siglum.entropy.gaussian import GAUSSIAN_SCALES, gaussian_tables
from siglum.kernels.reference import latents as reference

RANDOM = np.random.default_rng(0)
INDEX = RANDOM.integers(0, 64, (20, 25, 32)).astype(np.uint8)
RESIDUAL = (RANDOM.normal(size=INDEX.shape) * GAUSSIAN_SCALES[INDEX]).astype(np.float32)
ZEROS = np.zeros_like(RESIDUAL)


def cost(symbols: np.ndarray, weight: np.ndarray) -> np.ndarray:
    magnitude = np.abs(symbols)
    bits = quantise.magnitude_bits()[INDEX, np.minimum(magnitude, quantise.MAX_COSTED)]
    return bits + weight * (RESIDUAL - symbols) ** 2


def test_the_bits_of_a_magnitude_are_the_tables() -> None:
    tables, bits = gaussian_tables(), quantise.magnitude_bits()
    assert bits.shape == (64, quantise.MAX_COSTED + 1)
    for table in range(0, 64, 7):
        for magnitude in range(quantise.MAX_COSTED + 1):
            expected = tables.bits(np.int32([magnitude]), np.uint8([table]))
            assert abs(bits[table, magnitude] - expected) < 1e-5


def test_rounding_never_costs_more_than_the_nearest_integer() -> None:
    weight = np.full(32, 6.0, np.float32)
    chosen = quantise.optimised_rounding(RESIDUAL, ZEROS, INDEX, weight, skip=0)
    nearest = np.rint(RESIDUAL).astype(np.int32)
    small = np.abs(nearest) < quantise.MAX_COSTED
    assert np.all((cost(chosen, weight) <= cost(nearest, weight) + 1e-3)[small])
    assert np.all(np.abs(chosen) <= np.abs(nearest))
    assert np.any(chosen != nearest)


def test_a_heavy_error_weight_gives_plain_rounding() -> None:
    chosen = quantise.optimised_rounding(RESIDUAL, ZEROS, INDEX, np.full(32, 1e6, np.float32), skip=0)
    assert np.array_equal(chosen, np.rint(RESIDUAL).astype(np.int32))


def test_skipped_tables_are_zero() -> None:
    chosen = quantise.optimised_rounding(RESIDUAL, ZEROS, INDEX, np.full(32, 6.0, np.float32), skip=20)
    assert not np.any(chosen[INDEX < 20])


def test_offsets_are_the_centroids_and_lower_the_error() -> None:
    weight = np.full(32, 6.0, np.float32)
    symbols = quantise.optimised_rounding(RESIDUAL, ZEROS, INDEX, weight, skip=0)
    table = quantise.fit_offsets(symbols.ravel(), RESIDUAL.ravel(), INDEX.ravel())
    moved = symbols - reference.offsets(symbols, INDEX, table)
    assert moved.dtype == np.float32 or moved.dtype == np.float64
    assert np.mean((moved - RESIDUAL) ** 2) <= np.mean((symbols - RESIDUAL) ** 2)
    assert not np.any(reference.offsets(np.zeros_like(symbols), INDEX, table))
