"""The codebooks of the cascade at run time: search by rate and distortion, and the Gaussian that codes them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.image_vq.constants import DIMENSION, GRID, REFINED, REFINING, SCALES, SKIPPED
from siglum.entropy.codebook import CodebookGaussian
from siglum.entropy.codebook_fit import ENERGY_BITS, UNIT, cell_count
from siglum.kernels import nearest

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]
_TENSORS = {"points": np.int16, "bias": np.int32, "numbers": np.uint8}


class Book:
    """One codebook with its prior.

    Parameters
    ----------
    points
        (K, 4) int16 codewords in units of `ratio` grid steps; K is a power of two, 2 to 65536. Above 256 they
        stand cell by cell (`CodebookGaussian`), in cells of equal size.
    bias
        (K,) int32 logarithms of their weights, in units of 2**-12 bit.
    numbers
        (64,) uint8: number of the deviation (`CodebookGaussian`) for each table index of the hyperprior.
    ratio
        Grid steps (`GRID`) in one unit of `points`.

    Raises
    ------
    ValueError
        If an array has a wrong type, shape or range.
    """

    def __init__(
        self, points: NDArray[np.int16], bias: Integers, numbers: NDArray[np.uint8], ratio: int
    ) -> None:
        for array, (name, kind), shape in (
            (points, ("points", np.int16), (len(points), DIMENSION)),
            (bias, ("bias", np.int32), (len(points),)),
            (numbers, ("numbers", np.uint8), (SCALES,)),
        ):
            if array.dtype != kind or array.shape != shape:
                raise ValueError(
                    f"{name} is {array.dtype} of shape {array.shape}, not {kind.__name__} {shape}"
                )
        count = len(points)
        if (
            count < 2
            or count & (count - 1)
            or int(numbers.max()) >= SCALES
            or int(np.abs(bias).max()) > 2**20
        ):
            raise ValueError("a codebook has a power of two of words, and scales and weights in range")
        self.points, self.bias, self.numbers, self.ratio = points, bias, numbers, ratio
        self.steps = points.astype(np.int32) * ratio
        """(K, 4) int32: codewords in grid steps."""

    @cached_property
    def _model(self) -> CodebookGaussian:
        words, cells = len(self.points), cell_count(len(self.points))
        tensors: dict[str, NDArray[Any]] = {
            "order": np.arange(words),
            "points": self.points,
            "bias": self.bias,
            "counts": np.full(cells, words // cells),
            "rotation": np.eye(DIMENSION),
            # The rest is for models that do not sum all cells, and for coding without a context.
            "centres": np.zeros((cells, DIMENSION)),
            "centre_bias": np.zeros(cells),
            "centre_rates": np.ones((DIMENSION, SCALES)),
            "norms": np.zeros((DIMENSION, SCALES)),
            "mean": np.zeros(DIMENSION),
            "scale": np.zeros(DIMENSION),
        }
        return CodebookGaussian({"refine": -1, "step": self.ratio * GRID}, tensors)

    @cached_property
    def _packed(self) -> nearest.Packed:
        words = self.steps.astype(np.float32) * np.float32(GRID)
        features = np.concatenate([words, words**2], axis=1)
        bias = -self.bias / 2.0**ENERGY_BITS - (features.astype(np.float64) ** 2).sum(1)
        return nearest.Packed(features, bias.astype(np.float32))

    @cached_property
    def precision(self) -> Floats:
        """(64,): bits of one squared step of distance from the mean, for each table index."""
        deviation = UNIT * 2.0 ** (self.numbers / 8.0) * self.ratio * GRID
        return (0.5 / np.log(2.0) / deviation**2).astype(np.float32)

    def search(self, x: Floats, index: NDArray[np.uint8], worth: Floats, threads: int) -> Integers:
        """The codewords of least ``bits + worth * |x - word|**2``, for vectors whose mean is zero.

        Parameters
        ----------
        x
            (N, 4) in steps of the latents.
        index
            (N, 4) tables of the hyperprior.
        worth
            (N,) bits of one squared step of error.

        Returns
        -------
        (N,) int32.
        """
        # -cost / 2 is linear in a codeword and its squares, which is what the search computes.
        features = np.empty((len(x), 2 * DIMENSION), np.float32)
        features[:, :DIMENSION] = worth[:, None] * x
        features[:, DIMENSION:] = -0.5 * (worth[:, None] + self.precision[index])
        return nearest.search(features, self._packed, threads=threads)

    def context(
        self, spent: Integers, index: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """What the Gaussian takes: means on the grid of the codebook, and numbers of deviations."""
        mean = np.clip(-spent // self.ratio, -(2**15), 2**15 - 1).astype(np.int16)
        return mean, self.numbers[index]

    @property
    def model(self) -> CodebookGaussian:
        """The Gaussian over this codebook."""
        return self._model

    def tensors(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Arrays by name, for a weights file."""
        return {prefix + name: getattr(self, name) for name in _TENSORS}


def ratio_of(kind: int) -> int:
    """Grid steps in a unit of a class's codebook."""
    return REFINING if kind == REFINED else 1


def to_tensors(books: list[Book]) -> dict[str, NDArray[Any]]:
    """Arrays of all classes' codebooks by name; `from_tensors` is the inverse."""
    found: dict[str, NDArray[Any]] = {}
    for kind, book in enumerate(books):
        found |= book.tensors(f"{kind}.")
    return found


def from_tensors(tensors: Mapping[str, NDArray[Any]]) -> list[Book]:
    """Rebuild from `to_tensors`.

    Raises
    ------
    KeyError, ValueError
        If any is missing or of a wrong type, shape or range.
    """

    def book(kind: int) -> Book:
        points, bias, numbers = (np.ascontiguousarray(tensors[f"{kind}.{name}"]) for name in _TENSORS)
        return Book(points, bias, numbers, ratio_of(kind))

    return [book(kind) for kind in range(SKIPPED)]
