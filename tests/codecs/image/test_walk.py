"""The walk in one call against its parts called one by one: same means, tables, symbols and files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs.image import lossy, quantise
from siglum.codecs.image.weights import ImageWeights, load_by_name
from siglum.entropy import rans
from siglum.entropy.arrays import as_bytes
from siglum.entropy.gaussian import gaussian_tables
from siglum.errors import BitstreamError, Truncated
from siglum.kernels import dispatch, latents
from siglum.kernels.walk import OUT_OF_RANGE, Latents


@pytest.fixture(scope="module")
def weights() -> ImageWeights:
    return load_by_name("small")


def drawn(seed: int, rows: int, columns: int, weights: ImageWeights) -> tuple[np.ndarray, np.ndarray]:
    """Latents that look like a picture's, and hyperlatents."""
    random = np.random.default_rng(seed)
    y = random.laplace(0, 1.5, (rows, columns, weights.prior.latent)).astype(np.float32)
    z = random.integers(-6, 7, (-(-rows // 4), -(-columns // 4), weights.prior.hyper_channels))
    return y, z.astype(np.int16)


def step_by_step(weights: ImageWeights, y: np.ndarray, z: np.ndarray, level: int) -> Latents:
    """What `round_all` does, phase by phase in Python."""
    way = lossy.walk(weights, z, level, (y.shape[0], y.shape[1]), 1)
    bits, weight = quantise.magnitude_bits(), weights.error_weight(level)
    for where in way:
        parts = (y[where], way.mean[where], way.index[where])
        way.settle(where, latents.choose(*parts, weight[where[2]], bits, weights.skip))
    return Latents(way.mean, way.index, way.symbols)


@given(
    st.integers(1, 21),
    st.integers(1, 21),
    st.sampled_from([0, 77, 153, 255]),
    st.sampled_from([1, 2, 4]),
    st.integers(0, 99),
)
@settings(deadline=None, max_examples=25)
def test_one_call_equals_its_parts(rows: int, columns: int, level: int, threads: int, seed: int) -> None:
    weights = load_by_name("small")
    y, z = drawn(seed, rows, columns, weights)
    expected = step_by_step(weights, y, z, level)
    found = lossy.round_all(weights, y, z, level, threads)
    assert alike(found, expected)
    tile = lossy.Tile(
        lossy.encode_symbols(weights, z, found.symbols, found.index, level),
        lossy.symbols_checksum(z, found.symbols),
    )
    made = lossy.decode_tile(weights, tile, (rows, columns), level, threads)
    parts = expected.symbols, expected.mean, expected.index
    assert np.array_equal(made, latents.reconstruct(*parts, weights.offsets))


def alike(one: Latents, other: Latents) -> bool:
    return all(
        getattr(one, name).tobytes() == getattr(other, name).tobytes()
        for name in ("mean", "index", "symbols")
    )


def test_every_instruction_set(weights: ImageWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    y, z = drawn(5, 19, 34, weights)
    expected = step_by_step(weights, y, z, 200)
    for isa in dispatch.available_isas():
        monkeypatch.setenv("SIGLUM_ISA", isa)
        for threads in (1, 3):
            found = lossy.round_all(weights, y, z, 200, threads)
            assert alike(found, expected)


def test_a_part_of_a_larger_array_is_rounded(weights: ImageWeights) -> None:
    y, z = drawn(6, 16, 16, weights)
    wide = np.zeros((20, 30, y.shape[2]), np.float32)
    wide[2:18, 7:23] = y
    found = lossy.round_all(weights, wide[2:18, 7:23], z, 99, 2)
    assert np.array_equal(found.symbols, lossy.round_all(weights, y, z, 99, 1).symbols)


def test_damage_is_an_error_and_never_a_crash(weights: ImageWeights) -> None:
    y, z = drawn(7, 12, 20, weights)
    found = lossy.round_all(weights, y, z, 120, 1)
    good = lossy.encode_symbols(weights, z, found.symbols, found.index, 120)
    crc = lossy.symbols_checksum(z, found.symbols)
    random = np.random.default_rng(0)
    with pytest.raises(Truncated):
        lossy.decode_tile(weights, lossy.Tile(b"", crc), (12, 20), 120, 2)
    for _ in range(40):
        bad = bytearray(good[: random.integers(1, len(good) + 1)])
        bad[random.integers(0, len(bad))] ^= 1 << random.integers(0, 8)
        with pytest.raises(BitstreamError):
            lossy.decode_tile(weights, lossy.Tile(bytes(bad), crc), (12, 20), 120, 2)


def test_wrong_arrays_are_refused(weights: ImageWeights) -> None:
    y, z = drawn(8, 8, 8, weights)
    level = weights.prior.at(100)
    settings = weights.mean_unit(100), weights.error_weight(100), quantise.magnitude_bits(), weights.skip
    with pytest.raises(ValueError, match="fit"):
        level.choose(y, z[:1], *settings)
    with pytest.raises(ValueError, match="fit"):
        level.choose(y[..., :-1], z, *settings)
    with pytest.raises(ValueError, match="threads"):
        level.choose(y, z, *settings, threads=0)


def test_a_hyperlatent_out_of_range_is_told(weights: ImageWeights) -> None:
    hyper = weights.prior.hyper_channels
    z = np.full((2, 2, hyper), 99, np.int32)
    encoder = rans.Encoder()
    tables = weights.prior.hyper_tables(100)
    encoder.push(z, gaussian_tables(), np.broadcast_to(tables, z.shape))
    status = weights.prior.at(100).decode(
        as_bytes(encoder.finish()),
        gaussian_tables().native,
        tables,
        50,
        np.empty_like(z),
        weights.mean_unit(100),
        weights.skip,
        Latents.empty(8, 8, weights.prior.latent),
    )
    assert status == OUT_OF_RANGE
