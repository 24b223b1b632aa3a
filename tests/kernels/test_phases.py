"""The phases of a group: compiled and NumPy versions equal bit for bit, on odd sizes, views and any threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs.image import constants
from siglum.kernels import dispatch, phases
from siglum.kernels.reference import phases as reference

SIZES = st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 35))


def integers(random: np.random.Generator, bound: int, *shape: int) -> np.ndarray:
    return random.integers(-bound, bound + 1, shape).astype(np.int16)


@given(SIZES, st.integers(0, 3), st.integers(1, 3), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_lean_and_settle_equal_numpy(size: tuple[int, int, int], phase: int, threads: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, columns, channels = size
    factors = integers(random, phases.FACTOR_HIGH, rows, columns, 4 * channels)
    wide = integers(random, 2**15 - 1, rows, columns, channels + 5)
    wide[0, 0, 0] = -(2**15)
    means = random.normal(size=wide.shape).astype(np.float32)
    own = slice(3, 3 + channels)
    deviation, mean = wide.copy(), means.copy()
    expected, expected_mean = wide.copy(), means.copy()
    isa = str(random.choice(dispatch.available_isas()))
    phases.lean(factors, deviation[..., own], mean[..., own], phase, threads, isa)
    reference.lean(factors, expected[..., own], expected_mean[..., own], phase)
    assert np.array_equal(deviation, expected)
    assert np.array_equal(mean, expected_mean)

    row, column = reference.POSITIONS[phase]
    where = slice(row, None, 2), slice(column, None, 2), own
    if not deviation[where].size:
        return
    symbols = random.choice([0, 1, -1, 5, 2**15, -(2**31), 2**31 - 1], deviation[where].shape).astype(
        np.int32
    )
    phases.settle(symbols, deviation[where], threads, isa)
    reference.settle(symbols, expected[where])
    assert np.array_equal(deviation, expected)


@given(SIZES, st.integers(0, 20), st.integers(1, 3), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_join_equals_numpy(size: tuple[int, int, int], width: int, threads: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, columns, channels = size
    features = integers(random, 2**15 - 1, rows, columns, width + 1)
    deviation = integers(random, 2**15 - 1, rows, columns, 2 * channels)[..., channels:]
    deviation[0, 0, 0] = -(2**15)
    gain = random.choice([0, 1, 700, 2**16 - 1], channels).astype(np.int32)
    for limit in (0, 100, 2**14, 2**15 - 1):
        expected = reference.join(features, deviation, gain, limit)
        for isa in dispatch.available_isas():
            assert np.array_equal(phases.join(features, deviation, gain, limit, threads, isa), expected)


def test_the_phases_are_those_of_the_codec() -> None:
    assert constants.PHASES == reference.POSITIONS
    assert constants.NEIGHBOURS == reference.NEIGHBOURS


def test_the_pull_by_hand() -> None:
    deviation = np.zeros((2, 2, 1), np.int16)
    deviation[0, 0] = 64  # two steps
    factors = np.zeros((2, 2, 4), np.int16)
    factors[1, 1] = [128, 0, 0, 0]  # half of what is above to the left
    mean = np.zeros((2, 2, 1), np.float32)
    phases.lean(factors, deviation, mean, 1)
    assert deviation[1, 1] == 32 and mean[1, 1] == 1.0
    phases.settle(np.full((1, 1, 1), -3, np.int32), deviation[1::2, 1::2])
    assert deviation[1, 1] == 32 - 96


def test_magnitudes_are_logarithms() -> None:
    deviation = np.array([[[0, 32, -32, 96, 32 * 1023]]], np.int16)
    joined = phases.join(np.zeros((1, 1, 1), np.int16), deviation, np.zeros(5, np.int32), 0)
    assert joined[0, 0, 6:].tolist() == [0, 1024, 1024, 2048, 10240]


def test_arrays_that_do_not_fit_are_refused() -> None:
    deviation, mean = np.zeros((3, 4, 5), np.int16), np.zeros((3, 4, 5), np.float32)
    with pytest.raises(ValueError, match="fit"):
        phases.lean(np.zeros((3, 4, 19), np.int16), deviation, mean, 1)
    with pytest.raises(ValueError, match="fit"):
        phases.lean(np.zeros((3, 4, 20), np.int16), deviation, mean, 4)
    with pytest.raises(ValueError, match="fit"):
        phases.settle(np.zeros((3, 4, 4), np.int32), deviation)
    with pytest.raises(ValueError, match="gain"):
        phases.join(deviation, deviation, np.full(5, 2**16, np.int32), 10)
    with pytest.raises(ValueError, match="limit"):
        phases.join(deviation, deviation, np.zeros(5, np.int32), 2**15)
    with pytest.raises(TypeError):
        phases.settle(np.zeros((3, 4, 5), np.int64), deviation)
