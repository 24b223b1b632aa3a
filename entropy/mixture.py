"""Integers under mixtures of Gaussians, mixed from the bank's tables in integers; a table for every symbol.

Mixtures as priors of latents: Cheng et al., arXiv 2001.01568, who mix logits in floating point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.entropy.fractional import MAX_MEAN, fractional_tables, indexes
from siglum.entropy.gaussian import GAUSSIAN_SCALES, scale_index
from siglum.entropy.gaussian_bank import LEVELS
from siglum.entropy.models import (
    MODELS,
    DirectStep,
    Example,
    Model,
    Shape,
    Step,
    TableStep,
    as_integers,
    as_shape,
)
from siglum.entropy.tables import MAX_OFFSET, MAX_PRECISION, Tables
from siglum.errors import BitstreamError, UsageError
from siglum.kernels.dispatch import isa, threads

PRECISION = 15
BLOCK = 1024
"""Symbols of one direct step; their escapes, where there are any, are a step after it."""

MAX_WEIGHT = 2**18
"""Of all components of a symbol together."""

MAX_COMPONENTS = 64

Context = tuple[ArrayLike, ArrayLike, ArrayLike]


@MODELS.register("mixture")
class GaussianMixture(Model):
    """Mixture of K Gaussians for every integer, means in sixteenths, scales from the bank.

    The mass of a symbol is the sum of the components' table entries times their weights. A window of at most
    1,024 symbols around the components has entries; what lies outside is an escape and, in a step of its own,
    the distance from the window.

    The context is ``(weights, means, scales)``, integers of shape (..., K) for symbols of shape (...), or (K,)
    for all. Without a context the model's own are used.

    Parameters
    ----------
    weights : int array, shape (K,), not negative, with a sum of 1 to 2**18
    means : int array, shape (K,), in sixteenths, magnitude at most 2**27
    scales : int array, shape (K,), 0 to 63

    Examples
    --------
    >>> model = GaussianMixture([3, 1], [-160, 320], [30, 40])
    >>> symbols = np.array([-10, -11, 21, 5000])
    >>> model.decode(model.encode(symbols), shape=4).tolist()
    [-10, -11, 21, 5000]
    """

    name = "mixture"

    def __init__(self, weights: ArrayLike, means: ArrayLike, scales: ArrayLike) -> None:
        self.weights = as_integers(weights, "weights", 0, MAX_WEIGHT)
        self.means = as_integers(means, "means", -MAX_MEAN, MAX_MEAN)
        self.scales = as_integers(scales, "scales", 0, LEVELS - 1).astype(np.uint8)
        shape = self.weights.shape
        if len(shape) != 1 or not 1 <= shape[0] <= MAX_COMPONENTS:
            raise UsageError(f"weights must be 1 to {MAX_COMPONENTS} in a row")
        if self.means.shape != shape or self.scales.shape != shape:
            raise UsageError("weights, means and scales must be of the same length")
        if not 1 <= int(self.weights.sum()) <= MAX_WEIGHT:
            raise UsageError(f"weights must sum to 1 to {MAX_WEIGHT}")

    @classmethod
    def fit(cls, data: Any, *, components: int = 3, rounds: int = 50, **options: Any) -> GaussianMixture:
        """Fit one mixture to integers, by expectation maximisation from quantiles.

        Parameters
        ----------
        data : int array, any shape
        components : int, 1 to 64
        rounds : int
        """
        if options or not 1 <= components <= MAX_COMPONENTS:
            raise UsageError(f"fit takes components from 1 to {MAX_COMPONENTS}, and rounds")
        values = as_integers(data, "data", -MAX_OFFSET, MAX_OFFSET).ravel()
        if not values.size:
            raise UsageError("data must not be empty")
        points, counts = np.unique(values, return_counts=True)
        x, n = points.astype(np.float64), counts.astype(np.float64)
        mean = np.quantile(values, (np.arange(components) + 0.5) / components)
        spread = np.full(components, max(float(values.std()) / components, 0.3))
        share = np.full(components, 1 / components)
        for _ in range(rounds):
            logs = np.log(np.maximum(share, 1e-12) / spread) - 0.5 * ((x[:, None] - mean) / spread) ** 2
            part = np.exp(logs - logs.max(axis=1, keepdims=True))
            part *= n[:, None] / part.sum(axis=1, keepdims=True)
            mass = part.sum(axis=0) + 1e-9
            share, mean = mass / mass.sum(), (part * x[:, None]).sum(axis=0) / mass
            variance = (part * (x[:, None] - mean) ** 2).sum(axis=0) / mass
            spread = np.sqrt(np.maximum(variance, 0.09))
        # Rounding to integers adds a variance of 1/12, which the tables' masses have in them.
        scales = scale_index(np.sqrt(np.maximum(spread**2 - 1 / 12, 0)))
        weights = np.maximum(np.rint(share * 2**12), 1).astype(np.int64)
        return cls(weights, np.rint(mean * 16).astype(np.int64), scales)

    def steps(self, symbols: Any, context: Any = None) -> Iterator[Step]:
        """A direct step for each 1,024 symbols, and one for its escapes if it has any."""
        values = as_integers(symbols, "symbols", -MAX_OFFSET, MAX_OFFSET)
        mixed = self._components(context, values.shape)
        flat = values.ravel().astype(np.int64)
        number = flat - mixed.bases
        outside = (number < 0) | (number >= mixed.widths)
        entries = np.where(outside, mixed.widths, number).astype(np.int32)
        starts, frequencies = np.empty(flat.size, np.uint16), np.empty(flat.size, np.uint16)
        _native().entries(*mixed, entries, starts, frequencies, threads())
        distance = np.where(number < 0, -2 * number - 1, 2 * (number - mixed.widths))
        for begin in range(0, flat.size, BLOCK):
            part = slice(begin, begin + BLOCK)
            yield DirectStep(starts[part], frequencies[part], PRECISION)
            escaped = outside[part]
            if escaped.any():
                yield TableStep(distance[part][escaped].astype(np.int32), _escapes(), 0)

    def pull(self, decoder: Any, shape: Shape | None = None, context: Any = None) -> NDArray[np.int32]:
        """Decode symbols; without a shape they have that of the context."""
        default = None if context is None else np.broadcast_shapes(*(np.shape(part)[:-1] for part in context))
        full = as_shape(shape, default)
        mixed = self._components(context, full)
        result = np.empty(len(mixed.bases), np.int64)
        for begin in range(0, len(result), BLOCK):
            part = mixed.part(slice(begin, begin + BLOCK))
            rows = np.empty((len(part.bases), int(part.widths.max()) + 2), np.uint16)
            _native().rows(*part, rows, threads())
            number = decoder.decode_direct(rows, PRECISION).astype(np.int64)
            escaped = number >= part.widths
            if escaped.any():
                distance = decoder.decode(_escapes(), 0, shape=int(escaped.sum())).astype(np.int64)
                if int(distance.min()) < 0:
                    raise BitstreamError("an escape is negative: the file is damaged")
                beyond = part.widths[escaped] + (distance >> 1)
                number[escaped] = np.where(distance & 1, -(distance >> 1) - 1, beyond)
            result[begin : begin + BLOCK] = part.bases + number
        if result.size and int(np.abs(result).max()) > 2**31 - 1:
            raise BitstreamError("an escape leaves 32 bits: the file is damaged")
        return result.astype(np.int32).reshape(full)

    def config(self) -> dict[str, Any]:
        """Nothing: everything is in the tensors."""
        return {}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """``weights`` and ``means`` int32, ``scales`` uint8."""
        return {"weights": self.weights, "means": self.means, "scales": self.scales}

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> GaussianMixture:
        """Make the model again."""
        return cls(tensors["weights"], tensors["means"], tensors["scales"])

    @classmethod
    def example(cls, seed: int, count: int) -> Example:
        """Three predicted components, and now and then a symbol that none of them expects."""
        rng = np.random.default_rng(seed)
        weights = rng.integers(0, 1000, (count, 3)) + 1
        means = rng.integers(-3000, 3000, (count, 3))
        scales = rng.integers(0, LEVELS, (count, 3))
        which = rng.integers(0, 3, (count, 1))
        centre = np.take_along_axis(means, which, 1)[:, 0] / 16
        spread = GAUSSIAN_SCALES[np.take_along_axis(scales, which, 1)[:, 0]]
        symbols = np.rint(centre + spread * rng.standard_normal(count))
        symbols += np.where(rng.random(count) < 0.01, 5000, 0)
        return Example(cls([1], [0], [40]), symbols.astype(np.int32), (weights, means, scales))

    def _components(self, context: Context | None, shape: tuple[int, ...]) -> _Mixed:
        given = (self.weights, self.means, self.scales) if context is None else tuple(context)
        if len(given) != 3:
            raise UsageError("the context is (weights, means, scales)")
        weights = as_integers(given[0], "weights", 0, MAX_WEIGHT)
        shift, table = indexes(given[1], given[2])
        if not weights.ndim or not 1 <= weights.shape[-1] <= MAX_COMPONENTS:
            raise UsageError(f"weights must have 1 to {MAX_COMPONENTS} components on their last axis")
        full = (*shape, weights.shape[-1])
        try:
            arrays: list[NDArray[Any]] = [np.broadcast_to(array, full) for array in (weights, shift, table)]
        except ValueError:
            raise UsageError(
                f"a context of shapes {weights.shape} and {table.shape} does not fit symbols of {shape}"
            ) from None
        parts = [np.ascontiguousarray(array).reshape(-1, full[-1]) for array in arrays]
        bases, widths = np.empty((2, len(parts[0])), np.int32)
        mixed = _Mixed(parts[0], parts[1], parts[2], bases, widths)
        try:
            _native().windows(*mixed)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return mixed


class _Mixed(NamedTuple):
    """Components of flat symbols, and the windows of their tables."""

    weights: NDArray[np.int32]
    shifts: NDArray[np.int32]
    tables: NDArray[np.uint16]
    bases: NDArray[np.int32]
    widths: NDArray[np.int32]

    def part(self, which: slice) -> _Mixed:
        """Some of the symbols."""
        return _Mixed(*(array[which] for array in self))  # type: ignore[arg-type]


def _native() -> Any:
    return _mixture(isa())


@cache
def _mixture(name: str) -> Any:
    from siglum.kernels import _native

    tables = fractional_tables()
    return _native.Mixture(name, np.concatenate(tables.frequencies), tables.sizes, tables.offsets)


@cache
def _escapes() -> Tables:
    """127 near distances at 7 bits each; farther ones are this table's own escapes."""
    return Tables.from_frequencies([[32] * 128], [0], MAX_PRECISION)
