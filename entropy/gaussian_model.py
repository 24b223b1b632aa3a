"""Integers under Gaussians whose means have fractions of 1/16 and whose scales come from the bank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.entropy.fractional import MAX_MEAN, fractional_tables, indexes
from siglum.entropy.gaussian import scale_index
from siglum.entropy.gaussian_bank import LEVELS
from siglum.entropy.models import (
    MODELS,
    Example,
    Model,
    Shape,
    TableStep,
    as_finite,
    as_integers,
    as_shape,
)
from siglum.entropy.tables import MAX_OFFSET
from siglum.errors import UsageError


@MODELS.register("gaussian")
class Gaussian(Model):
    """Quantised Gaussian for integer sources (samples, lossless residuals).

    Centred latents need no fractions: for those use `siglum.entropy.gaussian_tables` as they are.

    The context is a pair of integer arrays ``(mean, scale)``: means in sixteenths, numbers of scales, both of
    the symbols' shape or one that broadcasts to it. Without a context the model's own are used.

    Parameters
    ----------
    mean : int array, shape () or (C,), in sixteenths, magnitude at most 2**27
    scale : int array of the same shape, 0 to 63
        Of all symbols, or of each position along the last axis.

    Examples
    --------
    >>> model = Gaussian(mean=40, scale=40)
    >>> data = model.encode(np.array([2, 3, 1, 12]))
    >>> model.decode(data, shape=4).tolist()
    [2, 3, 1, 12]
    >>> context = np.array([20, -20]), np.array([30, 31])
    >>> model.decode(model.encode(np.array([1, -1]), context), context).tolist()
    [1, -1]
    """

    name = "gaussian"

    def __init__(self, mean: ArrayLike, scale: ArrayLike) -> None:
        self.mean = as_integers(mean, "means", -MAX_MEAN, MAX_MEAN)
        self.scale = as_integers(scale, "scales", 0, LEVELS - 1).astype(np.uint8)
        if self.mean.shape != self.scale.shape or self.mean.ndim > 1:
            raise UsageError("mean and scale must be numbers, or arrays (C,) of the same length")

    @classmethod
    def fit(cls, data: Any, **options: Any) -> Gaussian:
        """Fit mean and scale to integers of shape (N,), or to each column of shape (N, C)."""
        if options:
            raise UsageError(f"Gaussian.fit takes no {', '.join(options)}")
        values = as_finite(as_integers(data, "data", -MAX_OFFSET, MAX_OFFSET), "data")
        if values.ndim not in (1, 2) or not values.size:
            raise UsageError("data must be integers of shape (N,) or (N, C), and not empty")
        mean = np.rint(values.mean(axis=0) * 16).astype(np.int64)
        # Rounding to integers adds a variance of 1/12, which the tables' masses have in them.
        spread = np.sqrt(np.maximum(values.var(axis=0) - 1 / 12, 0))
        return cls(mean, scale_index(spread))

    @staticmethod
    def tables() -> Any:
        """The 1024 tables that `indexes` chooses among."""
        return fractional_tables()

    def indexes(
        self, shape: tuple[int, ...], context: tuple[ArrayLike, ArrayLike] | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        """What is subtracted from each symbol, and its table; see `siglum.entropy.fractional.indexes`."""
        given = (self.mean, self.scale) if context is None else tuple(context)
        if len(given) != 2:
            raise UsageError("the context is (mean, scale)")
        shift, table = indexes(*given)
        try:
            return np.broadcast_to(shift, shape), np.ascontiguousarray(np.broadcast_to(table, shape))
        except ValueError:
            raise UsageError(f"a context of shape {table.shape} does not fit symbols of {shape}") from None

    def steps(self, symbols: Any, context: Any = None) -> list[TableStep]:
        """One step; symbols are integers of magnitude at most 2**24, any shape."""
        values = as_integers(symbols, "symbols", -MAX_OFFSET, MAX_OFFSET)
        shift, table = self.indexes(values.shape, context)
        return [TableStep(values - shift, fractional_tables(), table)]

    def pull(self, decoder: Any, shape: Shape | None = None, context: Any = None) -> NDArray[np.int32]:
        """Decode symbols; without a shape they have that of the context."""
        default = None if context is None else np.broadcast_shapes(*(np.shape(part) for part in context))
        shift, table = self.indexes(as_shape(shape, default), context)
        centred: NDArray[np.int32] = decoder.decode(fractional_tables(), table)
        return centred + shift

    def config(self) -> dict[str, Any]:
        """Nothing: everything is in the tensors."""
        return {}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """``mean`` int32, ``scale`` uint8."""
        return {"mean": self.mean, "scale": self.scale}

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Gaussian:
        """Make the model again."""
        return cls(tensors["mean"], tensors["scale"])

    @classmethod
    def example(cls, seed: int, count: int) -> Example:
        """Integers with predicted means and scales."""
        rng = np.random.default_rng(seed)
        mean = rng.integers(-2000, 2000, (count, 3))
        scale = rng.integers(0, LEVELS, (count, 3))
        spread = 0.11 * (64 / 0.11) ** (scale / (LEVELS - 1))
        symbols = np.rint(mean / 16 + spread * rng.standard_normal((count, 3))).astype(np.int32)
        return Example(cls(np.zeros(3, np.int32), np.full(3, 40)), symbols, (mean, scale))
