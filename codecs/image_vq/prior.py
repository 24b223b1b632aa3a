"""The hyperprior in exact integers: hyperlatents -> table index and mean of every latent.

The network is that of the `image` codec's models (mean and scale, one integer network for all qualities).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.image.conditioned import ConditionedNetwork, interpolate
from siglum.codecs.image.constants import ANCHORS, HYPER_FACTOR, SCALES
from siglum.entropy.integer_network import IntegerNetwork

INDEX_UNIT = 256  # integers per step of the table index in the network's output
HYPER_BOUND = 127  # hyperlatents are clamped to -127..127


def table_of(value: NDArray[Any]) -> NDArray[np.uint8]:
    """Table index of values in 1/256 of an index."""
    return np.clip((value.astype(np.int32) + INDEX_UNIT // 2) >> 8, 0, SCALES - 1).astype(np.uint8)


class Prior:
    """Mean and table index of every latent.

    Parameters
    ----------
    tensors
        Those of the network under ``network.``, quality biases ``bias.N``, and ``hyper_index``.
    metadata
        What the network needs besides.

    Raises
    ------
    KeyError, ValueError
        If the arrays do not fit each other, or a sum could leave 32 bits.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
        own = {name: array for name, array in tensors.items() if name.startswith("network.")}
        self.network = IntegerNetwork.from_tensors(
            {name.removeprefix("network."): array for name, array in own.items()}, dict(metadata)
        )
        biases = [tensors.get(f"bias.{position}") for position in range(len(self.network.condition_bounds))]
        self._conditioned = ConditionedNetwork(self.network, biases)
        self._hyper_index = np.asarray(tensors["hyper_index"])
        self.hyper, self.latent = self.network.in_channels, self.network.out_channels // 2
        fits = (
            self._hyper_index.dtype == np.int32
            and self._hyper_index.shape == (ANCHORS, self.hyper)
            and self.network.upsampling == HYPER_FACTOR
            and self.network.input_bound >= HYPER_BOUND
        )
        if not fits:
            raise ValueError("the prior is not one from hyperlatents to latents")

    def hyper_tables(self, level: int, rows: int, columns: int) -> NDArray[np.uint8]:
        """Table index of each hyperlatent at a level: (rows, columns, hyper)."""
        index = table_of(interpolate(self._hyper_index, level))
        return np.broadcast_to(index, (rows, columns, self.hyper))

    def __call__(
        self, z: NDArray[np.int16], level: int, shape: tuple[int, int], threads: int
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Means in 1/1024 of each channel's deviation and table indices, (rows, columns, latent) each."""
        out = self._conditioned(np.ascontiguousarray(z, np.int16), level, threads)[: shape[0], : shape[1]]
        return out[..., : self.latent], table_of(out[..., self.latent :])
