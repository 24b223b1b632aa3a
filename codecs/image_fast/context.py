"""The contexts of the image-fast codec in exact integers: `export` makes them of the trained float twin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from siglum.codecs.image_fast.coder import arithmetic
from siglum.codecs.image_fast.constants import (
    ANCHOR_STEP,
    ANCHORS,
    GROUPS,
    MAGNITUDE_CAP,
    MAGNITUDE_UNIT,
    MEAN_SHIFT,
    PHASES,
)
from siglum.entropy.gaussian import GAUSSIAN_SCALES
from siglum.entropy.integer_network import IntegerNetwork, Pointwise, quantize_depthwise, quantize_pointwise

if TYPE_CHECKING:
    from torch import Tensor

    from siglum.codecs.image_fast.transform import FastModel

ACTIVATION_UNIT = 1024  # integers per unit of a real activation
ACTIVATION_LIMIT = 16
INDEX_UNIT = 256  # integers per step of the table index
MAX_MAGNITUDE = MAGNITUDE_UNIT * 8  # of what contexts see: log2(1 + 255) is 8
_LOWEST = math.log(float(GAUSSIAN_SCALES[0]))
_GAIN = INDEX_UNIT * (len(GAUSSIAN_SCALES) - 1) / (math.log(float(GAUSSIAN_SCALES[-1])) - _LOWEST)
STEPS = sum(len(PHASES[group]) if group < len(PHASES) else 1 for group in range(len(GROUPS)))


class Contexts:
    """Networks of every step but the first, and what of them depends on the quality.

    Parameters
    ----------
    networks
        Seven networks of a pointwise, a depthwise and a pointwise layer each.
    first
        (anchors, 8) int32: tables of the first phase, in 1/256.
    enter, leave
        For each network the (anchors, C) int32 biases of its pointwise layers.

    Raises
    ------
    ValueError
        If they do not fit each other.
    """

    def __init__(
        self,
        networks: list[IntegerNetwork],
        first: np.ndarray,
        enter: list[np.ndarray],
        leave: list[np.ndarray],
    ) -> None:
        self.networks, self.first, self.enter, self.leave = networks, first, enter, leave
        if not len(networks) == len(enter) == len(leave) == STEPS - 1:
            raise ValueError(f"the contexts need {STEPS - 1} networks")
        if first.shape != (ANCHORS, GROUPS[0]) or first.dtype != np.int32:
            raise ValueError("the first tables have a wrong type or shape")
        for network, into, out in zip(networks, enter, leave, strict=True):
            if (
                len(network.layers) != 3
                or len(arithmetic(network)) != 3
                or network.input_bound < MAX_MAGNITUDE
            ):
                raise ValueError("a context's network has the wrong layers")
            for anchors, bound, layer in (
                (into, network.condition_bounds[0], arithmetic(network)[0]),
                (out, network.condition_bounds[2], arithmetic(network)[2]),
            ):
                fits = anchors.dtype == np.int32 and anchors.shape == (ANCHORS, layer.out_channels)
                if not fits or int(np.abs(anchors.astype(np.int64)).max()) > bound:
                    raise ValueError(
                        "a quality bias is of a wrong shape, or beyond what proves the network exact"
                    )

    def biases(self, level: int) -> np.ndarray:
        """All biases of a level in the order of `siglum.codecs.image_fast.coder.Level`, int32."""
        parts = [interpolate(self.first, level)]
        for network, into, out in zip(self.networks, self.enter, self.leave, strict=True):
            enter, mix, leave = (layer.bias for layer in arithmetic(network))
            parts += [enter + interpolate(into, level), mix, leave + interpolate(out, level)]
        return np.concatenate(parts, dtype=np.int32)

    def tensors(self) -> tuple[dict[str, np.ndarray], list[dict[str, str]]]:
        """Arrays by name, and the networks' metadata; `from_tensors` is the inverse."""
        found = {"first": self.first}
        for number, network in enumerate(self.networks):
            found |= network.tensors(f"{number}.")
            found[f"{number}.enter"], found[f"{number}.leave"] = self.enter[number], self.leave[number]
        return found, [network.metadata() for network in self.networks]

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], metadata: list[dict[str, str]]) -> Contexts:
        """Rebuild; every static bound is checked again.

        Raises
        ------
        ValueError, KeyError
            If arrays are missing or do not fit each other, or a sum could leave 32 bits.
        """
        networks, enter, leave = [], [], []
        for number, text in enumerate(metadata):
            prefix = f"{number}."
            own = {name[len(prefix) :]: array for name, array in tensors.items() if name.startswith(prefix)}
            enter.append(own.pop("enter"))
            leave.append(own.pop("leave"))
            networks.append(IntegerNetwork.from_tensors(own, text))
        return cls(networks, tensors["first"], enter, leave)


