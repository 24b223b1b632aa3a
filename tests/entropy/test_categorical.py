from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.entropy.categorical import Categorical
from siglum.entropy.normalise import normalise_rows
from siglum.entropy.tables import normalise
from siglum.errors import UsageError


def entropy(p: np.ndarray) -> float:
    p = p[p > 0] / p.sum()
    return float(-(p * np.log2(p)).sum())


def expected(model: Categorical, p: np.ndarray) -> float:
    return float((model.costs() * p / p.sum()).sum())


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 2**31), min_size=1, max_size=20), min_size=1, max_size=6),
    st.integers(5, 12),
)
def test_rows_follow_the_rule_of_single_tables(rows: list[list[int]], precision: int) -> None:
    rows = [[*row, 1] for row in rows]
    wide = np.full((len(rows), 21), 7, np.int64)
    for i, row in enumerate(rows):
        wide[i, : len(row)] = row
    result = normalise_rows(wide, [len(row) for row in rows], precision)
    for i, row in enumerate(rows):
        assert np.array_equal(result[i, : len(row)], normalise(row, precision))
        assert not result[i, len(row) :].any()


def test_rows_refuse_what_is_no_distribution() -> None:
    for bad in ([[0, 0]], [[-1, 5]], [[2**52, 0]]):
        with pytest.raises(UsageError):
            normalise_rows(np.array(bad), [2], 12)


@pytest.mark.parametrize("size", [2, 255, 256, 257, 1024, 5000, 65000])
@pytest.mark.parametrize("shape", ["uniform", "zipf", "geometric", "random", "peak"])
def test_large_alphabets_cost_little_over_the_entropy(size: int, shape: str) -> None:
    rng = np.random.default_rng(0)
    p = {
        "uniform": np.ones(size),
        "zipf": 1 / np.arange(1.0, size + 1),
        "geometric": 0.99 ** np.arange(size),
        "random": rng.random(size) ** 3,
        "peak": np.where(np.arange(size) == size // 2, 1.0, 0.1 / size),
    }[shape]
    model = Categorical.from_probabilities(p)
    assert expected(model, p) <= 1.006 * entropy(p) + 0.001


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 700), st.integers(0, 2**32 - 1), st.floats(0, 0.9))
def test_every_symbol_can_be_coded(size: int, seed: int, zeros: float) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 2**31, size) >> rng.integers(0, 31, size)
    weights[rng.random(size) < zeros] = 0
    weights[rng.integers(size)] = 5
    model = Categorical(weights)
    symbols = rng.permutation(size)
    assert np.array_equal(model.decode(model.encode(symbols), shape=size), symbols)
    assert model.bits(symbols) == pytest.approx(model.costs().sum())


def test_all_but_one_of_65536_have_weight() -> None:
    weights = np.ones(65536, np.int64)
    weights[77] = 0
    model = Categorical(weights)
    symbols = np.array([77, 0, 65535])
    assert np.array_equal(model.decode(model.encode(symbols), shape=3), symbols)


def test_contexts() -> None:
    rng = np.random.default_rng(1)
    context = rng.integers(0, 3, (50, 40))
    symbols = rng.binomial(400, np.array([0.1, 0.5, 0.9])[context])
    model = Categorical.fit(symbols, context=context, alphabet=402)
    assert np.array_equal(model.decode(model.encode(symbols, context), context), symbols)
    assert model.bits(symbols, context) < 0.85 * Categorical.fit(symbols).bits(symbols)
    for bad in (None, 3, context[:3, :3]):
        with pytest.raises(UsageError):
            model.encode(symbols, bad)


@pytest.mark.parametrize(
    "bad",
    [
        [0.0, np.nan],
        [1.0, np.inf],
        [1.0, -1e-9],
        [0.0, 0.0],
        [],
        [[1.0, 1.0], [0.0, 0.0]],
        [[[1.0]]],
        "text",
        3.0,
        np.ones(65537),
        np.ones(10**7),
    ],
    ids=str,
)
def test_bad_distributions_are_refused_at_once(bad: object) -> None:
    start = time.perf_counter()
    with pytest.raises(UsageError):
        Categorical.from_probabilities(bad)  # type: ignore[arg-type]
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("p", [[1e-320, 1e-310], [1e300, 1e-300, 1e300], [5.0], 10.0 ** -np.arange(300.0)])
def test_extreme_distributions_make_right_tables(p: object) -> None:
    model = Categorical.from_probabilities(p)  # type: ignore[arg-type]
    symbols = np.arange(np.size(p))
    assert np.array_equal(model.decode(model.encode(symbols), shape=len(symbols)), symbols)


def test_the_largest_alphabet_is_built_in_a_moment() -> None:
    p = np.random.default_rng(2).random(65536) ** 8
    start = time.perf_counter()
    model = Categorical.from_probabilities(p, tail=0.0)
    model.encode(np.arange(65536))
    assert time.perf_counter() - start < 10
