"""The patch coder: linear projections of 16 x 16 patches, quantised and coded in one pass of compiled code.

Coefficients are integer sums, and the tables under which they are coded follow from integer networks: the symbols
and the bytes are the same on every machine, with any instruction set and number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import siglum.kernels._native as _native
from siglum.codecs.image_fast.constants import GROUPS
from siglum.entropy.integer_network import Depthwise, IntegerNetwork, Pointwise
from siglum.entropy.tables import Tables
from siglum.errors import BitstreamError, MalformedHeader, Truncated
from siglum.kernels import dispatch
from siglum.kernels.reference import patches as reference

Tile = tuple[slice, slice]


def arithmetic(network: IntegerNetwork) -> list[Pointwise | Depthwise]:
    """The layers of a network that have weights, which are all of a context's."""
    return [layer for layer in network.layers if isinstance(layer, (Pointwise, Depthwise))]


@dataclass(frozen=True)
class Level:
    """What a quality sets.

    Attributes
    ----------
    scales
        (C,) float32: 1/32 of a step for each unit of ``2 * sum(weight * sample) - 255 * sum(weight)``.
    biases
        Those of the first group's first phase (1/256 of a table), then of all layers, int32.
    thresholds
        (2, 64) int16: what is added to a magnitude in 1/32 before it is rounded down, below 3/2 and above.
    groups
        How many groups of channels are coded at most.
    """

    scales: NDArray[np.float32]
    biases: NDArray[np.int32]
    thresholds: NDArray[np.int16]
    groups: int


class PatchCoder:
    """Codes tiles of a picture; immutable and safe to share between threads.

    Parameters
    ----------
    weight
        (192, 768) int8: the projections, samples of a patch ordered (row, column, colour).
    first
        (8, 3) int8 in 1/128: the mean of the first group in its first phase, from the symbols of the same channel
        two positions left, above, and both.
    means
        (2, 8, 72) int8 in 1/128: the mean of the first group in its second and third phase, from the nine
        neighbours' symbols, ordered (row, column, channel).
    magnitudes
        (256,) int16: what contexts see of a symbol's magnitude.
    networks
        Of every step but the first: a pointwise, a depthwise and a pointwise layer.
    skip
        What has a table below this is not coded: zero.
    bank, flags
        Tables of the coefficients (64) and of the flags (1).

    Raises
    ------
    ValueError
        If the arrays do not fit each other.
    """

    def __init__(
        self,
        weight: NDArray[np.int8],
        first: NDArray[np.int8],
        means: NDArray[np.int8],
        magnitudes: NDArray[np.int16],
        networks: Sequence[IntegerNetwork],
        skip: int,
        bank: Tables,
        flags: Tables,
    ) -> None:
        self.weight, self.first, self.means = (np.ascontiguousarray(a) for a in (weight, first, means))
        self.magnitudes, self.skip = np.ascontiguousarray(magnitudes), skip
        self._networks, self._bank, self._flags = tuple(networks), bank, flags
        self._native: dict[str, Any] = {}
        self._handle(dispatch.isa())

    def encode(
        self,
        pixels: NDArray[np.uint8],
        level: Level,
        tiles: Sequence[Tile],
        threads: int = 1,
        *,
        isa: str | None = None,
    ) -> list[tuple[bytes, int]]:
        """Payload and CRC32C of the symbols of each tile.

        Parameters
        ----------
        pixels
            (H, W, 3) uint8; rows may be apart. Edges are continued to whole patches.
        tiles
            Rows and columns of patches.
        """
        places = np.array([(r.start, r.stop, c.start, c.stop) for r, c in tiles], np.int32).reshape(-1, 4)
        handle = self._handle(isa or dispatch.isa())
        coded: list[tuple[bytes, int]] = handle.encode(
            pixels,
            level.scales,
            level.biases,
            level.thresholds,
            level.groups,
            places,
            self._bank.native,
            self._flags.native,
            threads,
        )
        return coded

    def decode(
        self,
        payload: bytes,
        biases: NDArray[np.int32],
        offsets: NDArray[np.float32],
        out: NDArray[np.float32],
        *,
        isa: str | None = None,
    ) -> int:
        """Write a tile's coefficients in units of their step to `out`; the CRC32C of its symbols.

        Parameters
        ----------
        biases
            As in `Level`.
        offsets
            (64, 2) float32: how far from 1, and from 2 and above, towards zero a coefficient of each table lies.
        out
            (rows, columns, 192) float32; only the last axis need be contiguous.

        Raises
        ------
        BitstreamError
            If the payload is damaged.
        """
        data = np.frombuffer(payload, np.uint8)
        handle = self._handle(isa or dispatch.isa())
        status, crc = handle.decode(data, biases, offsets, self._bank.native, self._flags.native, out)
        if status == 1:
            raise Truncated("a coded tile ends too early: the file is cut off or damaged")
        if status == 2:
            raise MalformedHeader("a coded tile does not begin as one: the file is damaged")
        if status:
            raise BitstreamError("a coded tile is damaged: it does not end where its symbols do")
        return int(crc)

    def reference(
        self, pixels: NDArray[np.uint8], level: Level
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], list[tuple[NDArray[np.int64], NDArray[np.int64]]]]:
        """Symbols, flags and what every step codes of one tile, in NumPy: see `siglum.kernels.reference.patches`."""
        counts = [layer.out_channels for network in self._networks for layer in arithmetic(network)]
        ends = np.cumsum([GROUPS[0], *counts])
        biases = np.split(level.biases, ends[:-1])

        def context(step: int, seen: NDArray[np.int64]) -> NDArray[np.int64]:
            if step == 0:
                return np.broadcast_to(biases[0].astype(np.int64), (*seen.shape[:2], GROUPS[0]))
            network, own = self._networks[step - 1], biases[3 * step - 2 : 3 * step + 1]
            conditions = [
                bias - layer.bias if bound else None
                for bias, layer, bound in zip(own, arithmetic(network), network.condition_bounds, strict=True)
            ]
            return network(seen[..., : network.in_channels].astype(np.int16), conditions).astype(np.int64)

        y = reference.coefficients(pixels, self.weight, level.scales)
        return reference.code(
            y, context, self.first, self.means, self.magnitudes, level.thresholds, self.skip, level.groups
        )

    @property
    def bias_count(self) -> int:
        """Entries of the biases of a level."""
        return int(self._handle(dispatch.isa()).bias_count)

    def _handle(self, isa: str) -> Any:
        """The native coder with its weights packed for one instruction set."""
        handle = self._native.get(isa)
        if handle is None:
            try:
                handle = _native.PatchCoder(
                    isa, self.weight, self.first, self.means, self.magnitudes, self.skip
                )
                for network in self._networks:
                    for layer in arithmetic(network):
                        add = handle.add_depthwise if isinstance(layer, Depthwise) else handle.add_pointwise
                        add(layer.weight, layer.multiplier, layer.shift, layer.low, layer.high)
            except TypeError as error:
                raise ValueError("the arrays make no patch coder") from error
            if not handle.complete:
                raise ValueError("the networks are not those of all steps")
            self._native[isa] = handle
        return handle
