"""Adaptive counts: tables that follow the data block after block, so that nothing but symbols is transmitted.

Adaptive arithmetic coding as in Witten, Neal and Cleary (Communications of the ACM 30, 1987), with two
changes: tables are rebuilt after a block instead of after a symbol, so that a block is coded at the speed of
static tables, and improbable symbols share an escape. Counts are integers; both sides keep the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.entropy.models import (
    MODELS,
    Example,
    Model,
    Shape,
    TableStep,
    as_integers,
    as_shape,
)
from siglum.entropy.normalise import normalise_rows
from siglum.entropy.tables import MAX_ENTRIES, MAX_PRECISION, Tables
from siglum.errors import BitstreamError, UsageError

MAX_ALPHABET = 2**16
MAX_CONTEXTS = 4096
INCREMENT = 32
"""What one occurrence adds to a count: a count of 1 is 1/32 of an occurrence."""

_MAX_COUNT = 2**31
_MAX_CELLS = 2**22


@MODELS.register("adaptive")
class Adaptive(Model):
    """Counts of the symbols 0..N-1, one set a context, learnt while coding.

    After each block every count grows by 32 an occurrence; where the counts of a context then exceed
    ``64 * memory`` they are halved, rounding up, until they do not. Block b has as many symbols as an eighth
    of all before it, at least ``first_block`` and at most ``max_block``. The context is an int array of the
    symbols' shape (or one that broadcasts to it); symbols are taken in C order.

    Parameters
    ----------
    counts : int array, shape (N,) or (contexts, N), 1 to 2**31
        To begin with, in 1/32 of an occurrence. N up to 65,536.
    memory : int
        Occurrences that a context remembers at least: small for data that change. 16 to 2**24.
    first_block, max_block : int
        1 to 2**20 symbols.

    Examples
    --------
    >>> model = Adaptive(np.ones(64, np.int32))
    >>> symbols = np.random.default_rng(0).binomial(63, 0.2, 5000)
    >>> data = model.encode(symbols)
    >>> bool((model.decode(data, shape=5000) == symbols).all())
    True
    >>> len(data) < 5000 * 3.8 / 8
    True
    """

    name = "adaptive"

    def __init__(
        self, counts: ArrayLike, memory: int = 2**20, first_block: int = 64, max_block: int = 2**16
    ) -> None:
        array = np.asarray(counts)
        if array.ndim not in (1, 2) or not array.size or not 2 <= array.shape[-1] <= MAX_ALPHABET:
            raise UsageError(f"counts must be of shape (N,) or (contexts, N), N from 2 to {MAX_ALPHABET}")
        if array.size > _MAX_CELLS or len(np.atleast_2d(array)) > MAX_CONTEXTS:
            raise UsageError(f"at most {MAX_CONTEXTS} contexts and {_MAX_CELLS} counts")
        self.counts = as_integers(array, "counts", 1, _MAX_COUNT, np.int64)
        for what, value, low, high in (
            ("memory", memory, 16, 2**24),
            ("first_block", first_block, 1, 2**20),
            ("max_block", max_block, 1, 2**20),
        ):
            if not isinstance(value, int) or not low <= value <= high:
                raise UsageError(f"{what} must be an integer from {low} to {high}, not {value!r}")
        self.memory, self.first_block, self.max_block = memory, first_block, max_block

    @classmethod
    def fit(
        cls,
        data: Any,
        *,
        alphabet: int | None = None,
        context: Any = None,
        strength: int = 64,
        memory: int = 2**20,
        first_block: int = 64,
        max_block: int = 2**16,
        **options: Any,
    ) -> Adaptive:
        """Begin with counts of earlier data.

        Parameters
        ----------
        data : int array, any shape, 0 to 65,535
        alphabet : int, optional
            N; by default one more than the largest symbol, at least 2.
        context : int array, optional
            Of the shape of the data.
        strength : int
            How many occurrences the earlier data are worth, at most.
        memory, first_block, max_block : int
            Of the model.
        """
        if options:
            raise UsageError(f"Adaptive.fit takes no {', '.join(options)}")
        values = as_integers(data, "symbols", 0, MAX_ALPHABET - 1, np.int64).ravel()
        largest = int(values.max(initial=1))
        n = largest + 1 if alphabet is None else int(alphabet)
        which = np.zeros(values.shape, np.int64)
        if context is not None:
            contexts = as_integers(context, "contexts", 0, MAX_CONTEXTS - 1, np.int64)
            which = np.broadcast_to(contexts, np.shape(data)).ravel()
        if values.size and int(values.max()) >= n:
            raise UsageError(f"an alphabet of {n} does not fit symbols up to {int(values.max())}")
        rows = int(which.max(initial=0)) + 1
        seen = np.bincount(which * n + values, minlength=rows * n).reshape(rows, n)
        totals = np.maximum(seen.sum(axis=1, keepdims=True), 1)
        counts = 1 + seen * INCREMENT * np.minimum(totals, int(strength)) // totals
        return cls(counts if context is not None else counts[0], memory, first_block, max_block)

    def steps(self, symbols: Any, context: Any = None) -> Iterator[TableStep]:
        """One step a block."""
        state = _State(self)
        values = as_integers(symbols, "symbols", 0, state.counts.shape[1] - 1)
        which = state.contexts(context, values.shape)
        flat = values.ravel()
        for begin, end in self._blocks(flat.size):
            block = which[begin:end]
            tables = state.tables()
            numbers = state.rank[block, flat[begin:end]]
            yield TableStep(numbers, tables, 0 if len(tables) == 1 else block)
            state.update(flat[begin:end], block)

    def pull(self, decoder: Any, shape: Shape | None = None, context: Any = None) -> NDArray[np.int32]:
        """Decode symbols; without a shape they have that of the context."""
        full = as_shape(shape, None if context is None else np.shape(context))
        state = _State(self)
        which = state.contexts(context, full)
        flat = np.empty(which.size, np.int32)
        for begin, end in self._blocks(flat.size):
            block = which[begin:end]
            tables = state.tables()
            numbers = decoder.decode(tables, 0 if len(tables) == 1 else block, shape=end - begin)
            if int(numbers.min()) < 0 or int(numbers.max()) >= state.counts.shape[1]:
                raise BitstreamError("a symbol lies outside the alphabet: the file is damaged")
            flat[begin:end] = state.order[block, numbers]
            state.update(flat[begin:end], block)
        return flat.reshape(full)

    def _blocks(self, count: int) -> Iterator[tuple[int, int]]:
        begin = 0
        while begin < count:
            end = min(count, begin + min(self.max_block, max(self.first_block, begin // 8)))
            yield begin, end
            begin = end

    def config(self) -> dict[str, Any]:
        """``memory``, ``first_block``, ``max_block``."""
        return {"memory": self.memory, "first_block": self.first_block, "max_block": self.max_block}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """``counts`` int64."""
        return {"counts": self.counts}

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Adaptive:
        """Make the model again."""
        return cls(tensors["counts"], **config)

    @classmethod
    def example(cls, seed: int, count: int) -> Example:
        """Two contexts, with a distribution that drifts."""
        rng = np.random.default_rng(seed)
        context = rng.integers(0, 2, count)
        drift = np.linspace(0.1, 0.9, count)
        symbols = rng.binomial(299, np.where(context == 0, drift, 1 - drift)).astype(np.int32)
        return Example(cls(np.ones((2, 300), np.int64), memory=256, max_block=512), symbols, context)


class _State:
    """Counts while coding, and the order of symbols that tables are built in."""

    def __init__(self, model: Adaptive) -> None:
        self.counts = np.atleast_2d(model.counts).copy()
        self.limit = 2 * INCREMENT * model.memory
        self.order = self.rank = np.empty(self.counts.shape, np.int32)
        self._halve()

    def contexts(self, context: Any, shape: tuple[int, ...]) -> NDArray[np.int32]:
        """One context a symbol, flat."""
        rows = len(self.counts)
        if context is None:
            if rows > 1:
                raise UsageError(f"this model needs a context: which of {rows} sets of counts")
            context = 0
        which = as_integers(context, "contexts", 0, rows - 1)
        try:
            return np.ascontiguousarray(np.broadcast_to(which, shape)).ravel()
        except ValueError:
            raise UsageError(f"a context of shape {which.shape} does not fit symbols of {shape}") from None

    def tables(self) -> Tables:
        """Tables by falling count: entries down to half a unit of a table, then the escape."""
        n = self.counts.shape[1]
        self.order = np.argsort(-self.counts, axis=1, kind="stable").astype(np.int32)
        self.rank = np.empty_like(self.order)
        np.put_along_axis(
            self.rank, self.order, np.broadcast_to(np.arange(n, dtype=np.int32), self.order.shape), 1
        )
        most = min(n, MAX_ENTRIES - 1)
        ranked = np.take_along_axis(self.counts, self.order[:, :most], axis=1)
        totals = self.counts.sum(axis=1)
        entries = np.maximum(1, (ranked << MAX_PRECISION + 1 >= totals[:, None]).sum(axis=1))
        weights = np.zeros((len(ranked), most + 1), np.int64)
        kept = np.arange(most) < entries[:, None]
        weights[:, :most] = np.where(kept, ranked, 0)
        weights[np.arange(len(ranked)), entries] = totals - weights.sum(axis=1)
        frequencies = normalise_rows(weights, entries + 1, MAX_PRECISION)
        rows = [row[: size + 1] for row, size in zip(frequencies, entries, strict=True)]
        return Tables(rows, np.zeros(len(rows), np.int32), MAX_PRECISION)

    def update(self, symbols: NDArray[np.int32], which: NDArray[np.int32]) -> None:
        """Count a block."""
        n = self.counts.shape[1]
        seen = np.bincount(which.astype(np.int64) * n + symbols, minlength=self.counts.size)
        self.counts += INCREMENT * seen.reshape(self.counts.shape)
        self._halve()

    def _halve(self) -> None:
        while (many := self.counts.sum(axis=1) > self.limit + self.counts.shape[1]).any():
            self.counts[many] = (self.counts[many] + 1) >> 1
