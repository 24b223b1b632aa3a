"""The prior of the image codec in exact integers: hyperlatents -> table index and mean of every latent.

`export` turns the trained float twin (`transform.HyperSynthesis`) into an `IntegerNetwork`; `IntegerPrior`
runs it. Table indices are integers all the way, so every machine chooses the same tables; the mean is an
integer times a float gain, and only the reconstruction depends on it, never the entropy decoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from siglum.codecs.image.constants import ANCHOR_STEP, ANCHORS, HYPER_FACTOR, SCALES
from siglum.entropy.integer_network import (
    IntegerNetwork,
    Layer,
    PixelShuffle,
    quantize_depthwise,
    quantize_pointwise,
)
from siglum.kernels import latents

if TYPE_CHECKING:
    from torch import Tensor, nn

    from siglum.codecs.image.transform import Depthwise as Depthwise3x3
    from siglum.codecs.image.transform import ImageModel, QualityGain

ACTIVATION_UNIT = 1024  # integers per unit of a real activation
INDEX_UNIT = 256  # integers per step of the table index in the network's output
HYPER_BOUND = 127  # hyperlatents are clamped to -127..127


def interpolate(anchors: np.ndarray, level: int) -> np.ndarray:
    """Integer interpolation between the anchors of a level: (anchors, C) int32, 0..255 -> (C,) int32."""
    low, part = divmod(level, ANCHOR_STEP)
    left, right = anchors[low].astype(np.int64), anchors[low + 1].astype(np.int64)
    total = left * (ANCHOR_STEP - part) + right * part + ANCHOR_STEP // 2
    return (total >> 5).astype(np.int32)


class IntegerPrior:
    """Mean and table index of every latent, from the hyperlatents.

    Parameters
    ----------
    network
        (h, w, hyper) -> (4h, 4w, 2 * latent): means in 1/1024 of a deviation, then indices in 1/256.
    biases
        For each layer with weights an (anchors, C) int32 array of quality biases, or None.
    hyper_index
        (anchors, hyper) int32: table index of each hyperlatent channel, in 1/256.
    """

    def __init__(
        self,
        network: IntegerNetwork,
        biases: list[np.ndarray | None],
        hyper_index: np.ndarray,
    ) -> None:
        self.network, self.biases, self.hyper_index = network, biases, hyper_index

    def hyper_tables(self, level: int) -> np.ndarray:
        """Table index of each hyperlatent channel at a level: (hyper,) uint8."""
        index = (interpolate(self.hyper_index, level) + INDEX_UNIT // 2) >> 8
        return np.clip(index, 0, SCALES - 1).astype(np.uint8)

    def __call__(self, z: np.ndarray, level: int, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Run the network.

        Parameters
        ----------
        z
            (h, w, hyper) int16 hyperlatents, -127..127.
        level
            Quality level 0..255.

        Returns
        -------
        (4h, 4w, latent) float32 means in 1/1024 of each channel's deviation (integers), and (4h, 4w, latent)
        uint8 table indices.
        """
        latent = self.network.out_channels // 2
        size = z.shape[0] * HYPER_FACTOR, z.shape[1] * HYPER_FACTOR
        return self.predict(z, level, np.ones(latent, np.float32), size, threads)

    def predict(
        self, z: np.ndarray, level: int, unit: np.ndarray, shape: tuple[int, int], threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """As calling it, with means in multiples of `unit` (latent,) float32, for the first `shape` positions."""
        condition = [None if anchors is None else interpolate(anchors, level) for anchors in self.biases]
        out = self.network(np.ascontiguousarray(z, np.int16), condition, threads=threads)
        return latents.predict(out, unit, shape, threads)

    def tensors(self) -> dict[str, np.ndarray]:
        """Arrays by name, for a weights file; `from_tensors` is the inverse."""
        found = {f"network.{name}": array for name, array in self.network.tensors().items()}
        found["hyper_index"] = self.hyper_index
        for position, anchors in enumerate(self.biases):
            if anchors is not None:
                found[f"bias.{position}"] = anchors
        return found

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> IntegerPrior:
        """Rebuild from `tensors()` and the network's metadata; every static bound is checked again.

        Raises
        ------
        ValueError
            If the arrays do not fit each other or a sum could leave 32 bits.
        """
        prefix = "network."
        network = IntegerNetwork.from_tensors(
            {name[len(prefix) :]: array for name, array in tensors.items() if name.startswith(prefix)},
            dict(metadata),
        )
        biases = [tensors.get(f"bias.{position}") for position in range(len(network.condition_bounds))]
        layers = [layer for layer in network.layers if not isinstance(layer, PixelShuffle)]
        for anchors, bound, layer in zip(biases, network.condition_bounds, layers, strict=True):
            if anchors is None:
                continue
            if anchors.dtype != np.int32 or anchors.shape != (ANCHORS, layer.out_channels):
                raise ValueError("a quality bias has a wrong type or shape")
            if int(np.abs(anchors.astype(np.int64)).max()) > bound:
                raise ValueError("a quality bias is beyond the bound that proves the network exact")
        hyper_index = tensors["hyper_index"]
        if hyper_index.ndim != 2 or hyper_index.dtype != np.int32:
            raise ValueError("hyper_index must be a two-dimensional int32 array")
        return cls(network, biases, hyper_index)


def export(model: ImageModel) -> IntegerPrior:
    """The exact integer form of a trained model's prior.

    Raises
    ------
    ValueError
        If a sum of the integer network could leave 32 bits.
    """
    from siglum.codecs.image.transform import ACTIVATION_LIMIT, LOG_SCALE_STEP, SCALE_LOW

    twin = model.hyper_synthesis
    unit = 1.0 / ACTIVATION_UNIT
    high = int(ACTIVATION_LIMIT * ACTIVATION_UNIT)
    layers: list[Layer] = []
    biases: list[np.ndarray | None] = []

    def array(tensor: Tensor) -> np.ndarray:
        return tensor.detach().double().numpy()

    def pointwise(
        layer: nn.Linear, quality: QualityGain | None, scale: float = unit, fold: np.ndarray | None = None
    ) -> None:
        rows, bias = array(layer.weight), array(layer.bias)
        anchors = np.zeros((1, len(bias))) if quality is None else array(quality.anchors)
        low, top = (0, high) if fold is None else (-(2**15), 2**15 - 1)
        if fold is not None:
            gain, offset = fold
            rows, bias, anchors = rows * gain[:, None], (bias + offset) * gain, anchors * gain
        middle = anchors.mean(axis=0)
        made = quantize_pointwise(rows, bias + middle, scale, unit, low, top)
        layers.append(made)
        step = made.multiplier / 2.0**made.shift * unit  # one step of the accumulator in real units
        integers = np.rint((anchors - middle) / np.maximum(step, 1e-12)).clip(-(2**28), 2**28)
        biases.append(None if quality is None else integers.astype(np.int32))

    def shuffle_and_mix(layer: Depthwise3x3) -> None:
        layers.append(PixelShuffle())
        kernel = array(layer.weight)[:, 0].transpose(1, 2, 0)
        layers.append(quantize_depthwise(kernel, array(layer.bias), unit, unit, -high, high))
        biases.append(None)

    pointwise(twin.enter, twin.enter_bias, scale=1.0)
    shuffle_and_mix(twin.mix32)
    pointwise(twin.middle, twin.middle_bias)
    pointwise(twin.up, None)
    shuffle_and_mix(twin.mix16)
    pointwise(twin.wide, twin.wide_bias)
    latent = model.preset.latent
    gain = np.repeat([1.0, INDEX_UNIT / ACTIVATION_UNIT / LOG_SCALE_STEP], latent)
    offset = np.repeat([0.0, -math.log(SCALE_LOW)], latent)
    pointwise(twin.leave, twin.leave_bias, fold=np.stack([gain, offset]))

    hyper = (array(model.hyper_scale.anchors) - math.log(SCALE_LOW)) / LOG_SCALE_STEP * INDEX_UNIT
    bounds = [0 if integers is None else int(np.abs(integers.astype(np.int64)).max()) for integers in biases]
    network = IntegerNetwork(layers, input_bound=HYPER_BOUND, condition_bounds=bounds)
    return IntegerPrior(network, biases, np.rint(hyper).astype(np.int32))
