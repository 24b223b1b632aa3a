"""What all probability models share: steps of coding, exact costs, and a registry.

A model says how probable symbols are, in integers. It turns symbols into *steps*, each of which goes into a
running `siglum.entropy.rans.Encoder`, and takes them from a running `siglum.entropy.rans.Decoder` in the same
order, so that several models share one stream. Whatever the decoder's frequencies depend on is integer
arithmetic; floating point occurs in `fit` and nowhere after it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.entropy import rans
from siglum.entropy.tables import Tables
from siglum.errors import UsageError
from siglum.registry import Registry

Shape = int | tuple[int, ...]
Self = TypeVar("Self", bound="Model")

MODELS: Registry[Model] = Registry(
    "probability model",
    "siglum.models",
    {
        "adaptive": "siglum.entropy.adaptive",
        "categorical": "siglum.entropy.categorical",
        "codebook": "siglum.entropy.codebook",
        "gaussian": "siglum.entropy.gaussian_model",
        "mixture": "siglum.entropy.mixture",
        "multivariate": "siglum.entropy.multivariate",
    },
)


@dataclass(frozen=True)
class TableStep:
    """Symbols that choose among tables.

    Attributes
    ----------
    symbols : int32 array
    tables : Tables
    indexes : uint8, uint16 or int32 array of the same shape, or int
        Which table each symbol uses.
    """

    symbols: NDArray[np.int32]
    tables: Tables
    indexes: Any

    def bits(self) -> float:
        """Exact cost under the integer tables, payloads of escapes included."""
        return self.tables.bits(self.symbols, self.indexes)

    def push(self, encoder: Any) -> None:
        """Append the step to an encoder."""
        encoder.push(self.symbols, self.tables, self.indexes)


@dataclass(frozen=True)
class DirectStep:
    """Symbols that bring a table each, of which only their own entries are given.

    Attributes
    ----------
    starts, frequencies : uint16 arrays, shape (n,)
        Symbol i has ``[start, start + frequency)`` of the ``2**precision`` slots.
    precision : int, 1 to 15
    """

    starts: NDArray[np.uint16]
    frequencies: NDArray[np.uint16]
    precision: int

    def bits(self) -> float:
        """Exact cost."""
        logs = np.log2(self.frequencies.astype(np.float64))
        return float(self.precision * logs.size - logs.sum())

    def push(self, encoder: Any) -> None:
        """Append the step to an encoder."""
        encoder.push_direct(self.starts, self.frequencies, self.precision)


Step = TableStep | DirectStep


class Example(NamedTuple):
    """A small model with something to code, for the tests that every model joins."""

    model: Model
    symbols: NDArray[Any]
    context: Any


class Model(ABC):
    """Probabilities of symbols in integer form.

    A new model implements `fit`, `steps`, `pull`, `config`, `tensors`, `restore` and `example`, and is
    registered in `MODELS`. Symbols are int32 arrays unless the model says otherwise; what a *context* is, the
    model says.
    """

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def fit(cls: type[Self], data: Any, **options: Any) -> Self:
        """Fit the model to data; the only place where floating point is used."""

    @abstractmethod
    def steps(self, symbols: Any, context: Any = None) -> Iterable[Step]:
        """Return what a coder codes for these symbols, in order: the tables and indexes of each step."""

    @abstractmethod
    def pull(self, decoder: Any, shape: Shape | None = None, context: Any = None) -> NDArray[Any]:
        """Decode symbols from a running decoder: the counterpart of `push`."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Numbers that JSON can hold; with `tensors` all that `restore` needs."""

    @abstractmethod
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Integer arrays of the model."""

    @classmethod
    @abstractmethod
    def restore(cls: type[Self], config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Make the model again from its `config` and `tensors`."""

    @classmethod
    @abstractmethod
    def example(cls, seed: int, count: int) -> Example:
        """Return a small model, symbols (``count`` along the first axis) and their context."""

    def reconstruct(self, symbols: Any, context: Any = None) -> NDArray[Any]:
        """Return what decoding gives: the symbols themselves, unless the model quantises."""
        return np.asarray(symbols)

    def push(self, encoder: Any, symbols: Any, context: Any = None) -> None:
        """Append symbols to a running encoder.

        Parameters
        ----------
        encoder : siglum.entropy.rans.Encoder, or one with its methods
        symbols : int array
            Of the shape that the model expects.
        context : optional
            What the model's probabilities depend on.

        Raises
        ------
        UsageError
            If symbols or context are not what the model codes.
        """
        for step in self.steps(symbols, context):
            step.push(encoder)

    def bits(self, symbols: Any, context: Any = None) -> float:
        """Exact cost of the symbols under the integer form, escapes included, without the coder's states."""
        return sum((step.bits() for step in self.steps(symbols, context)), 0.0)

    def encode(self, symbols: Any, context: Any = None) -> bytes:
        """Code symbols alone, in one payload."""
        encoder = rans.Encoder()
        self.push(encoder, symbols, context)
        return encoder.finish()

    def decode(self, data: Any, context: Any = None, shape: Shape | None = None) -> NDArray[Any]:
        """Decode what `encode` made.

        Parameters
        ----------
        data : bytes-like
        context : optional
            As given to `encode`.
        shape : int or tuple of int, optional
            Of the symbols, where the context does not tell.

        Raises
        ------
        BitstreamError
            If the payload is cut off or damaged. Damage may also show as wrong symbols: a checksum finds the
            rest.
        UsageError
            If the shape is missing or does not fit.
        """
        decoder = rans.Decoder(data)
        symbols = self.pull(decoder, shape, context)
        decoder.finish()
        return symbols


def as_integers(
    values: ArrayLike, what: str, low: int, high: int, dtype: type[np.signedinteger[Any]] = np.int32
) -> NDArray[Any]:
    """Array of integers within ``low`` to ``high``, of ``dtype``; a `UsageError` names ``what``."""
    array = np.asarray(values)
    if array.size == 0 and array.dtype == np.float64:
        array = array.astype(dtype)
    if array.dtype.kind not in "iu":
        raise UsageError(f"{what} must be integers, not {array.dtype}")
    if array.size and (int(array.min()) < low or int(array.max()) > high):
        raise UsageError(
            f"{what} must lie within {low} to {high}, not {int(array.min())} to {int(array.max())}"
        )
    return array.astype(dtype, copy=False)


def as_finite(values: ArrayLike, what: str) -> NDArray[np.float64]:
    """Float64 array without NaN or infinity; a `UsageError` names ``what``."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{what} must be numbers") from None
    if not np.isfinite(array).all():
        raise UsageError(f"{what} must be finite: there is a NaN or an infinity")
    return array


def as_shape(shape: Shape | None, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Shape as a tuple, or ``default``; a `UsageError` where both are missing or one is negative."""
    if shape is None:
        if default is None:
            raise UsageError("decoding needs the shape of the symbols")
        return default
    result = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    if any(int(n) < 0 for n in result):
        raise UsageError(f"a shape cannot have negative sizes: {result}")
    return tuple(int(n) for n in result)
