"""The integer prior: the same table indices on every instruction set, thread count, batch and in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs.image import prior
from siglum.codecs.image.prior import ANCHOR_STEP, IntegerPrior
from siglum.codecs.image.weights import ImageWeights, load_by_name
from siglum.kernels import dispatch


@pytest.fixture(scope="module")
def weights() -> ImageWeights:
    return load_by_name("small")


def hyperlatents(seed: int, height: int, width: int, channels: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9, 10, (height, width, channels)).astype(np.int16)


@given(st.integers(0, 255), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=15)
def test_indices_are_the_same_everywhere(level: int, height: int, width: int, seed: int) -> None:
    model = load_by_name("small").prior
    z = hyperlatents(seed, height, width, model.network.in_channels)
    condition = [None if anchors is None else prior.interpolate(anchors, level) for anchors in model.biases]
    expected = model.network.reference(z, condition)
    for isa in dispatch.available_isas():
        for threads in (1, 2):
            assert np.array_equal(model.network(z, condition, threads, isa=isa), expected)
    company = np.stack([z, np.flip(z, 0), z])
    together = model.network(company, condition, 2)
    assert np.array_equal(together[0], expected)
    assert np.array_equal(together[2], expected)


def test_integer_network_agrees_with_its_float_twin(weights: ImageWeights) -> None:
    z = hyperlatents(3, 6, 7, weights.prior.network.in_channels) // 3
    for level in (10, 130, 250):
        mean, index = weights.prior(z, level)
        twin = weights.model.hyper_synthesis
        twin.quantised = True
        with torch.no_grad():
            expected, log_scale = twin(
                torch.from_numpy(z.astype(np.float32))[None], torch.tensor([float(level)])
            )
        real = expected[0].numpy() * prior.ACTIVATION_UNIT
        assert np.mean(np.abs(mean - real.clip(-(2**15), 2**15 - 1))) < 0.02 * prior.ACTIVATION_UNIT
        from siglum.codecs.image.transform import LOG_SCALE_STEP, SCALE_LOW

        steps = (log_scale[0].numpy() - np.log(SCALE_LOW)) / LOG_SCALE_STEP
        assert np.mean(np.abs(index - steps.clip(0, 63))) < 0.6


def test_bounds_prove_every_sum_exact(weights: ImageWeights) -> None:
    assert max(weights.prior.network.bounds) < 2**31


def test_interpolation_meets_the_anchors() -> None:
    anchors = np.random.default_rng(0).integers(-(2**28), 2**28, (9, 5)).astype(np.int32)
    for level in range(0, 256, ANCHOR_STEP):
        assert np.array_equal(prior.interpolate(anchors, level), anchors[level // ANCHOR_STEP])
    between = prior.interpolate(anchors, 16)
    assert np.array_equal(between, (anchors[0].astype(np.int64) + anchors[1] + 1) >> 1)


def test_tensors_round_trip(weights: ImageWeights) -> None:
    again = IntegerPrior.from_tensors(weights.prior.tensors(), weights.prior.network.metadata())
    z = hyperlatents(1, 3, 4, again.network.in_channels)
    for one, other in zip(again(z, 77), weights.prior(z, 77), strict=True):
        assert np.array_equal(one, other)


def test_a_bias_beyond_its_bound_is_refused(weights: ImageWeights) -> None:
    tensors = dict(weights.prior.tensors())
    name = next(name for name in tensors if name.startswith("bias."))
    tensors[name] = np.full_like(tensors[name], 2**31 - 1)
    with pytest.raises(ValueError, match="bias"):
        IntegerPrior.from_tensors(tensors, weights.prior.network.metadata())
