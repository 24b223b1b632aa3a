from __future__ import annotations

from math import erf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.entropy.fractional import fractional_tables, indexes
from siglum.entropy.gaussian import GAUSSIAN_SCALES
from siglum.entropy.gaussian_model import Gaussian
from siglum.entropy.mixture import PRECISION, GaussianMixture
from siglum.entropy.models import DirectStep
from siglum.errors import UsageError
from siglum.kernels.reference.codebook import shares

TABLES = fractional_tables()


def table_of(weights: np.ndarray, means: np.ndarray, scales: np.ndarray) -> tuple[int, np.ndarray]:
    """Lowest symbol and frequencies, escape last, by the definition."""
    shift, number = indexes(means, scales)
    used = [
        (int(w), int(s + TABLES.offsets[t]), TABLES.frequencies[t][:-1].astype(np.int64), int(s))
        for w, s, t in zip(weights, shift, number, strict=True)
        if w
    ]
    low = min(start for _, start, _, _ in used)
    high = max(start + len(f) - 1 for _, start, f, _ in used)
    if high - low + 1 > 1024:
        mean = sum(w * s for w, _, _, s in used) // sum(w for w, _, _, _ in used)
        low = max(low, min(mean - 512, high - 1023))
        high = low + 1023
    masses = np.zeros(high - low + 2, np.int64)
    for w, start, f, _ in used:
        for j, frequency in enumerate(f):
            if low <= start + j <= high:
                masses[start + j - low] += w * int(frequency)
    masses[-1] = 4096 * int(weights.sum()) - masses.sum()
    return low, shares(masses * (16 if weights.sum() < 16 else 1), PRECISION)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1), st.sampled_from([1, 100, 50000]))
def test_tables_equal_the_definition(components: int, seed: int, largest: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, largest + 1, components)
    weights[rng.integers(components)] += 1
    means = rng.integers(-20000, 20000, components)
    scales = rng.integers(0, 64, components)
    low, frequencies = table_of(weights, means, scales)
    assert frequencies.sum() == 1 << PRECISION
    assert frequencies.min() >= 1
    starts = np.cumsum(frequencies) - frequencies
    model = GaussianMixture(weights, means, scales)
    symbols = rng.integers(low, low + len(frequencies) - 1, 20)
    (step,) = model.steps(symbols)
    assert isinstance(step, DirectStep)
    assert np.array_equal(step.starts, starts[symbols - low])
    assert np.array_equal(step.frequencies, frequencies[symbols - low])
    outside = np.array([low - 1, low + len(frequencies) - 1, low - 1000, low + 100_000])
    direct, escapes = model.steps(outside)
    assert np.all(direct.starts == starts[-1])  # type: ignore[union-attr]
    assert escapes.symbols.tolist()[:2] == [1, 0]  # type: ignore[union-attr]
    both = np.concatenate([symbols, outside])
    assert np.array_equal(model.decode(model.encode(both), shape=both.shape), both)


def test_cost_is_near_that_of_the_true_mixture() -> None:
    rng = np.random.default_rng(0)
    weights, means, scales = np.array([700, 200, 100]), np.array([5, -300, 900]), np.array([20, 35, 45])
    which = rng.choice(3, 20000, p=weights / 1000)
    sigma = GAUSSIAN_SCALES[scales]
    symbols = np.rint(rng.normal(means[which] / 16, sigma[which])).astype(np.int32)
    model = GaussianMixture(weights, means, scales)

    def mass(k: int) -> float:
        edges = [[erf((k + h - m / 16) / s / sqrt(2)) / 2 for h in (-0.5, 0.5)] for m, s in zip(means, sigma)]  # noqa: B905
        return float(sum(w / 1000 * (b - a) for w, (a, b) in zip(weights, edges, strict=True)))

    true = sum(
        -np.log2(mass(int(k))) * n for k, n in zip(*np.unique(symbols, return_counts=True), strict=True)
    )
    assert model.bits(symbols) == pytest.approx(true, rel=0.004)
    fitted = GaussianMixture.fit(symbols)
    assert fitted.bits(symbols) < 1.01 * true
    assert fitted.bits(symbols) < 0.9 * Gaussian.fit(symbols).bits(symbols)


def test_contexts() -> None:
    rng = np.random.default_rng(1)
    shape = (4, 5, 6)
    context = (
        rng.integers(1, 9, (*shape, 2)),
        rng.integers(-99, 99, (*shape, 2)),
        rng.integers(0, 64, (*shape, 2)),
    )
    model = GaussianMixture([1], [0], [30])
    symbols = rng.integers(-50, 50, shape)
    data = model.encode(symbols, context)
    assert np.array_equal(model.decode(data, context), symbols)
    one = tuple(part[0, 0, 0] for part in context)
    assert np.array_equal(model.decode(model.encode(symbols, one), one, shape), symbols)
    for bad in (
        (context[0] * 0, *context[1:]),
        (-context[0], *context[1:]),
        (context[0], context[1], context[2] + 64),
        (context[0], context[1] * 1e9, context[2]),
        (context[0][..., :0], context[1][..., :0], context[2][..., :0]),
        (context[0][:2], context[1], context[2]),
    ):
        with pytest.raises(UsageError):
            model.encode(symbols, bad)


def test_bad_arguments() -> None:
    for arguments in (([], [], []), ([0], [0], [0]), ([1, 1], [0], [0]), ([2**18, 1], [0, 0], [0, 0])):
        with pytest.raises(UsageError):
            GaussianMixture(*arguments)
    for data in (np.empty(0, int), np.array([0.5])):
        with pytest.raises(UsageError):
            GaussianMixture.fit(data)
    with pytest.raises(UsageError):
        GaussianMixture.fit(np.arange(5), components=0)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 63), st.integers(-1000, 1000), st.integers(0, 2**32 - 1))
def test_a_gaussian_costs_what_it_should(scale: int, mean: int, seed: int) -> None:
    """The fractional tables against erf: the cost over 2,000 symbols of the true distribution."""
    rng = np.random.default_rng(seed)
    sigma = float(GAUSSIAN_SCALES[scale])
    symbols = np.rint(rng.normal(mean / 16, sigma, 2000)).astype(np.int32)
    z = (symbols[:, None] + np.array([-0.5, 0.5]) - mean / 16) / sigma / sqrt(2)
    true = -np.log2([max((erf(b) - erf(a)) / 2, 1e-16) for a, b in z]).sum()
    assert Gaussian(mean, scale).bits(symbols) == pytest.approx(true, rel=0.01, abs=30)


def test_fitted_gaussians_and_bad_ones() -> None:
    rng = np.random.default_rng(2)
    data = np.rint(rng.normal([3.3, -20.0], [0.4, 9.0], (3000, 2))).astype(np.int32)
    model = Gaussian.fit(data)
    assert np.abs(model.mean / 16 - [3.3, -20]).max() < 0.6
    assert np.array_equal(model.decode(model.encode(data), shape=data.shape), data)
    assert model.bits(data) < Gaussian.fit(data.ravel()).bits(data) * 0.8
    for bad in ([], [[[1]]], [0.5], [2**25]):
        with pytest.raises(UsageError):
            Gaussian.fit(bad)
    for arguments in (([0, 1], 3), (0, 64), (2**28, 3), (0.5, 3)):
        with pytest.raises(UsageError):
            Gaussian(*arguments)
    with pytest.raises(UsageError):
        model.encode(np.zeros((4, 3), int))
