"""The prior of the image codec in exact integers: hyperlatents and decoded groups -> tables of what comes next.

`prior_export.export` turns the trained float twin (`context.ContextPrior`) into an `IntegerPrior`. Table indices,
factors and contexts are integers all the way, so every machine chooses the same tables; the mean of a latent is
an integer times a float gain, and only the reconstruction depends on it, never the entropy decoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.image.conditioned import ConditionedNetwork, interpolate
from siglum.codecs.image.constants import (
    ANCHORS,
    HYPER_FACTOR,
    LEVELS,
    NEIGHBOURS,
    PHASES,
    SCALES,
    group_bounds,
)
from siglum.entropy.integer_network import Pointwise
from siglum.kernels import dispatch, latents, phases
from siglum.kernels.walk import Level

ACTIVATION_UNIT = 1024  # integers per unit of a real activation
ACTIVATION_HIGH = 16 * ACTIVATION_UNIT  # where activations and contexts saturate
INDEX_UNIT = 256  # integers per step of the table index in the network's output
KEPT_LEVELS = 16  # whose networks with their biases stay in memory
HYPER_BOUND = 127  # hyperlatents are clamped to -127..127


class IntegerPrior:
    """Tables, means and factors of group after group of channels.

    Parameters
    ----------
    hyper
        (h, w, hyper) hyperlatents -> (4h, 4w, F) features in 1/1024.
    mix
        Of each group but the first: (H, W, F + 2C) features of the group before and the context that its C channels
        give -> (H, W, F) features.
    leave
        Of each group of C channels: (H, W, F) -> (H, W, 2C), means in 1/1024 of a deviation, then table indices
        in 1/256.
    factors
        Of each group: (H, W, F) -> (H, W, 4C), factors in 1/256 towards the four neighbours of a phase.
    hyper_index
        (anchors, hyper) int32: table index of each hyperlatent channel, in 1/256.
    gain
        (levels, channels of all groups but the last) uint16: 1024ths of context units in a 32nd of a step.

    Raises
    ------
    ValueError
        If the parts do not fit each other.
    """

    def __init__(
        self,
        hyper: ConditionedNetwork,
        mix: list[ConditionedNetwork],
        leave: list[ConditionedNetwork],
        factors: list[ConditionedNetwork],
        hyper_index: NDArray[np.int32],
        gain: NDArray[np.uint16],
    ) -> None:
        self.hyper, self.mix, self.leave, self.factors = hyper, mix, leave, factors
        self.hyper_index, self.gain = hyper_index, gain
        self.latent = sum(network.network.out_channels for network in leave) // 2
        self.bounds = group_bounds(self.latent)
        self._levels: dict[tuple[int, str], Level] = {}
        self._check()

    def at(self, level: int) -> Level:
        """The networks at a level in compiled code, for a whole tile in one call."""
        key = level, dispatch.isa()
        found = self._levels.get(key)
        if found is None:
            networks = [self.hyper, *self.mix, *self.leave, *self.factors]
            found = Level(
                [part.network.compiled(key[1]) for part in networks],
                [part.network.biases(part.condition(level)) for part in networks],
                self.bounds,
                self.gain[level].astype(np.int32),
                ACTIVATION_HIGH,
                key[1],
            )
            if len(self._levels) >= KEPT_LEVELS:
                self._levels.clear()
            self._levels[key] = found
        return found

    def _check(self) -> None:
        sizes = [stop - start for start, stop in pairwise(self.bounds)]
        groups, width = len(sizes), self.hyper.network.out_channels
        if not len(self.leave) == len(self.factors) == len(self.mix) + 1 == groups:
            raise ValueError(f"the prior has {groups} groups of channels")
        shapes = [(self.hyper, self.hyper.network.in_channels, width)]
        shapes += [(net, width + 2 * size, width) for net, size in zip(self.mix, sizes[:-1], strict=True)]
        shapes += [(net, width, 2 * size) for net, size in zip(self.leave, sizes, strict=True)]
        shapes += [
            (net, width, len(NEIGHBOURS[1]) * size) for net, size in zip(self.factors, sizes, strict=True)
        ]
        fits = all(
            (net.network.in_channels, net.network.out_channels) == (before, after)
            for net, before, after in shapes
        )
        inner = [*self.mix, *self.leave, *self.factors]
        fits = fits and all(
            net.network.input_bound >= ACTIVATION_HIGH and net.network.upsampling == 1 for net in inner
        )
        local = all(
            isinstance(layer, Pointwise)
            for net in (*self.leave, *self.factors)
            for layer in net.network.layers
        )
        fits = fits and self.hyper.network.upsampling == HYPER_FACTOR
        fits = fits and self.hyper.network.input_bound >= HYPER_BOUND
        fits = fits and all(net.output_bound <= ACTIVATION_HIGH for net in (self.hyper, *self.mix))
        fits = fits and all(net.output_bound <= phases.FACTOR_HIGH for net in self.factors)
        if not (fits and local):
            raise ValueError("the networks of the prior do not fit each other")
        if self.hyper_index.dtype != np.int32 or self.hyper_index.shape != (ANCHORS, self.hyper_channels):
            raise ValueError("hyper_index must be an int32 array (anchors, hyper)")
        if self.gain.dtype != np.uint16 or self.gain.shape != (LEVELS, self.bounds[-2]):
            raise ValueError("gain must be a uint16 array (levels, channels that are context)")

    @property
    def hyper_channels(self) -> int:
        """Channels of the hyperlatents."""
        return self.hyper.network.in_channels

    def hyper_tables(self, level: int) -> NDArray[np.uint8]:
        """Table index of each hyperlatent channel at a level: (hyper,) uint8."""
        index = (interpolate(self.hyper_index, level) + INDEX_UNIT // 2) >> 8
        return np.clip(index, 0, SCALES - 1).astype(np.uint8)

    def networks(self) -> dict[str, ConditionedNetwork]:
        """All networks by name."""
        parts = {"mix": self.mix, "leave": self.leave, "factors": self.factors}
        named = {f"{name}.{i}": net for name, nets in parts.items() for i, net in enumerate(nets)}
        return {"hyper": self.hyper, **named}

    def tensors(self) -> dict[str, np.ndarray]:
        """Arrays by name, for a weights file; `from_tensors` is the inverse."""
        found: dict[str, np.ndarray] = {"hyper_index": self.hyper_index, "gain": self.gain}
        for name, network in self.networks().items():
            found.update(network.tensors(name))
        return found

    def metadata(self) -> dict[str, str]:
        """What `tensors` leaves out."""
        return {
            key: text
            for name, network in self.networks().items()
            for key, text in network.metadata(name).items()
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> IntegerPrior:
        """Rebuild from `tensors()` and `metadata()`; every static bound is checked again.

        Raises
        ------
        ValueError
            If the arrays do not fit each other or a sum could leave 32 bits.
        """
        groups = len(group_bounds(0)) - 1

        def made(name: str, count: int) -> list[ConditionedNetwork]:
            return [
                ConditionedNetwork.from_tensors(tensors, metadata, f"{name}.{number}")
                for number in range(count)
            ]

        return cls(
            ConditionedNetwork.from_tensors(tensors, metadata, "hyper"),
            made("mix", groups - 1),
            made("leave", groups),
            made("factors", groups),
            tensors["hyper_index"],
            tensors["gain"],
        )


Where = tuple[slice, slice, slice]
"""Rows, columns and channels of a phase."""


def _phases(rows: int, columns: int, own: slice) -> Iterator[tuple[int, Where]]:
    for phase, (row, column) in enumerate(PHASES):
        if row < rows and column < columns:
            yield phase, (slice(row, None, 2), slice(column, None, 2), own)


def coding_order(rows: int, columns: int, latent: int) -> Iterator[Where]:
    """The phases of all groups in the order of coding, empty ones left out."""
    for start, stop in pairwise(group_bounds(latent)):
        for _, where in _phases(rows, columns, slice(start, stop)):
            yield where


class Walk:
    """The latents of a tile, walked through in the order of coding: groups of channels, in each four phases.

    Whoever walks puts the symbols of a phase where it stands, with `settle`, before going on: what follows depends
    on them.

    Parameters
    ----------
    prior
        The integer prior.
    z
        (h, w, hyper) int16 hyperlatents, -127..127.
    level
        Quality level 0..255.
    unit
        (latent,) float32: what one integer of a mean is in steps.
    shape
        Rows and columns of the latents, at most (4h, 4w).

    Attributes
    ----------
    mean
        (rows, columns, latent) float32 in steps; of phases that were begun it includes the pull of the neighbours.
    index
        (rows, columns, latent) uint8 table of each latent, of groups that were begun.
    symbols
        (rows, columns, latent) int32, of phases that are settled.
    """

    def __init__(
        self,
        prior: IntegerPrior,
        z: NDArray[np.int16],
        level: int,
        unit: NDArray[np.float32],
        shape: tuple[int, int],
        threads: int = 1,
    ) -> None:
        self._prior, self._level, self._unit, self._threads = prior, level, unit, threads
        self._z, size = z, (*shape, prior.latent)
        self.mean, self.index = np.empty(size, np.float32), np.empty(size, np.uint8)
        self.symbols = np.empty(size, np.int32)
        self._deviation = np.empty((*shape, prior.bounds[-1]), np.int16)

    def __iter__(self) -> Iterator[Where]:
        """Go from phase to phase: rows, columns and channels of each."""
        prior, level, threads = self._prior, self._level, self._threads
        rows, columns = self.symbols.shape[:2]
        whole = prior.hyper(np.ascontiguousarray(self._z, np.int16), level, threads)
        features = np.ascontiguousarray(whole[:rows, :columns])
        for group, (start, stop) in enumerate(pairwise(prior.bounds)):
            own = slice(start, stop)
            if group:
                before = slice(prior.bounds[group - 1], start)
                gain = prior.gain[level, before].astype(np.int32)
                joined = phases.join(features, self._deviation[..., before], gain, ACTIVATION_HIGH, threads)
                features = prior.mix[group - 1](joined, level, threads)
            latents.predict(
                prior.leave[group](features, level, threads),
                self._unit[own],
                self.mean[..., own],
                self.index[..., own],
                threads,
            )
            factors = prior.factors[group](features, level, threads)
            deviation, mean = self._deviation[..., own], self.mean[..., own]
            for phase, where in _phases(rows, columns, own):
                phases.lean(factors, deviation, mean, phase, threads)
                yield where

    def settle(self, where: Where, symbols: NDArray[np.int32] | None = None) -> None:
        """The symbols of a phase, (rows, columns, channels) of it; None: those in `symbols` already."""
        if symbols is not None:
            self.symbols[where] = symbols
        phases.settle(self.symbols[where], self._deviation[where], self._threads)
