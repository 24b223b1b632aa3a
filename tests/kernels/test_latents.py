"""The latents' arithmetic: compiled code equals NumPy bit for bit, for any size, strides and threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.kernels import dispatch, latents
from siglum.kernels.reference import latents as reference

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30))


@given(SIZES, st.integers(0, 99), st.integers(0, 70), st.sampled_from([1, 2, 3]))
@settings(deadline=None, max_examples=40)
def test_compiled_code_equals_numpy(size: tuple[int, int, int], seed: int, skip: int, threads: int) -> None:
    random = np.random.default_rng(seed)
    rows, columns, channels = size
    prior = random.integers(-(2**15), 2**15, (rows + 3, columns + 2, 2 * channels), dtype=np.int16)
    unit = random.standard_normal(channels).astype(np.float32)
    mean, index = np.empty(size, np.float32), np.empty(size, np.uint8)
    isa = str(random.choice(dispatch.available_isas()))
    latents.predict(prior, unit, mean, index, threads, isa)
    expected_mean, expected_index = reference.predict(prior[:rows, :columns], unit)
    assert np.array_equal(mean, expected_mean) and np.array_equal(index, expected_index)

    wide = np.zeros((rows + 2, columns + 3, channels), np.float32)
    latent = wide[1 : rows + 1, 2 : columns + 2]
    latent[...] = mean + random.standard_normal(size) * random.choice([0.5, 5.0, 1e6])
    weight = random.uniform(0, 8, channels).astype(np.float32)
    bits = np.sort(random.uniform(0, 20, (64, latents_costed())), axis=1).astype(np.float32)
    symbols = latents.choose(latent, mean, index, weight, bits, skip, threads)
    assert np.array_equal(symbols, reference.choose(latent, mean, index, weight, bits, skip))

    table = random.uniform(0, 0.5, (64, 2)).astype(np.float32) * np.float32(seed % 4 > 0)  # or no offsets
    expected = reference.reconstruct(symbols, mean, index, table)
    assert np.array_equal(latents.reconstruct(symbols, mean, index, table, None, threads, isa), expected)
    in_place = mean.copy()
    latents.reconstruct(symbols, in_place, index, table, in_place, threads, isa)
    assert np.array_equal(in_place, expected)
    latents.reconstruct(symbols, mean, index, table, latent, threads)
    assert np.array_equal(latent, expected)
    latent[...] = 0
    assert not wide.any()  # nothing beside the tile was touched

    coded, tables = latents.gather(symbols, index, skip)
    assert np.array_equal(coded, symbols[index >= skip]) and np.array_equal(tables, index[index >= skip])
    assert np.array_equal(latents.scatter(coded, index, skip), symbols)
    phase = slice(rows // 2, None, 2), slice(0, None, 2), slice(channels // 2, None)
    coded, tables = latents.gather(symbols[phase], index[phase], skip)
    assert np.array_equal(tables, latents.coded_tables(index[phase], skip))
    assert np.array_equal(tables, index[phase][index[phase] >= skip])
    target = np.zeros_like(symbols)
    latents.scatter(coded, index[phase], skip, target[phase])
    assert np.array_equal(target[phase], symbols[phase])
    target[phase] = 0
    assert not target.any()


def latents_costed() -> int:
    return reference.COSTED + 1


def test_a_latent_that_is_no_number_gives_some_symbol() -> None:
    latent = np.array([[[np.nan, np.inf, -np.inf]]], np.float32)
    mean, index = np.zeros_like(latent), np.full(latent.shape, 9, np.uint8)
    symbols = latents.choose(latent, mean, index, np.ones(3, np.float32), np.zeros((64, 25), np.float32), 0)
    assert symbols.tolist() == [[[-32767, 32767, -32767]]]


def test_what_does_not_fit_is_refused() -> None:
    mean, index = np.zeros((2, 3, 4), np.float32), np.zeros((2, 3, 4), np.uint8)
    symbols, table = np.zeros((2, 3, 4), np.int32), np.zeros((64, 2), np.float32)
    for wrong in (symbols[:1], symbols[..., :3]):
        with pytest.raises(ValueError):
            latents.reconstruct(wrong, mean, index, table, np.empty_like(mean))
    with pytest.raises(ValueError):
        latents.reconstruct(symbols, mean, index, table[:60])
    with pytest.raises(ValueError):
        latents.predict(np.zeros((1, 3, 8), np.int16), np.zeros(4, np.float32), mean, index)
    with pytest.raises(ValueError):
        latents.scatter(np.zeros(23, np.int32), index, 0)
    with pytest.raises(ValueError):
        latents.gather(symbols, index[:1], 0)
