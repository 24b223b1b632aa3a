"""An integer network whose biases depend on the quality: learned at the anchors, interpolated in integers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.image.constants import ANCHOR_STEP, ANCHORS
from siglum.entropy.integer_network import IntegerNetwork, PixelShuffle


def interpolate(anchors: np.ndarray, level: int) -> np.ndarray:
    """Integer interpolation between the anchors of a level: (anchors, C) int32, 0..255 -> (C,) int32."""
    low, part = divmod(level, ANCHOR_STEP)
    left, right = anchors[low].astype(np.int64), anchors[low + 1].astype(np.int64)
    total = left * (ANCHOR_STEP - part) + right * part + ANCHOR_STEP // 2
    return (total >> 5).astype(np.int32)


class ConditionedNetwork:
    """An integer network and, for each of its layers with weights, what the quality adds to the biases.

    Parameters
    ----------
    network
        The network.
    biases
        For each layer with weights an (anchors, C) int32 array, or None.

    Raises
    ------
    ValueError
        If an array does not fit its layer, or exceeds the bound that proves the network exact.
    """

    def __init__(self, network: IntegerNetwork, biases: list[NDArray[np.int32] | None]) -> None:
        self.network, self.biases = network, biases
        layers = [layer for layer in network.layers if not isinstance(layer, PixelShuffle)]
        for anchors, bound, layer in zip(biases, network.condition_bounds, layers, strict=True):
            if anchors is None:
                continue
            if anchors.dtype != np.int32 or anchors.shape != (ANCHORS, layer.out_channels):
                raise ValueError("a quality bias has a wrong type or shape")
            if int(np.abs(anchors.astype(np.int64)).max()) > bound:
                raise ValueError("a quality bias is beyond the bound that proves the network exact")

    @property
    def output_bound(self) -> int:
        """Largest magnitude of an output."""
        last = next(x for x in reversed(self.network.layers) if not isinstance(x, PixelShuffle))
        return last.output_bound

    def condition(self, level: int) -> list[NDArray[np.int32] | None]:
        """The biases of a level, 0..255."""
        return [None if anchors is None else interpolate(anchors, level) for anchors in self.biases]

    def __call__(self, x: NDArray[np.int16], level: int, threads: int = 1) -> NDArray[np.int16]:
        """(H, W, C) int16 -> (H', W', C') int16 at a level."""
        return self.network(x, self.condition(level), threads)

    def reference(self, x: NDArray[np.int16], level: int) -> NDArray[np.int16]:
        """The same in NumPy, bit for bit."""
        return self.network.reference(x, self.condition(level))

    def tensors(self, prefix: str) -> dict[str, np.ndarray]:
        """Arrays by name, for a weights file."""
        found = self.network.tensors(f"{prefix}.network.")
        for position, anchors in enumerate(self.biases):
            if anchors is not None:
                found[f"{prefix}.bias.{position}"] = anchors
        return found

    def metadata(self, prefix: str) -> dict[str, str]:
        """What `tensors` leaves out."""
        return self.network.metadata(f"{prefix}.network.")

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str], prefix: str
    ) -> ConditionedNetwork:
        """Rebuild from `tensors` and `metadata`; every static bound is checked again.

        Raises
        ------
        ValueError
            If the arrays do not fit each other or a sum could leave 32 bits.
        """
        network = IntegerNetwork.from_tensors(tensors, metadata, f"{prefix}.network.")
        biases = [tensors.get(f"{prefix}.bias.{i}") for i in range(len(network.condition_bounds))]
        return cls(network, biases)
