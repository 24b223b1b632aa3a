"""Sources of symbols with a known entropy, to time entropy coders on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.entropy import GAUSSIAN_SCALES, Tables, gaussian_tables

MIDDLE = 128
"""The mean of every source of bytes."""


@dataclass(frozen=True)
class Task:
    """What the coders have to code, and all that any of them wants to know of it.

    Attributes
    ----------
    name : str
    symbols : uint8 array (static) or int16 array (indexed), shape (count,)
    mass : float64 array, shape (tables, alphabet)
        Probabilities of the source; a row for every table.
    first : int
        The symbol of the first column.
    indexes : uint8 array, shape (count,), or None
        The row that each symbol was drawn from; None where there is one only.
    scales : float64 array, shape (tables,), or None
        Standard deviations, where the rows are rounded Gaussians of mean 0.
    """

    name: str
    symbols: NDArray[Any]
    mass: NDArray[np.float64]
    first: int
    indexes: NDArray[np.uint8] | None = None
    scales: NDArray[np.float64] | None = None

    @property
    def count(self) -> int:
        """Symbols."""
        return len(self.symbols)

    @cached_property
    def source_bits(self) -> float:
        """Bits of information in these symbols, given the source."""
        row = 0 if self.indexes is None else self.indexes
        return float(-np.log2(self.mass[row, self.symbols.astype(np.int64) - self.first]).sum())

    @cached_property
    def int32(self) -> NDArray[np.int32]:
        """The symbols, for coders that take nothing else."""
        return self.symbols.astype(np.int32)

    @cached_property
    def tables(self) -> Tables:
        """Siglum's integer tables: the shipped bank, or those of the source without its rarest symbols."""
        if self.scales is not None:
            return gaussian_tables()
        kept = [np.flatnonzero(row >= 0.25 / 4096) for row in self.mass]
        rows = [row[places] for row, places in zip(self.mass, kept, strict=True)]
        return Tables.from_pmf(rows, [int(places[0]) + self.first for places in kept])


def gaussian(count: int, seed: int, scale: float = 20.0) -> Task:
    """Bytes of a discretised Gaussian; at scale 20 with 6.37 bits each."""
    return _bytes("gauss20", np.exp(-0.5 * ((np.arange(256) - MIDDLE) / scale) ** 2), count, seed)


def laplace(bits: float, count: int, seed: int) -> Task:
    """Bytes of a discretised Laplace distribution of this entropy, 0.01 to 7 bits."""
    low, high = 0.01, 60.0
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if entropy(_laplace(middle)) < bits else (low, middle)
    return _bytes(f"laplace {bits:g} bits", _laplace(low), count, seed)


def indexed(count: int, seed: int) -> Task:
    """Rounded Gaussians of the 64 shipped scales, 0.11 to 64, log-uniform: a table for every symbol."""
    rng = np.random.default_rng(seed)
    scales = np.asarray(GAUSSIAN_SCALES, dtype=np.float64)
    indexes = rng.integers(0, len(scales), count).astype(np.uint8)
    symbols = np.rint(rng.normal(size=count) * scales[indexes]).astype(np.int16)
    mass = np.array([rounded_gaussian(float(scale), int(10 * scales[-1])) for scale in scales])
    return Task("64 Gaussian tables", symbols, mass, -int(10 * scales[-1]), indexes, scales)


def rounded_gaussian(scale: float, reach: int) -> NDArray[np.float64]:
    """Probabilities of -reach to reach, by Simpson's rule on the interval of each."""
    values = np.arange(-reach, reach + 1)
    nodes = np.linspace(-0.5, 0.5, 33)
    weights = np.array([1, *[4, 2] * 15, 4, 1]) / 96
    mass = np.exp(-0.5 * ((values[:, None] + nodes) / scale) ** 2) @ weights
    return np.asarray(np.maximum(mass / mass.sum(), 1e-300))


def entropy(mass: NDArray[np.float64]) -> float:
    """Bits a symbol of a distribution."""
    return -float((mass * np.log2(np.maximum(mass, 1e-300))).sum())


def _laplace(scale: float) -> NDArray[np.float64]:
    mass = np.exp(-np.abs(np.arange(256) - MIDDLE) / scale)
    return np.asarray(mass / mass.sum())


def _bytes(name: str, weights: NDArray[np.float64], count: int, seed: int) -> Task:
    mass = weights / weights.sum()
    symbols = np.random.default_rng(seed).choice(256, size=count, p=mass).astype(np.uint8)
    return Task(name, symbols, mass[None], 0)
