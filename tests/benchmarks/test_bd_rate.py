from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.benchmarks import bd_rate as module
from siglum.benchmarks.bd_rate import Curve, bd_rate, bootstrap, compare_curves, compare_qualities
from siglum.benchmarks.interpolate import Method
from siglum.errors import UsageError

RATES = np.array([0.1, 0.2, 0.45, 0.8, 1.5])
QUALITIES = np.array([27.0, 29.5, 32.0, 34.8, 38.0])


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.3])
def test_a_constant_factor_is_its_own_bd_rate(factor: float) -> None:
    result = compare_curves(RATES, QUALITIES, factor * RATES, QUALITIES)
    assert result.percent == pytest.approx(100 * (factor - 1), abs=1e-9)
    assert (result.overlap, result.low, result.high) == (1.0, 27.0, 38.0)
    assert bd_rate(RATES, QUALITIES, factor * RATES, QUALITIES) == result.percent


def test_swapped_curves_give_the_reciprocal_and_the_order_of_points_does_not_matter() -> None:
    other = RATES * np.array([0.7, 0.75, 0.8, 0.9, 0.95])
    there = compare_curves(RATES, QUALITIES, other, QUALITIES + 0.3)
    back = compare_curves(other, QUALITIES + 0.3, RATES, QUALITIES)
    assert (1 + there.percent / 100) * (1 + back.percent / 100) == pytest.approx(1)
    assert compare_curves(RATES[::-1], QUALITIES[::-1], other, QUALITIES + 0.3) == there


def test_straight_lines_have_the_exact_mean() -> None:
    x = np.linspace(0, 2, 5)
    assert compare_curves(np.exp(x), x, np.exp(2 * x - 1), x).percent == pytest.approx(0, abs=1e-9)
    half = compare_curves(np.exp(x), x, np.exp(x[2:] + 0.5), x[2:])
    assert half.percent == pytest.approx(100 * np.expm1(0.5))


def test_the_range_of_rates_cuts_both_curves_between_their_points() -> None:
    x = np.linspace(0, 3, 7)  # log rates x and x - 0.5: within 0.5..2, qualities 0.5..2 and 1..2.5
    result = compare_curves(np.exp(x), x, np.exp(x - 0.5), x, rate_range=(np.exp(0.5), np.exp(2)))
    assert result.percent == pytest.approx(100 * np.expm1(-0.5))
    assert (result.low, result.high) == pytest.approx((1, 2))
    assert result.overlap == pytest.approx(1 / 1.5)
    # What lies outside the range has no influence on straight pieces.
    bent = np.where(x > 2.9, x + 5, x)
    assert compare_curves(np.exp(bent), x, np.exp(x - 0.5), x, rate_range=(0.1, 2)).percent == pytest.approx(
        result.percent
    )


def test_curves_that_overlap_too_little_are_refused() -> None:
    with pytest.raises(UsageError, match=r"27\.00 to 38\.00 and 47\.00 to 58\.00: an overlap of 0 %"):
        compare_curves(RATES, QUALITIES, RATES, QUALITIES + 20)
    with pytest.raises(UsageError, match="overlap of 36 %, and a BD-rate needs 50 %"):
        compare_curves(RATES, QUALITIES, RATES, QUALITIES + 7)
    assert compare_curves(RATES, QUALITIES, RATES, QUALITIES + 7, least_overlap=0.3).overlap == pytest.approx(
        4 / 11
    )
    with pytest.raises(UsageError, match="has no part in 2 to 3"):
        compare_curves(RATES, QUALITIES, RATES, QUALITIES, rate_range=(2, 3))


def test_points_that_make_no_curve_are_refused() -> None:
    with pytest.raises(UsageError, match="must grow"):
        compare_curves(RATES, QUALITIES, RATES, QUALITIES[::-1])
    with pytest.raises(UsageError, match="must grow"):
        compare_curves(RATES, QUALITIES, RATES[[0, 0, 1, 2, 3]], QUALITIES)
    with pytest.raises(UsageError, match="two points"):
        compare_curves(RATES, QUALITIES, RATES[:1], QUALITIES[:1])
    with pytest.raises(UsageError, match="positive rates and finite"):
        compare_curves(RATES, QUALITIES, RATES, np.append(QUALITIES[:-1], np.inf))
    with pytest.raises(UsageError, match="positive rates and finite"):
        compare_curves(RATES, QUALITIES, RATES - 0.1, QUALITIES)


growing = st.lists(st.floats(0.01, 10), min_size=2, max_size=9).map(np.cumsum)


@settings(deadline=None, max_examples=100)
@given(x=growing, y=growing)
def test_a_curve_goes_through_its_points_and_grows(x: np.ndarray, y: np.ndarray) -> None:
    count = min(len(x), len(y))
    x, y = x[:count], y[:count] / 10
    curve = Curve(np.exp(y), x)
    assert curve(x) == pytest.approx(y)
    assert (np.diff(curve(np.linspace(x[0], x[-1], 300))) >= -1e-12).all()


@pytest.mark.parametrize("method", ["pchip", "akima"])
def test_agrees_with_another_implementation(method: Method) -> None:
    bjontegaard = pytest.importorskip("bjontegaard")
    rng = np.random.default_rng(4)
    options = {"method": method, "require_matching_points": False, "min_overlap": 0}
    for _ in range(20):
        curves = []
        for count in rng.integers(3, 9, 2):
            curves += [
                np.exp(np.cumsum(rng.uniform(0.2, 0.6, count)) - 2),
                26 + np.cumsum(rng.uniform(1, 3, count)),
            ]
        expected = bjontegaard.bd_rate(*curves, **options)
        found = compare_curves(*curves, least_overlap=0.01, method=method)
        assert found.percent == pytest.approx(expected, abs=1e-6)
        gain = compare_qualities(*curves, least_overlap=0.01, method=method)
        assert gain.difference == pytest.approx(bjontegaard.bd_psnr(*curves, **options), abs=1e-6)


def test_a_gain_in_quality_is_its_own_difference() -> None:
    gain = compare_qualities(RATES, QUALITIES, RATES, QUALITIES + 0.7)
    assert gain.difference == pytest.approx(0.7)
    assert (gain.overlap, gain.low, gain.high) == pytest.approx((1.0, 0.1, 1.5))
    assert gain.crossings == ()
    with pytest.raises(UsageError, match="an overlap of 0 %, and a BD-quality needs 50 %"):
        compare_qualities(RATES, QUALITIES, RATES * 100, QUALITIES)


def test_curves_that_cross_say_where() -> None:
    x = np.linspace(0, 2, 5)
    crossing = compare_curves(np.exp(x), x, np.exp(2 * x - 1), x)  # log rates x and 2 x - 1
    assert crossing.crossings == pytest.approx((1.0,), abs=0.01)
    assert compare_qualities(np.exp(x), x, np.exp(x), 1.5 * x - 0.5).crossings == pytest.approx(
        (math.e,), rel=0.01
    )
    assert compare_curves(RATES, QUALITIES, 0.9 * RATES, QUALITIES).crossings == ()
    assert compare_curves(RATES, QUALITIES, RATES, QUALITIES).crossings == ()


def test_two_points_are_no_basis_for_a_comparison() -> None:
    for compared in (compare_curves, compare_qualities):
        with pytest.raises(UsageError, match="a curve of 2 points is no basis"):
            compared(RATES, QUALITIES, RATES[:2], QUALITIES[:2])


def test_bootstrap_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap(lambda drawn: float(values[drawn].mean()), len(values), resamples=1000)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(module).failed == 0
