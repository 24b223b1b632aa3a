"""The integer prior: the same table indices on every instruction set, thread count, batch and in NumPy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs.image import conditioned, prior
from siglum.codecs.image.conditioned import interpolate
from siglum.codecs.image.constants import ANCHOR_STEP, NEIGHBOURS, PHASES, group_bounds
from siglum.codecs.image.prior import ACTIVATION_HIGH, IntegerPrior, Walk, coding_order
from siglum.codecs.image.weights import ImageWeights, load_by_name
from siglum.kernels import dispatch
from siglum.kernels.reference import latents as reference_latents
from siglum.kernels.reference import phases as reference_phases


@pytest.fixture(scope="module")
def weights() -> ImageWeights:
    return load_by_name("small")


def hyperlatents(seed: int, height: int, width: int, channels: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9, 10, (height, width, channels)).astype(np.int16)


def walked(
    model: IntegerPrior, z: np.ndarray, level: int, symbols: np.ndarray, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Means and indices when these symbols are decoded."""
    shape = symbols.shape[:2]
    way = Walk(model, z, level, np.full(model.latent, 1 / 64, np.float32), shape, threads)
    for where in way:
        way.settle(where, symbols[where])
    return way.mean, way.index


def in_numpy(
    model: IntegerPrior, z: np.ndarray, level: int, symbols: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same by the reference of every part."""
    rows, columns = symbols.shape[:2]
    features = model.hyper.reference(z, level)[:rows, :columns]
    mean, index = np.empty(symbols.shape, np.float32), np.empty(symbols.shape, np.uint8)
    deviation = np.empty(symbols.shape, np.int16)
    bounds = group_bounds(model.latent)
    for group in range(4):
        own = slice(bounds[group], bounds[group + 1])
        if group:
            before = slice(bounds[group - 1], bounds[group])
            gain = model.gain[level, before].astype(np.int32)
            joined = reference_phases.join(features, deviation[..., before], gain, ACTIVATION_HIGH)
            features = model.mix[group - 1].reference(joined, level)
        unit = np.full(own.stop - own.start, 1 / 64, np.float32)
        mean[..., own], index[..., own] = reference_latents.predict(
            model.leave[group].reference(features, level), unit
        )
        factors = model.factors[group].reference(features, level)
        for phase, (row, column) in enumerate(PHASES):
            reference_phases.lean(factors, deviation[..., own], mean[..., own], phase)
            where = slice(row, None, 2), slice(column, None, 2), own
            reference_phases.settle(symbols[where], deviation[where])
    return mean, index


@given(st.integers(0, 255), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=12)
def test_indices_are_the_same_everywhere(level: int, rows: int, columns: int, seed: int) -> None:
    model = load_by_name("small").prior
    random = np.random.default_rng(seed)
    z = hyperlatents(seed, -(-rows // 4), -(-columns // 4), model.hyper_channels)
    wild = int(random.choice([1, 30, 2**15]))
    symbols = random.integers(-wild, wild + 1, (rows, columns, model.latent)).astype(np.int32)
    expected_mean, expected = in_numpy(model, z, level, symbols)
    with pytest.MonkeyPatch.context() as patch:
        for isa in dispatch.available_isas():
            patch.setenv("SIGLUM_ISA", isa)
            for threads in (1, 2):
                mean, index = walked(model, z, level, symbols, threads)
                assert np.array_equal(index, expected)
                assert np.array_equal(mean, expected_mean)


def test_a_phase_leans_on_earlier_phases_only() -> None:
    for phase, around in enumerate(NEIGHBOURS):
        for down, right in around:
            row, column = PHASES[phase][0] + down, PHASES[phase][1] + right
            assert PHASES.index((row % 2, column % 2)) < phase


@given(st.integers(1, 6), st.integers(1, 6))
@settings(deadline=None, max_examples=20)
def test_the_order_of_coding_meets_every_latent_once(rows: int, columns: int) -> None:
    seen = np.zeros((rows, columns, 192), int)
    for where in coding_order(rows, columns, 192):
        assert seen[where].size
        seen[where] += 1
    assert np.all(seen == 1)


def test_integer_prior_agrees_with_its_float_twin(weights: ImageWeights) -> None:
    random = np.random.default_rng(3)
    z = hyperlatents(3, 3, 4, weights.prior.hyper_channels) // 3
    twin = weights.model
    twin.hyper_synthesis.quantised = twin.context.quantised = True
    for level in (10, 130, 250):
        unit = weights.mean_unit(level)
        symbols = random.integers(-2, 3, (12, 16, weights.prior.latent)).astype(np.int32)
        way = Walk(weights.prior, z, level, unit, (12, 16))
        for where in way:
            way.settle(where, symbols[where])
        chosen = iter([symbols[where] for where in coding_order(*symbols.shape)])

        def given_symbols(
            residual: torch.Tensor, scale: torch.Tensor, own: slice, left: Iterator[np.ndarray] = chosen
        ) -> torch.Tensor:
            return torch.from_numpy(next(left).astype(np.float32))[None]

        y = torch.zeros(1, *symbols.shape)
        with torch.no_grad():
            batch = torch.from_numpy(z.astype(np.float32))[None]
            groups = list(twin.code(batch, y, torch.tensor([float(level)]), given_symbols))
        from siglum.codecs.image.layers import LOG_SCALE_STEP, SCALE_LOW

        for group, coded in enumerate(groups):
            own = slice(weights.prior.bounds[group], weights.prior.bounds[group + 1])
            order = [where for where in coding_order(*symbols.shape) if where[2] == own]
            mean = np.concatenate([way.mean[where] for where in order])
            index = np.concatenate([way.index[where] for where in order])
            steps = (coded.log_scale[0].numpy() - np.log(SCALE_LOW)) / LOG_SCALE_STEP
            assert np.mean(np.abs(index - steps.clip(0, 63))) < 0.6
            error = np.abs(mean + coded.residual[0].numpy())  # y is 0: the residual is minus the mean
            assert np.mean(error / np.maximum(1.0, unit[own] * prior.ACTIVATION_UNIT)) < 0.03


def test_bounds_prove_every_sum_exact(weights: ImageWeights) -> None:
    for network in weights.prior.networks().values():
        assert max(network.network.bounds) < 2**31


def test_interpolation_meets_the_anchors() -> None:
    anchors = np.random.default_rng(0).integers(-(2**28), 2**28, (9, 5)).astype(np.int32)
    for level in range(0, 256, ANCHOR_STEP):
        assert np.array_equal(interpolate(anchors, level), anchors[level // ANCHOR_STEP])
    between = conditioned.interpolate(anchors, 16)
    assert np.array_equal(between, (anchors[0].astype(np.int64) + anchors[1] + 1) >> 1)


def test_tensors_round_trip(weights: ImageWeights) -> None:
    again = IntegerPrior.from_tensors(weights.prior.tensors(), weights.prior.metadata())
    z = hyperlatents(1, 1, 1, again.hyper_channels)
    symbols = np.ones((3, 4, again.latent), np.int32)
    for one, other in zip(
        walked(again, z, 77, symbols, 1), walked(weights.prior, z, 77, symbols, 1), strict=True
    ):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("name", ["hyper.bias.0", "mix.1.bias.0", "factors.0.bias.0"])
def test_a_bias_beyond_its_bound_is_refused(weights: ImageWeights, name: str) -> None:
    tensors = dict(weights.prior.tensors())
    tensors[name] = np.full_like(tensors[name], 2**31 - 1)
    with pytest.raises(ValueError, match="bias"):
        IntegerPrior.from_tensors(tensors, weights.prior.metadata())


def test_parts_that_do_not_fit_are_refused(weights: ImageWeights) -> None:
    good = weights.prior
    parts = (good.hyper, good.mix, good.leave, good.factors, good.hyper_index, good.gain)
    for place, wrong in (
        (1, good.mix[:2]),
        (1, good.mix[::-1]),
        (2, [*good.leave[:3], good.leave[0]]),
        (3, good.leave),
        (4, good.hyper_index[:, :5]),
        (5, good.gain[:-1]),
        (5, good.gain.astype(np.int32)),
    ):
        with pytest.raises(ValueError):
            IntegerPrior(*(wrong if i == place else part for i, part in enumerate(parts)))