def interpolate(anchors: np.ndarray, level: int) -> np.ndarray:
    """Integer interpolation between the anchors of a level: (anchors, C) int32, 0..255 -> (C,) int32."""
    low, part = divmod(level, ANCHOR_STEP)
    left, right = anchors[low].astype(np.int64), anchors[low + 1].astype(np.int64)
    mixed: np.ndarray = (left * (ANCHOR_STEP - part) + right * part + ANCHOR_STEP // 2) // ANCHOR_STEP
    return mixed.astype(np.int32)


def magnitudes() -> np.ndarray:
    """(256,) int16: log2(1 + magnitude) in 1/32."""
    values = np.log2(1.0 + np.arange(MAGNITUDE_CAP + 1)) * MAGNITUDE_UNIT
    return np.rint(values).astype(np.int16)


def export_means(model: FastModel) -> np.ndarray:
    """(2, 8, 72) int8 in 1/128, the nine neighbours' channels in (row, column, channel) order."""
    limit = 2 ** (MEAN_SHIFT) - 1
    parts = []
    for number in range(len(model.means)):
        weight = model.mean(number).weight.detach().double().numpy().clip(-1, 1)
        rows = np.rint(weight * 2**MEAN_SHIFT).clip(-limit, limit).transpose(0, 2, 3, 1)
        parts.append(rows.reshape(GROUPS[0], -1))
    return np.stack(parts).astype(np.int8)


def export(model: FastModel) -> Contexts:
    """The exact integer form of a trained model's contexts.

    Raises
    ------
    ValueError
        If a sum could leave 32 bits.
    """
    unit, high = 1.0 / ACTIVATION_UNIT, ACTIVATION_LIMIT * ACTIVATION_UNIT

    def array(tensor: Tensor) -> np.ndarray:
        made: np.ndarray = tensor.detach().double().numpy()
        return made

    first = tables_of(array(model.step(0).leave_bias.anchors))
    networks, enters, leaves = [], [], []
    for twin in map(model.step, range(1, STEPS)):
        anchors = array(twin.enter_bias.anchors)
        middle = anchors.mean(axis=0)
        enter = quantize_pointwise(
            array(twin.enter.weight),
            array(twin.enter.bias) + middle,
            1.0 / MAGNITUDE_UNIT,
            unit,
            0,
            high,
        )
        enters.append(_bias_steps(anchors - middle, enter, unit))
        taps = array(twin.mix.weight)[:, 0].transpose(1, 2, 0)
        mix = quantize_depthwise(taps, array(twin.mix.bias), unit, unit, 0, high)
        anchors = (array(twin.leave_bias.anchors) - _LOWEST) * _GAIN
        middle = anchors.mean(axis=0)
        rows, bias = array(twin.leave.weight) * _GAIN, array(twin.leave.bias) * _GAIN
        leave = quantize_pointwise(rows, bias + middle, unit, 1.0)
        leaves.append(_bias_steps(anchors - middle, leave, 1.0))
        bounds = [int(np.abs(enters[-1]).max()), 0, int(np.abs(leaves[-1]).max())]
        networks.append(IntegerNetwork([enter, mix, leave], MAX_MAGNITUDE, bounds))
    return Contexts(networks, first, enters, leaves)


def tables_of(log_scale: np.ndarray) -> np.ndarray:
    """Tables of log scales, in 1/256, int32."""
    return np.rint((log_scale - _LOWEST) * _GAIN).astype(np.int32)


def _bias_steps(anchors: np.ndarray, layer: Pointwise, unit: float) -> np.ndarray:
    """Real biases in steps of a layer's accumulators."""
    step = layer.multiplier / 2.0**layer.shift * unit
    return np.rint(anchors / np.maximum(step, 1e-12)).clip(-(2**28), 2**28).astype(np.int32)
