"""From the trained float twins of the prior to exact integer networks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np

from siglum.codecs.image.conditioned import ConditionedNetwork
from siglum.codecs.image.constants import ANCHOR_STEP, LEVELS
from siglum.codecs.image.prior import (
    ACTIVATION_HIGH,
    ACTIVATION_UNIT,
    HYPER_BOUND,
    INDEX_UNIT,
    IntegerPrior,
)
from siglum.entropy.integer_network import (
    IntegerNetwork,
    Layer,
    PixelShuffle,
    quantize_depthwise,
    quantize_pointwise,
)
from siglum.kernels.phases import FACTOR_HIGH

if TYPE_CHECKING:
    from torch import Tensor, nn

    from siglum.codecs.image.transform import ImageModel

UNIT = 1.0 / ACTIVATION_UNIT
FACTOR_UNIT = 1.0 / 256
GAIN_UNIT = (
    2.0**15
)  # integers of a context's gain: 1024 context units to 1, 1024ths of them in a 32nd of a step
INT16 = (-(2**15), 2**15 - 1)


class _Chain:
    """Collects the layers of one network and their quality biases."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.biases: list[np.ndarray | None] = []

    def pointwise(
        self,
        weight: np.ndarray,
        bias: np.ndarray,
        anchors: np.ndarray | None,
        units: tuple[float, float] = (UNIT, UNIT),
        limits: tuple[int, int] = (0, ACTIVATION_HIGH),
    ) -> _Chain:
        """A 1x1 layer; units are those of one integer before and after it."""
        varying = np.zeros((1, len(bias))) if anchors is None else anchors
        middle = varying.mean(axis=0)
        made = quantize_pointwise(weight, bias + middle, *units, *limits)
        step = made.multiplier / 2.0**made.shift * units[1]  # one step of the accumulator in real units
        integers = np.rint((varying - middle) / np.maximum(step, 1e-12)).clip(-(2**28), 2**28)
        self.layers.append(made)
        self.biases.append(None if anchors is None else integers.astype(np.int32))
        return self

    def linear(self, layer: nn.Module, quality: nn.Module | None, before: float = UNIT) -> _Chain:
        """A 1x1 layer and a rectifier."""
        anchors = None if quality is None else _anchors(quality)
        return self.pointwise(*_linear(layer), anchors, (before, UNIT))

    def depthwise(self, layer: nn.Module) -> _Chain:
        """A 3x3 depthwise layer."""
        kernel = _array(layer.weight)[:, 0].transpose(1, 2, 0)
        bias = _array(layer.bias)
        self.layers.append(quantize_depthwise(kernel, bias, UNIT, UNIT, -ACTIVATION_HIGH, ACTIVATION_HIGH))
        self.biases.append(None)
        return self

    def shuffle(self) -> _Chain:
        self.layers.append(PixelShuffle())
        return self

    def network(self, input_bound: int = 2**15) -> ConditionedNetwork:
        bounds = [
            0 if integers is None else int(np.abs(integers.astype(np.int64)).max())
            for integers in self.biases
        ]
        return ConditionedNetwork(IntegerNetwork(self.layers, input_bound, bounds), self.biases)


def export(model: ImageModel) -> IntegerPrior:
    """The exact integer form of a trained model's prior.

    Raises
    ------
    ValueError
        If a sum of an integer network could leave 32 bits.
    """
    from siglum.codecs.image.layers import LOG_SCALE_STEP, SCALE_LOW

    twin, context = model.hyper_synthesis, model.context
    hyper = _Chain().linear(twin.enter, twin.enter_bias, before=1.0).shuffle().depthwise(twin.mix32)
    hyper.linear(twin.middle, twin.middle_bias).linear(twin.up, None).shuffle().depthwise(twin.mix16)
    hyper.linear(twin.wide, twin.wide_bias)

    mix, leave, factors = [], [], []
    rows, bias = _linear(twin.leave)
    anchors = _anchors(twin.leave_bias)
    latent = model.preset.latent
    for group, (start, stop) in enumerate(pairwise(context.bounds)):
        if group:
            before = _Chain().linear(context.mix[group - 1], context.mix_bias[group - 1])
            mix.append(before.depthwise(context.spread[group - 1]).network())
        own = np.r_[start:stop, latent + start : latent + stop]
        gain = np.repeat([1.0, INDEX_UNIT / ACTIVATION_UNIT / LOG_SCALE_STEP], stop - start)
        offset = np.repeat([0.0, -math.log(SCALE_LOW)], stop - start)
        last = _Chain().pointwise(
            rows[own] * gain[:, None], (bias[own] + offset) * gain, anchors[:, own] * gain, limits=INT16
        )
        leave.append(last.network())
        bent = _Chain().linear(context.bend[group], context.bend_bias[group])
        bent.pointwise(
            *_linear(context.factors[group]), None, (UNIT, FACTOR_UNIT), (-FACTOR_HIGH, FACTOR_HIGH)
        )
        factors.append(bent.network())
    index = (_array(model.hyper_scale.anchors) - math.log(SCALE_LOW)) / LOG_SCALE_STEP * INDEX_UNIT
    return IntegerPrior(
        hyper.network(HYPER_BOUND),
        mix,
        leave,
        factors,
        np.rint(index).astype(np.int32),
        _gains(_anchors(context.gain)),
    )


def _gains(anchors: np.ndarray) -> np.ndarray:
    """(levels, C) uint16 from natural logarithms at the anchors."""
    low, part = np.divmod(np.arange(LEVELS), ANCHOR_STEP)
    share = (part / ANCHOR_STEP)[:, None]
    logarithm = anchors[low] * (1 - share) + anchors[low + 1] * share
    return np.rint(np.exp(logarithm) * GAIN_UNIT).clip(0, 2**16 - 1).astype(np.uint16)


def _array(tensor: Tensor | nn.Module) -> np.ndarray:
    return cast("Tensor", tensor).detach().double().numpy()


def _linear(layer: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    return _array(layer.weight), _array(layer.bias)


def _anchors(quality: nn.Module) -> np.ndarray:
    return _array(quality.anchors)
