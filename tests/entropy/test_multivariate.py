from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.entropy.fractional import fractional_tables
from siglum.entropy.gaussian import gaussian_tables
from siglum.entropy.multivariate import MultivariateGaussian
from siglum.errors import UsageError
from siglum.kernels import _native, dispatch
from siglum.kernels.reference import multivariate as reference

DIMENSIONS = st.integers(1, 16)
ISAS = st.sampled_from(dispatch.available_isas())


def prior(rng: np.random.Generator, d: int, n: int, each: bool, size: int) -> tuple[np.ndarray, np.ndarray]:
    columns = n if each else 1
    mean = rng.integers(-size, size, (d, columns)).astype(np.int32)
    factors = rng.integers(-size, size, (d * (d - 1) // 2, columns)).astype(np.int32)
    return mean, factors


@settings(deadline=None, max_examples=40)
@given(
    DIMENSIONS, st.integers(0, 1300), st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([1, 3]), ISAS
)
def test_real_kernels_equal_the_oracle(d: int, n: int, seed: int, each: bool, threads: int, isa: str) -> None:
    rng = np.random.default_rng(seed)
    mean, factors = prior(rng, d, n, each, 2**17)
    values = rng.normal(size=(d, n)) * 50
    coded = np.empty((d, n), np.int32)
    assert _native.multivariate_residuals(isa, values, mean, factors, coded, threads)
    assert np.array_equal(coded, reference.residuals(values, mean, factors))
    fixed = np.empty((d, n), np.int64)
    _native.multivariate_reconstruct(isa, coded, mean, factors, fixed, threads)
    assert np.array_equal(fixed, reference.reconstruct(coded, mean, factors))
    if n:
        assert np.abs(fixed / 65536 - values).max() <= 0.5 + 2**-16


@settings(deadline=None, max_examples=40)
@given(DIMENSIONS, st.integers(0, 1300), st.integers(0, 2**32 - 1), st.booleans(), st.booleans(), ISAS)
def test_integer_kernels_equal_the_oracle(
    d: int, n: int, seed: int, each: bool, extreme: bool, isa: str
) -> None:
    rng = np.random.default_rng(seed)
    mean, factors = prior(rng, d, n, each, 2**31 - 1 if extreme else 2**17)
    values = rng.integers(-(2**24), 2**24, (d, n)).astype(np.int32)
    coded, fractions = np.empty((d, n), np.int32), np.empty((d, n), np.int8)
    _native.multivariate_residuals_integer(isa, values, mean, factors, coded, fractions, 2)
    expected, parts = reference.residuals_integer(values, mean, factors)
    assert np.array_equal(coded, expected)
    assert np.array_equal(fractions, parts)
    assert n == 0 or (fractions.min() >= -8 and fractions.max() <= 7)
    residuals, decoded = np.empty((2, d, n), np.int32)
    shifts, part = np.empty(n, np.int32), np.empty(n, np.int8)
    for i in range(d):
        _native.multivariate_predict_integer(isa, i, residuals, mean, factors, shifts, part, 2)
        assert np.array_equal(part, parts[i])
        _native.multivariate_settle_integer(i, residuals, shifts, coded[i], decoded[i], 2)
    assert np.array_equal(decoded, values)


@pytest.mark.parametrize("d", [2, 4, 8, 16])
@pytest.mark.parametrize("integer", [False, True])
def test_saves_the_mutual_information(d: int, integer: bool) -> None:
    rng = np.random.default_rng(d)
    covariance = 400 * (0.9 ** np.abs(np.subtract.outer(np.arange(d), np.arange(d))))
    data = rng.multivariate_normal(np.full(d, 3.3), covariance, 8000)
    vectors = np.rint(data).astype(np.int32) if integer else data
    model, alone = (MultivariateGaussian.fit(vectors, correlated=flag) for flag in (True, False))
    information = 0.5 * (d * np.log2(400) - np.linalg.slogdet(covariance)[1] / np.log(2))
    saved = (alone.bits(vectors) - model.bits(vectors)) / len(vectors)
    assert saved == pytest.approx(information, rel=0.02)
    decoded = model.decode(model.encode(vectors), shape=vectors.shape)
    assert np.abs(decoded - vectors).max() <= (0 if integer else 0.5 + 2**-16)


def test_context_of_each_vector_and_of_all() -> None:
    model, values, (mean, factors, scales) = MultivariateGaussian.example(0, 500)
    both = (mean.reshape(20, 25, 4), factors.reshape(20, 25, 6), scales.reshape(20, 25, 4))
    data = model.encode(values.reshape(20, 25, 4), both)
    assert data == model.encode(values, (mean, factors, scales))
    assert model.decode(data, both).shape == (20, 25, 4)
    partly = (mean, None, scales)
    assert np.abs(model.decode(model.encode(values, partly), partly) - values).max() < 0.51
    views = (np.asfortranarray(mean), np.asfortranarray(factors), scales)
    assert model.encode(np.asfortranarray(values), views) == data


def test_degenerate_data() -> None:
    line = np.arange(100.0)[:, None] * np.array([1.0, 2.0, -3.0])
    constant = np.full((50, 4), 7.25)
    for data in (line, constant, line.astype(int), constant.astype(int)):
        model = MultivariateGaussian.fit(data)
        decoded = model.decode(model.encode(data), shape=data.shape)
        assert np.abs(decoded - data).max() <= 0.5 + 2**-16
    assert model.bits(constant.astype(int)) < 50


@pytest.mark.parametrize(
    "data", [np.ones(5), np.ones((1, 3)), np.ones((5, 17)), np.full((5, 2), np.nan), np.full((5, 2), 1e9)]
)
def test_bad_data(data: np.ndarray) -> None:
    with pytest.raises(UsageError):
        MultivariateGaussian.fit(data)


def test_bad_arguments() -> None:
    with pytest.raises(UsageError):
        MultivariateGaussian([0, 0], [0, 0], [1, 1])
    with pytest.raises(UsageError):
        MultivariateGaussian([0, 0], [0], [1, 64])
    model = MultivariateGaussian([0, 0], [0], [10, 10])
    for values in (np.full((3, 2), np.inf), np.full((3, 2), 1e8), np.ones((3, 3))):
        with pytest.raises(UsageError):
            model.encode(values)
    for context in (
        (np.zeros((2, 2), int), None, None),
        (None, np.zeros(3, int), None),
        (None, None, [99, 0]),
    ):
        with pytest.raises(UsageError):
            model.encode(np.ones((3, 2)), context)
    with pytest.raises(UsageError):
        model.decode(b"\0", shape=(3, 4))


def test_fractional_tables_are_mirrored_and_begin_with_the_bank() -> None:
    tables, bank = fractional_tables(), gaussian_tables()
    assert len(tables) == 1024
    for scale in range(64):
        centre = 16 * scale + 8
        assert np.array_equal(tables.frequencies[centre], bank.frequencies[scale])
        for fraction in range(1, 8):
            up, down = tables.frequencies[centre + fraction], tables.frequencies[centre - fraction]
            assert np.array_equal(up[:-1], down[-2::-1])
            last = tables.offsets[centre + fraction] + len(up) - 2
            assert last == -tables.offsets[centre - fraction]
