from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs.search import TargetNotReached, largest_level_within, smallest_level_reaching

curves = st.lists(st.integers(0, 400), min_size=256, max_size=256).map(
    lambda steps: [sum(steps[: i + 1]) for i in range(256)]
)


@settings(deadline=None, max_examples=60)
@given(curves, st.integers(0, 60_000))
def test_the_largest_level_within_a_size_is_exact(sizes: list[int], limit: int) -> None:
    fitting = [level for level in range(256) if sizes[level] <= limit]
    if not fitting:
        with pytest.raises(TargetNotReached, match="above the limit"):
            largest_level_within(limit, sizes.__getitem__)
        return
    trial = largest_level_within(limit, sizes.__getitem__)
    assert (trial.level, trial.value) == (fitting[-1], sizes[fitting[-1]])
    assert trial.evaluations <= 17


@settings(deadline=None, max_examples=60)
@given(curves, st.integers(1, 60_000))
def test_the_smallest_level_reaching_a_value_is_exact(values: list[int], target: int) -> None:
    reaching = [level for level in range(256) if values[level] >= target]
    if not reaching:
        with pytest.raises(TargetNotReached, match="below"):
            smallest_level_reaching(target, values.__getitem__)
        return
    trial = smallest_level_reaching(target, values.__getitem__)
    assert (trial.level, trial.value) == (reaching[0], values[reaching[0]])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 100), min_size=256, max_size=256), st.floats(0, 100))
def test_a_bumpy_curve_still_keeps_the_promise(values: list[float], limit: float) -> None:
    try:
        trial = largest_level_within(limit, values.__getitem__)
    except TargetNotReached:
        assert values[0] > limit
    else:
        assert values[trial.level] <= limit
        assert trial.level == 255 or values[trial.level + 1] > limit


def test_a_smooth_curve_takes_few_evaluations() -> None:
    tried = [
        largest_level_within(limit, lambda level: 2_000 * math.exp(level / 50)).evaluations
        for limit in range(2_100, 320_000, 5_000)
    ]
    assert max(tried) <= 12
    assert sum(tried) / len(tried) <= 7


def test_infinite_fidelity_counts_as_reached() -> None:
    trial = smallest_level_reaching(50, lambda level: math.inf if level > 200 else level / 10)
    assert trial.level == 201


def test_a_range_of_one_level() -> None:
    assert largest_level_within(5, lambda level: 5, lowest=7, highest=7).level == 7
    with pytest.raises(TargetNotReached):
        smallest_level_reaching(6, lambda level: 5, lowest=7, highest=7)
