"""Integer frequency tables of 16 to 24 bits, of any alphabet: what the precise coder codes with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.entropy.tables import Tables
from siglum.errors import UsageError

MIN_PRECISION = 16
MAX_PRECISION = 24
MAX_OFFSET = 2**24

_WEIGHT_BITS = 32


def normalise(weights: ArrayLike, precision: int) -> NDArray[np.uint32]:
    """Integer frequencies in proportion to integer weights, by the method of largest remainders.

    The same frequencies as `siglum.entropy.tables.normalise`, for many entries and up to 24 bits, in compiled
    code: 10**7 entries take about a second.

    Parameters
    ----------
    weights : int array, shape (n,), each >= 0
        At least one must be positive, and they must sum to less than 2**64.
    precision : int, 0 to 24
        The frequencies sum to ``2**precision``, which must be at least n.

    Returns
    -------
    frequencies : uint32 array, shape (n,), each >= 1

    Raises
    ------
    UsageError
        If these rules are broken.
    """
    values = np.asarray(weights)
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        raise UsageError("weights must be integers in a row")
    if not 0 <= precision <= MAX_PRECISION:
        raise UsageError(f"precision must be 0 to {MAX_PRECISION} bits, not {precision}")
    if values.size > 1 << precision:
        raise UsageError(f"{values.size} entries do not fit into {precision} bits")
    if values.size == 0 or values.min() < 0:
        raise UsageError("weights must not be negative, and one must be positive")
    frequencies = np.empty(values.shape, dtype=np.uint32)
    try:
        _kernels().precise_normalise(np.ascontiguousarray(values, dtype=np.uint64), precision, frequencies)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return frequencies


class PreciseTables:
    """Frequency tables of 16 to 24 bits that one step of the precise coder chooses among.

    Immutable, and safe to share between threads. An open table ends with an escape, by which symbols without
    an entry are coded; a closed table has none, and such a symbol is an error. An entry may have all of the
    ``2**precision`` parts: it then costs nothing.

    Memory: 26 bytes an entry and, to find the entry of a slot, 16 bytes for each of 2 to 4 buckets an entry
    (fewer from 2**15 buckets on, so that 64 tables stay in a cache of 1 MiB together).

    Parameters
    ----------
    frequencies : sequence of int arrays
        Table t has shape (n_t,), 1 <= n_t, entries from 1 that sum to ``2**precision``. Entry j is symbol
        ``offsets[t] + j``; the last entry of an open table is the escape.
    offsets : int array, shape (tables,), magnitude at most 2**24
    precision : int, 16 to 24
    closed : bool

    Attributes
    ----------
    precision, closed
    frequencies : tuple of uint32 arrays
        Read-only.
    offsets : int32 array, shape (tables,)
        Read-only.

    Raises
    ------
    UsageError
        If a table breaks these rules.

    Examples
    --------
    >>> tables = PreciseTables([[2**24 - 1, 1]], [7])  # almost always 7
    >>> float(tables.bits(np.full(1000, 7), 0)) < 0.0001
    True
    """

    def __init__(
        self,
        frequencies: Sequence[ArrayLike],
        offsets: ArrayLike,
        precision: int = MAX_PRECISION,
        closed: bool = False,
    ) -> None:
        if not MIN_PRECISION <= precision <= MAX_PRECISION:
            raise UsageError(f"precision must be {MIN_PRECISION} to {MAX_PRECISION} bits, not {precision}")
        self.precision = int(precision)
        self.closed = bool(closed)
        self.frequencies = tuple(_frequencies(f, t, self.precision) for t, f in enumerate(frequencies))
        starts = np.asarray(offsets)
        if starts.shape != (len(self.frequencies),) or not len(self.frequencies):
            raise UsageError(f"{len(self.frequencies)} tables need as many offsets, not shape {starts.shape}")
        if starts.dtype.kind not in "iu" or np.any(starts < -MAX_OFFSET) or np.any(starts > MAX_OFFSET):
            raise UsageError(f"offsets must be integers of magnitude at most {MAX_OFFSET}")
        self.offsets: NDArray[np.int32] = starts.astype(np.int32)
        self.offsets.flags.writeable = False

    @staticmethod
    def from_frequencies(
        frequencies: Sequence[ArrayLike],
        offsets: ArrayLike,
        precision: int = MAX_PRECISION,
        closed: bool = False,
    ) -> PreciseTables:
        """Take integer tables as they are; see the class."""
        return PreciseTables(frequencies, offsets, precision, closed)

    @staticmethod
    def from_pmf(
        pmf: Sequence[ArrayLike], offsets: ArrayLike, precision: int = MAX_PRECISION, closed: bool = False
    ) -> PreciseTables:
        """Round probabilities to integer tables: the same integers on every machine.

        Parameters
        ----------
        pmf : sequence of float arrays
            Of each table, shape (n,), without the escape. What the sum leaves short of 1 goes to the escape
            of an open table; a sum above 1 (counts, for instance) is only a matter of scale.
        offsets : int array, shape (tables,)
            Symbol of each table's first entry.
        precision : int, 16 to 24
        closed : bool

        Raises
        ------
        UsageError
            If a value is negative, infinite or not a number, a table is all zeros, or has more entries than
            ``2**precision``.
        """
        rounded = [_from_pmf(values, t, precision, closed) for t, values in enumerate(pmf)]
        return PreciseTables(rounded, offsets, precision, closed)

    @staticmethod
    def from_tables(tables: Tables) -> PreciseTables:
        """Take the table coder's tables at 16 bits: the same probabilities."""
        shift = MIN_PRECISION - tables.precision
        return PreciseTables(
            [frequencies << shift for frequencies in tables.frequencies],
            tables.offsets,
            MIN_PRECISION,
            tables.closed,
        )

    def __len__(self) -> int:
        return len(self.frequencies)

    def __repr__(self) -> str:
        return f"PreciseTables({len(self)} tables, precision={self.precision}, closed={self.closed})"

    @cached_property
    def sizes(self) -> NDArray[np.uint32]:
        """Entries of each table, with the escape of an open one; shape (tables,)."""
        return np.array([len(table) for table in self.frequencies], dtype=np.uint32)

    @cached_property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest symbol that has an entry in some table."""
        last = self.sizes.astype(np.int64) - (1 if self.closed else 2)
        return int(self.offsets.min()), int((self.offsets + last).max())

    @cached_property
    def native(self) -> Any:
        """The compiled form, built when first needed."""
        return _kernels().PreciseTables(
            np.concatenate(self.frequencies), self.sizes, self.offsets, self.precision, self.closed
        )

    @cached_property
    def _costs(self) -> NDArray[np.float64]:
        """Bits of each entry of all tables in a row."""
        return self.precision - np.log2(np.concatenate(self.frequencies).astype(np.float64))

    def bits(self, symbols: ArrayLike, indexes: ArrayLike) -> float:
        """Ideal cost of symbols under the integer tables, without the payloads of escapes.

        Parameters
        ----------
        symbols : int array, any shape
        indexes : int array of the same shape, or int
            Which table each symbol uses.

        Returns
        -------
        bits : float
        """
        values = np.asarray(symbols).astype(np.int64).ravel()
        which = np.broadcast_to(np.asarray(indexes, dtype=np.int64), np.shape(symbols)).ravel()
        if values.size == 0:
            return 0.0
        if which.min() < 0 or which.max() >= len(self):
            raise UsageError("an index names no table")
        last = self.sizes.astype(np.int64)[which] - (0 if self.closed else 1)
        number = values - self.offsets[which]
        outside = (number < 0) | (number >= last)
        if self.closed and np.any(outside):
            raise UsageError("a symbol is outside its closed table")
        starts = np.cumsum(self.sizes, dtype=np.int64) - self.sizes
        return float(self._costs[starts[which] + np.where(outside, last, number)].sum())


def _frequencies(table: ArrayLike, t: int, precision: int) -> NDArray[np.uint32]:
    values = np.asarray(table)
    if values.ndim != 1 or not len(values) or values.dtype.kind not in "iu":
        raise UsageError(f"table {t} must be integers in a row")
    if len(values) > 1 << precision or values.min() < 1 or values.max() > 1 << precision:
        raise UsageError(f"table {t}: frequencies must be 1 to {1 << precision}")
    if int(values.sum(dtype=np.int64)) != 1 << precision:
        raise UsageError(f"table {t}: frequencies must sum to {1 << precision}")
    result = values.astype(np.uint32)
    result.flags.writeable = False
    return result


def _from_pmf(table: ArrayLike, t: int, precision: int, closed: bool) -> NDArray[np.uint32]:
    values = np.asarray(table, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise UsageError(f"pmf {t} must be numbers in a row")
    if len(values) + (not closed) > 1 << precision:
        raise UsageError(f"pmf {t}: {len(values)} entries do not fit into {precision} bits")
    lowest, largest = float(values.min()), float(values.max())  # nan if one is
    if not (lowest >= 0 and 0 < largest < float("inf")):
        raise UsageError(f"pmf {t}: values must be finite, not negative, and not all zero")
    scaled = values
    if largest > 1:  # counts: a power of two, so that the scaling is exact
        scaled = np.ldexp(values, -int(np.frexp(largest)[1]))
    weights = np.rint(scaled * 2.0**_WEIGHT_BITS).astype(np.uint64)
    if not weights.any():  # denormally small: only the ratios can matter
        weights = np.rint(values / largest * 2.0**_WEIGHT_BITS).astype(np.uint64)
    if not closed:
        rest = max(0, (1 << _WEIGHT_BITS) - int(weights.sum())) if largest <= 1 else 0
        weights = np.append(weights, np.uint64(rest))
    return normalise(weights, precision)


def _kernels() -> Any:
    from siglum.kernels import _native

    return _native
