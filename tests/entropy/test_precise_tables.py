import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.entropy import precise_tables
from siglum.entropy import tables as plain
from siglum.entropy.precise_tables import PreciseTables, normalise
from siglum.errors import UsageError


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.one_of(st.integers(0, 20), st.integers(0, 2**32), st.just(0)), min_size=1, max_size=300),
    st.integers(0, 24),
)
def test_the_same_frequencies_as_in_python_integers(weights, precision):
    if len(weights) > 1 << precision or not any(weights):
        with pytest.raises(UsageError):
            normalise(np.array(weights), precision)
        return
    frequencies = normalise(np.array(weights), precision)
    assert frequencies.tolist() == plain.normalise(weights, precision).tolist()
    assert frequencies.sum() == 1 << precision and frequencies.min() >= 1


@pytest.mark.parametrize("seed", range(6))
def test_the_same_frequencies_where_many_entries_are_small(seed):
    rng = np.random.default_rng(seed)
    n, precision = [(4000, 12), (4096, 12), (65000, 16), (2**16, 16), (70000, 17), (3000, 24)][seed]
    weights = (2 ** rng.uniform(0, 40, n)).astype(np.int64)
    assert np.array_equal(normalise(weights, precision), plain.normalise(weights.tolist(), precision))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=200), st.booleans())
def test_the_same_tables_as_the_table_coder(pmf, closed):
    if any(pmf):
        ours, theirs = (module._from_pmf(pmf, 0, 12, closed) for module in (precise_tables, plain))
        assert np.array_equal(ours, theirs)


def test_ten_million_entries_are_quick():
    start = time.process_time()
    values = np.random.default_rng(0).gamma(0.3, size=10**7)
    tables = PreciseTables.from_pmf([values / values.sum()], [0], 24, closed=True)
    assert int(tables.frequencies[0].sum(dtype=np.int64)) == 2**24 and tables.frequencies[0].min() == 1
    with pytest.raises(UsageError, match="do not fit"):
        PreciseTables.from_pmf([values], [0], 20)
    with pytest.raises(UsageError):
        PreciseTables.from_pmf([np.zeros(10**7)], [0], 24)
    assert time.process_time() - start < 30


@pytest.mark.parametrize(
    "pmf",
    [
        [np.nan, 1],
        [np.inf, 1],
        [-0.1, 1],
        [0, 0],
        [],
        [[0.5, 0.5]],
        np.full(2**16, 2.0**-16),
    ],
)
def test_no_probabilities(pmf):
    with pytest.raises(UsageError):
        PreciseTables.from_pmf([pmf], [0], 16)


@pytest.mark.parametrize("pmf", [[5e-324, 5e-324], [1e308, 1e308, 1.0], [1e-300] * 3, [1], [1.0, 0.0]])
def test_odd_probabilities(pmf):
    for closed in (False, True):
        table = PreciseTables.from_pmf([pmf], [0], 24, closed).frequencies[0]
        assert len(table) == len(pmf) + (not closed) and table.sum() == 2**24 and table.min() >= 1


def test_close_to_the_probabilities():
    p = np.random.default_rng(2).dirichlet(np.full(65536, 0.5))
    table = PreciseTables.from_pmf([p], [0], 24, closed=True).frequencies[0]
    q = table / 2.0**24
    assert float((p * np.log2(np.maximum(p, 1e-30) / q)).sum()) < 0.001


@pytest.mark.parametrize(
    ("frequencies", "offsets", "precision"),
    [
        ([[2**16 - 1]], [0], 16),
        ([[2**16, 0]], [0], 16),
        ([[2**16 + 1, -1]], [0], 16),
        ([[0.5, 0.5]], [0], 16),
        ([[]], [0], 16),
        ([], [], 16),
        ([[2**16]], [0, 1], 16),
        ([[2**16]], [2**24 + 1], 16),
        ([[2**16]], [0.5], 16),
        ([[2**15]], [0], 15),
        ([[2**25]], [0], 25),
    ],
)
def test_no_tables(frequencies, offsets, precision):
    with pytest.raises(UsageError):
        PreciseTables.from_frequencies(frequencies, offsets, precision)


def test_weights_that_are_none():
    for weights in ([], [0], [-1, 2], [0.5], [[1]], [2**63, 2**63]):
        with pytest.raises(UsageError):
            normalise(
                np.array(weights, dtype=np.uint64 if max(np.ravel(weights), default=0) > 2**62 else None), 4
            )
    with pytest.raises(UsageError):
        normalise(np.array([1]), 25)


def test_bits():
    tables = PreciseTables([[2**15, 2**14, 2**14]], [5], 16)
    assert tables.bits(np.array([5, 6, 100, 5]), 0) == 6.0
    assert tables.bits(np.zeros(0, int), 0) == 0.0
    closed = PreciseTables([[2**15, 2**14, 2**14]], [5], 16, closed=True)
    with pytest.raises(UsageError):
        closed.bits([100], 0)
    with pytest.raises(UsageError):
        closed.bits([5], 1)
    assert "closed=True" in repr(closed) and len(closed) == 1
    with pytest.raises(ValueError, match="read-only"):
        tables.frequencies[0][0] = 1
