"""Sharper scales from what is decoded already: a small integer network for each range of channels but the first.

It sees, at every position, the symbols of the more important channels there and in the block, and the tables that
the hyperprior predicts; it moves the tables of the range's own channels. A block sees itself alone, so that lanes
stay independent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.image_vq.constants import GRID, SCALES
from siglum.entropy.integer_network import IntegerNetwork

VALUE_UNIT = round(0.25 / GRID)  # grid steps in one unit of a symbol as the networks see it
VALUE_BOUND = 32
INPUT_BOUND = 64
SHIFT_UNIT = 256  # integers per table of a network's output


def features(spent: NDArray[np.int32], index: NDArray[np.uint8], known: int) -> NDArray[np.int16]:
    """What a network sees of blocks.

    Parameters
    ----------
    spent
        (blocks, C, 4) what has been coded, in grid steps, channels by importance.
    index
        (blocks, C, 4) tables that the hyperprior predicts.
    known
        How many channels have been coded.

    Returns
    -------
    (blocks, 4, 3 * known + C) int16: symbols, magnitudes, mean magnitudes of the block, tables.
    """
    values = (spent[:, :known] + VALUE_UNIT // 2) // VALUE_UNIT
    values = np.clip(values, -VALUE_BOUND, VALUE_BOUND).astype(np.int16).transpose(0, 2, 1)
    magnitudes = np.abs(values)
    out = np.empty((len(spent), 4, 3 * known + index.shape[1]), np.int16)
    out[..., :known] = values
    out[..., known : 2 * known] = magnitudes
    out[..., 2 * known : 3 * known] = ((magnitudes.sum(axis=1, dtype=np.int16) + 2) >> 2)[:, None]
    out[..., 3 * known :] = index.transpose(0, 2, 1)
    return out


class Context:
    """The networks of a model.

    Parameters
    ----------
    networks
        For each range of channels but the first.
    ranges
        Ends of the ranges.

    Raises
    ------
    ValueError
        If a network does not fit its range.
    """

    def __init__(self, networks: list[IntegerNetwork], ranges: tuple[int, ...]) -> None:
        self.networks = dict(zip(ranges, networks, strict=False))
        sizes = zip(ranges, ranges[1:], networks, strict=False)
        fits = len(networks) == len(ranges) - 1 and all(
            network.in_channels == 3 * low + ranges[-1]
            and network.out_channels == high - low
            and network.input_bound >= INPUT_BOUND
            and network.upsampling == 1
            for low, high, network in sizes
        )
        if not fits:
            raise ValueError("the context networks do not fit the ranges of channels")

    def tables(
        self, spent: NDArray[np.int32], index: NDArray[np.uint8], low: int, high: int, threads: int
    ) -> NDArray[np.uint8]:
        """(blocks, high - low, 4) tables of a range's channels, given all before it."""
        own = index[:, low:high]
        network = self.networks.get(low)
        if network is None or not len(own):
            return own
        shift = network(features(spent, index, low), threads=threads).transpose(0, 2, 1)
        moved = own + ((shift.astype(np.int32) + SHIFT_UNIT // 2) >> 8)
        return np.clip(moved, 0, SCALES - 1).astype(np.uint8)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Arrays by name; `from_tensors` is the inverse with `metadata`."""
        found: dict[str, NDArray[Any]] = {}
        for number, network in enumerate(self.networks.values()):
            found |= network.tensors(f"{number}.")
        return found

    def metadata(self) -> dict[str, str]:
        """What `tensors` leaves out."""
        found: dict[str, str] = {}
        for number, network in enumerate(self.networks.values()):
            found |= network.metadata(f"{number}.")
        return found

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str], ranges: tuple[int, ...]
    ) -> Context:
        """Rebuild; every static bound is checked again.

        Raises
        ------
        ValueError
            If the arrays do not fit, or a sum could leave 32 bits.
        """
        numbers = range(len(ranges) - 1)
        return cls([IntegerNetwork.from_tensors(tensors, metadata, f"{n}.") for n in numbers], ranges)
