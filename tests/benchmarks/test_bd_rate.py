from __future__ import annotations

import numpy as np
import pytest

from siglum.benchmarks.bd_rate import bd_rate, pchip
from siglum.errors import UsageError

RATES = np.array([0.1, 0.2, 0.45, 0.8, 1.5])
QUALITIES = np.array([27.0, 29.5, 32.0, 34.8, 38.0])


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.3])
def test_a_constant_factor_is_its_own_bd_rate(factor: float) -> None:
    result = bd_rate(RATES, QUALITIES, factor * RATES, QUALITIES)
    assert result == pytest.approx(100 * (factor - 1), abs=1e-9)


def test_swapped_curves_give_the_reciprocal_and_order_does_not_matter() -> None:
    other = RATES * np.array([0.7, 0.75, 0.8, 0.9, 0.95])
    there = bd_rate(RATES, QUALITIES, other, QUALITIES + 0.3)
    back = bd_rate(other, QUALITIES + 0.3, RATES, QUALITIES)
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1)
    assert bd_rate(RATES[::-1], QUALITIES[::-1], other, QUALITIES + 0.3) == pytest.approx(there)


def test_straight_lines_have_the_exact_mean() -> None:
    # log-rates x and 2x - 1 over x in 0..2: the mean difference is 0 over the whole, ln 2 at the end.
    x = np.linspace(0, 2, 5)
    assert bd_rate(np.exp(x), x, np.exp(2 * x - 1), x) == pytest.approx(0, abs=1e-9)
    assert bd_rate(np.exp(x), x, np.exp(x[2:] + 0.5), x[2:]) == pytest.approx(100 * np.expm1(0.5))


def test_a_range_of_rates_leaves_out_the_rest() -> None:
    # Above 32 dB the other curve is better, below it is worse; only the upper part is looked at.
    other = RATES * np.array([2.0, 1.5, 1.0, 0.8, 0.8])
    whole = bd_rate(RATES, QUALITIES, other, QUALITIES)
    upper = bd_rate(RATES, QUALITIES, other, QUALITIES, rate_range=(0.45, 9.0))
    assert whole > 0 > upper > -20
    assert bd_rate(RATES, QUALITIES, other, QUALITIES, rate_range=(0.001, 9.0)) == pytest.approx(whole)
    with pytest.raises(UsageError, match="no quality in common"):
        bd_rate(RATES, QUALITIES, other, QUALITIES, rate_range=(5.0, 9.0))


def test_pchip_goes_through_its_points_and_stays_between_them() -> None:
    y = np.log(RATES)
    assert pchip(QUALITIES, y, QUALITIES) == pytest.approx(y)
    fine = pchip(QUALITIES, y, np.linspace(27, 38, 500))
    assert (np.diff(fine) > 0).all()
    step = pchip(np.arange(4.0), np.array([0.0, 0.0, 1.0, 1.0]), np.linspace(0, 3, 50))
    assert step.min() >= 0 and step.max() <= 1


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match="no quality in common"):
        bd_rate(RATES, QUALITIES, RATES, QUALITIES + 20)
    with pytest.raises(UsageError, match="must grow"):
        bd_rate(RATES, QUALITIES, RATES, QUALITIES[::-1])
    with pytest.raises(UsageError, match="two or more"):
        bd_rate(RATES, QUALITIES, RATES[:1], QUALITIES[:1])
