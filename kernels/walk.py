"""The walk through a tile of latents in one call: networks, tables, symbols and phases of group after group.

A group's tables do not depend on its own symbols, only its means do. So a group is entropy decoded at once, and
what its phases lean with is computed meanwhile on the other threads. Results are those of `phases`, `latents` and the
networks called one by one, bit for bit, with any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import siglum.kernels._native as _native
from siglum.kernels import dispatch

Floats = NDArray[np.float32]
OUT_OF_RANGE = -1  # status: a hyperlatent is beyond its bound


@dataclass(frozen=True)
class Latents:
    """What the walk finds, all (rows, columns, channels).

    Attributes
    ----------
    mean
        In steps.
    index
        Tables, 0..63.
    symbols
        Zero where the table is below the skip.
    """

    mean: Floats
    index: NDArray[np.uint8]
    symbols: NDArray[np.int32]

    @classmethod
    def empty(cls, rows: int, columns: int, channels: int) -> Latents:
        """Arrays that are not filled yet."""
        size = rows, columns, channels
        return cls(np.empty(size, np.float32), np.empty(size, np.uint8), np.empty(size, np.int32))


class Level:
    """The networks of a prior at one quality level.

    Parameters
    ----------
    networks
        Compiled networks of one instruction set: of the hyperlatents, then those that mix, leave and give factors, a
        group of channels each (the first has none that mixes).
    biases
        Of each network those of its layers, one after the other, int32.
    bounds
        Where the groups begin, and where the last one ends.
    gain
        Of each channel that is context int32, 0 to 65535; see `phases.join`.
    limit
        Where contexts saturate.
    isa
        The instruction set.

    Raises
    ------
    ValueError
        If the parts do not fit each other.
    """

    def __init__(
        self,
        networks: Sequence[Any],
        biases: Sequence[NDArray[np.int32]],
        bounds: Sequence[int],
        gain: NDArray[np.int32],
        limit: int,
        isa: str | None = None,
    ) -> None:
        self._isa = isa or dispatch.isa()
        self._native = _native.WalkLevel(list(networks), list(biases), list(bounds), gain, limit)

    def decode(
        self,
        payload: NDArray[np.uint8],
        tables: Any,
        hyper_tables: NDArray[np.uint8],
        bound: int,
        z: NDArray[np.int32],
        unit: Floats,
        skip: int,
        out: Latents,
        threads: int = 1,
    ) -> int:
        """Decode the hyperlatents and latents of a tile.

        Parameters
        ----------
        payload
            A whole chunk.
        tables
            The compiled bank of 64 tables.
        hyper_tables
            (hyper,) table of each channel of the hyperlatents.
        bound
            Largest magnitude of a hyperlatent.
        z
            (h, w, hyper), to be written to.
        unit
            (channels,): what one integer of a mean is in steps.
        skip
            Latents whose table is below this are not coded.
        out
            To be written to, at most (4h, 4w) positions; undefined where the result is not 0.

        Returns
        -------
        0, `OUT_OF_RANGE`, or what is wrong as `RansDecoder` says it.
        """
        status: int = self._native.decode(
            payload,
            tables,
            hyper_tables,
            bound,
            z,
            unit,
            skip,
            out.mean,
            out.index,
            out.symbols,
            threads,
            self._isa,
        )
        return status

    def choose(
        self,
        latent: Floats,
        z: NDArray[np.int16],
        unit: Floats,
        weight: Floats,
        bits: Floats,
        skip: int,
        threads: int = 1,
    ) -> Latents:
        """Round the latents of a tile as `latents.choose` does, phase by phase.

        Parameters
        ----------
        latent
            (rows, columns, channels) in steps; any layout.
        z
            (h, w, hyper) hyperlatents.
        weight, bits, skip
            As for `latents.choose`, of all channels.
        """
        out = Latents.empty(*latent.shape)
        rows = np.ascontiguousarray(latent)
        whole = np.ascontiguousarray(z)
        found = out.mean, out.index, out.symbols
        self._native.choose(whole, unit, skip, rows, weight, bits, *found, threads, self._isa)
        return out
