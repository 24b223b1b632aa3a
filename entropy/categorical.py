"""Static distributions over alphabets of up to 65,536 symbols; above 256 as cell and member."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.entropy.cells import Layout, build, without_tail
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
from siglum.entropy.tables import MAX_PRECISION, Tables, escape_order
from siglum.errors import BitstreamError, UsageError

MAX_ALPHABET = 2**16
MAX_CONTEXTS = 256

_MAX_WEIGHT = 2**31
_TAILS = (0.0, 2.0**-18, 2.0**-16, 2.0**-14, 2.0**-12)


@MODELS.register("categorical")
class Categorical(Model):
    """Any fixed distribution over 0..N-1, N up to 65,536, or one for each of up to 256 contexts.

    Symbols are ranked by falling weight and cut into at most 256 cells of at most 256 neighbours in rank, of
    about equal mass; a symbol is coded as its cell and, where that has more than one, its member. Symbols of
    weight 0 share an escape. The context is an int array of the symbols' shape (or one that broadcasts to it).

    Parameters
    ----------
    weights : int array, shape (N,) or (contexts, N), 0 to 2**31
        In proportion to the probabilities.

    Examples
    --------
    >>> model = Categorical.from_probabilities(1 / np.arange(1, 5001))
    >>> symbols = np.array([[0, 4999], [17, 3]])
    >>> model.decode(model.encode(symbols), shape=(2, 2)).tolist()
    [[0, 4999], [17, 3]]
    """

    name = "categorical"

    def __init__(self, weights: ArrayLike) -> None:
        array = np.asarray(weights)
        if array.ndim not in (1, 2) or not 1 <= array.shape[-1] <= MAX_ALPHABET or not array.size:
            raise UsageError(f"weights must be 1 to {MAX_ALPHABET} in a row, not of shape {array.shape}")
        if array.ndim == 2 and len(array) > MAX_CONTEXTS:
            raise UsageError(f"at most {MAX_CONTEXTS} contexts, not {len(array)}")
        array = as_integers(array, "weights", 0, _MAX_WEIGHT, np.int64)
        if not (array > 0).any(axis=-1).all():
            raise UsageError("weights must not all be zero")
        self.weights = array.astype(np.uint32)

    @classmethod
    def from_probabilities(cls, probabilities: ArrayLike, tail: float | None = None) -> Categorical:
        """Take a distribution in floating point.

        Parameters
        ----------
        probabilities : float array, shape (N,) or (contexts, N)
            Not negative, finite, not all zero; only their ratios count.
        tail : float, optional
            The least probable symbols, of this mass together, share the escape. By default the mass that
            makes the exact expected cost least.

        Raises
        ------
        UsageError
            If there are NaNs, infinities, negative values, only zeros, or more than 65,536 entries.
        """
        if np.ndim(probabilities) and not 1 <= np.shape(probabilities)[-1] <= MAX_ALPHABET:
            raise UsageError(f"1 to {MAX_ALPHABET} symbols, not {np.shape(probabilities)[-1]}")
        array = as_finite(probabilities, "probabilities")
        if array.ndim not in (1, 2) or not array.size:
            raise UsageError(f"probabilities must be of shape (N,) or (contexts, N), not {array.shape}")
        if np.any(array < 0) or not (array > 0).any(axis=-1).all():
            raise UsageError("probabilities must not be negative, and not all zero")
        scaled = array / array.max(axis=-1, keepdims=True)
        weights = np.rint(scaled * _MAX_WEIGHT).astype(np.int64)
        candidates = [
            cls(without_tail(weights, mass)) for mass in (_TAILS if tail is None else (float(tail),))
        ]
        if len(candidates) == 1:
            return candidates[0]
        shares = scaled / scaled.sum(axis=-1, keepdims=True)
        return min(candidates, key=lambda model: float((shares * model.costs()).sum()))

    @classmethod
    def fit(
        cls, data: Any, *, alphabet: int | None = None, context: Any = None, **options: Any
    ) -> Categorical:
        """Count symbols.

        Parameters
        ----------
        data : int array, any shape, 0 to 65,535
        alphabet : int, optional
            N; by default one more than the largest symbol.
        context : int array, optional
            Of the shape of the data; contexts without data count all symbols.
        """
        if options:
            raise UsageError(f"Categorical.fit takes no {', '.join(options)}")
        values = as_integers(data, "symbols", 0, MAX_ALPHABET - 1, np.int64).ravel()
        if not values.size:
            raise UsageError("there is nothing to count")
        n = int(values.max()) + 1 if alphabet is None else int(alphabet)
        if not int(values.max()) < n <= MAX_ALPHABET:
            raise UsageError(f"an alphabet of {n} does not fit symbols up to {int(values.max())}")
        if context is None:
            return cls.from_probabilities(np.bincount(values, minlength=n))
        which = np.broadcast_to(
            as_integers(context, "contexts", 0, MAX_CONTEXTS - 1, np.int64), np.shape(data)
        )
        contexts = int(which.max()) + 1
        counts = np.bincount(which.ravel() * n + values, minlength=contexts * n).reshape(contexts, n)
        counts[counts.sum(axis=1) == 0] = counts.sum(axis=0)
        return cls.from_probabilities(counts)

    @cached_property
    def _layout(self) -> Layout:
        return build(np.atleast_2d(self.weights).astype(np.int64))

    @property
    def tables(self) -> tuple[Tables | None, Tables | None]:
        """Tables of the cells (one a context) and of the members; None where a step is not needed."""
        return self._layout.cell_tables, self._layout.member_tables

    def costs(self) -> NDArray[np.float64]:
        """Exact bits of each symbol, of the shape of the weights: for rate-constrained choices of symbols."""
        layout = self._layout
        costs = np.zeros(layout.order.shape)
        if layout.cell_tables is None:
            return costs.reshape(self.weights.shape)
        for c, cells in enumerate(layout.cells.tolist()):
            table = layout.cell_tables.frequencies[c]
            number = layout.cell_of[c].astype(np.int64)
            beyond = np.maximum(number - cells, 0)
            order = escape_order(len(table))
            length = np.frexp((2 * beyond >> order) + 1.0)[1] - 1
            payload = np.where(number >= cells, 2 * length + 1 + order, 0)
            costs[c] = MAX_PRECISION - np.log2(table[np.minimum(number, len(table) - 1)]) + payload
            which = layout.member_table[c][np.minimum(layout.cell_of[c], cells)]
            for t in np.unique(which[which >= 0]):
                assert layout.member_tables is not None
                member = layout.member_tables.frequencies[t][layout.member_of[c][which == t]]
                costs[c, which == t] += MAX_PRECISION - np.log2(member)
        return costs.reshape(self.weights.shape)

    def steps(self, symbols: Any, context: Any = None) -> Iterator[TableStep]:
        """Cells, then the members of those cells that have several."""
        layout = self._layout
        contexts, n = layout.order.shape
        values = as_integers(symbols, "symbols", 0, n - 1)
        which = self._contexts(context, values.shape)
        if layout.cell_tables is None:
            return
        at = values.ravel() if contexts == 1 else which * n + values.ravel()
        cells = layout.cell_of.reshape(-1)[at]
        yield TableStep(cells, layout.cell_tables, 0 if contexts == 1 else which)
        if layout.member_tables is not None:
            table = layout.member_table.reshape(-1)[self._places(cells, which)]
            members = layout.member_of.reshape(-1)[at]
            several = table >= 0
            if not several.all():
                members, table = members[several], table[several]
            yield TableStep(members, layout.member_tables, table)

    def pull(self, decoder: Any, shape: Shape | None = None, context: Any = None) -> NDArray[np.int32]:
        """Decode symbols; without a shape they have that of the context."""
        full = as_shape(shape, None if context is None else np.shape(context))
        layout = self._layout
        contexts, n = layout.order.shape
        which = self._contexts(context, full)
        count = int(np.prod(full, dtype=np.int64))
        if layout.cell_tables is None:
            return np.zeros(full, np.int32)
        cells = decoder.decode(layout.cell_tables, 0 if contexts == 1 else which, shape=count)
        places = self._places(cells, which)
        rank = layout.first.reshape(-1)[places]
        if not layout.cell_tables.closed:  # an escape tells how far beyond the coded ranks
            if cells.size and int(cells.min()) < 0:
                raise BitstreamError("a symbol lies outside the alphabet: the file is damaged")
            rank += np.maximum(cells - layout.cells[which], 0).astype(np.int32)
        if layout.member_tables is not None:
            table = layout.member_table.reshape(-1)[places]
            several = table >= 0
            if several.all():
                rank += decoder.decode(layout.member_tables, table)
            else:
                rank[several] += decoder.decode(layout.member_tables, table[several])
        if rank.size and not 0 <= int(rank.min()) <= int(rank.max()) < n:
            raise BitstreamError("a symbol lies outside the alphabet: the file is damaged")
        return layout.order.reshape(-1)[rank if contexts == 1 else which * n + rank].reshape(full)

    def _contexts(self, context: Any, shape: tuple[int, ...]) -> Any:
        contexts = len(self._layout.order)
        if context is None:
            if contexts > 1:
                raise UsageError(f"this model needs a context: which of {contexts} distributions")
            return 0
        which = as_integers(context, "contexts", 0, contexts - 1)
        try:
            return np.ascontiguousarray(np.broadcast_to(which, shape)).ravel()
        except ValueError:
            raise UsageError(f"a context of shape {which.shape} does not fit symbols of {shape}") from None

    def _places(self, cells: NDArray[np.int32], which: Any) -> NDArray[Any]:
        """Where the cells stand in `first` and `member_table`; what is none stands behind the last cell."""
        layout = self._layout
        if layout.cell_tables is not None and layout.cell_tables.closed:
            inside = cells
        else:
            inside = np.clip(cells, 0, layout.cells[which]).astype(np.int32)
        width = layout.first.shape[1]
        return inside if len(layout.first) == 1 else inside + which * width

    def config(self) -> dict[str, Any]:
        """Nothing: everything is in the tensors."""
        return {}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """``weights`` uint32."""
        return {"weights": self.weights}

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Categorical:
        """Make the model again."""
        return cls(tensors["weights"])

    @classmethod
    def example(cls, seed: int, count: int) -> Example:
        """An alphabet of 3,000 under two contexts."""
        rng = np.random.default_rng(seed)
        probabilities = np.stack([1 / np.arange(1, 3001), rng.random(3000) ** 4])
        context = rng.integers(0, 2, count)
        cumulative = np.cumsum(probabilities / probabilities.sum(axis=1, keepdims=True), axis=1)
        draws = rng.random(count)
        symbols = [
            min(int(np.searchsorted(cumulative[c], u)), 2999) for c, u in zip(context, draws, strict=True)
        ]
        return Example(cls.from_probabilities(probabilities), np.array(symbols, np.int32), context)
