import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.entropy.tables import Tables, escape_order, normalise
from siglum.errors import UsageError


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=256).filter(any), st.integers(8, 12))
def test_normalised_tables_sum_and_keep_every_entry(weights, precision):
    frequencies = normalise(weights, precision)
    assert frequencies.sum() == 1 << precision
    assert frequencies.min() >= 1
    order = np.argsort(np.array(weights, dtype=np.int64), kind="stable")
    assert np.all(np.diff(frequencies[order].astype(np.int64)) >= -1)  # a remainder may turn a near tie


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1e9, allow_subnormal=True), min_size=1, max_size=255).filter(any))
def test_any_finite_pmf_gives_a_table(pmf):
    tables = Tables.from_pmf([pmf], [0])
    assert tables.frequencies[0].sum() == 4096
    assert len(tables.frequencies[0]) == len(pmf) + 1


def test_remainders_go_to_the_largest_and_ties_to_the_lowest_index():
    assert normalise([1, 1, 1], 4).tolist() == [6, 5, 5]
    assert normalise([10, 10, 0, 1], 4).tolist() == [7, 7, 1, 1]
    assert normalise([0, 5], 3).tolist() == [1, 7]


def test_what_a_pmf_leaves_goes_to_the_escape():
    assert Tables.from_pmf([[0.5, 0.25]], [0]).frequencies[0].tolist() == [2048, 1024, 1024]
    assert Tables.from_pmf([[3, 1]], [0]).frequencies[0].tolist() == [3071, 1024, 1]


@pytest.mark.parametrize(
    "pmf", [[float("nan"), 1.0], [-0.1, 1.0], [float("inf"), 1.0], [0.0, 0.0], [], [0.1] * 256]
)
def test_bad_pmfs_are_refused(pmf):
    with pytest.raises(UsageError):
        Tables.from_pmf([pmf], [0])


@pytest.mark.parametrize(
    ("frequencies", "offsets", "precision"),
    [
        ([[4096]], [0], 12),
        ([[4096, 0]], [0], 12),
        ([[2048, 2047]], [0], 12),
        ([[2048, 2048]], [0, 1], 12),
        ([], [], 12),
        ([[2048, 2048]], [2**25], 12),
        ([[2048, 2048]], [0.5], 12),
        ([[2048.0, 2048.0]], [0], 12),
        ([[1] * 256 + [3840]], [0], 12),
        ([[4096, 4096]], [0], 13),
    ],
)
def test_bad_tables_are_refused(frequencies, offsets, precision):
    with pytest.raises(UsageError):
        Tables.from_frequencies(frequencies, offsets, precision)


def test_native_tables_check_for_themselves():
    from siglum.kernels import _native

    def build(frequencies, sizes, offsets, precision=12):
        return _native.RansTables(
            np.array(frequencies, np.uint32),
            np.array(sizes, np.uint32),
            np.array(offsets, np.int32),
            precision,
            False,
        )

    assert len(build([2048, 2048], [2], [0])) == 1
    for arguments in (
        ([2048, 2047], [2], [0]),
        ([2048, 2048], [3], [0]),
        ([2048, 2048], [2**32 - 1], [0]),
        ([2048, 2048, 5], [2], [0]),
        ([4096, 2**32 - 4096 + 4096 - 1], [2], [0]),
        ([2048, 2048], [2], [2**30]),
        ([], [], []),
        ([1, 1], [2], [0], 0),
        ([2**15, 2**15], [2], [0], 16),
    ):
        with pytest.raises(ValueError):
            build(*arguments)


def test_ideal_bits_count_escapes():
    tables = Tables.from_frequencies([[2048, 1024, 1024], [4095, 1]], [0, 5])
    assert tables.bits(np.array([0, 1], np.int32), 0) == 3
    assert tables.bits(np.array([2], np.int32), 0) == 2 + 1  # u = 0
    assert tables.bits(np.array([-1], np.int32), 0) == 2 + 3  # u = 1
    assert tables.bits(np.array([[8]], np.int32), np.array([[1]], np.uint8)) == 12 + 5  # u = 4
    assert tables.bits(np.zeros(0, np.int32), 0) == 0
    with pytest.raises(UsageError):
        tables.bits(np.array([0], np.int32), 2)


def test_wide_tables_have_a_higher_escape_order():
    assert [escape_order(n) for n in (2, 15, 16, 255, 256)] == [0, 0, 1, 4, 5]


def test_tables_do_not_change():
    tables = Tables.from_frequencies([[2048, 2048]], [0])
    with pytest.raises(ValueError):
        tables.frequencies[0][0] = 1
    with pytest.raises(ValueError):
        tables.offsets[0] = 1
