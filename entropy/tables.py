"""Integer frequency tables: what the coders share, exact on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.errors import UsageError

MAX_PRECISION = 12
MAX_ENTRIES = 256
MAX_OFFSET = 2**24

_WEIGHT_BITS = 32


def normalise(weights: Sequence[int], precision: int) -> NDArray[np.uint32]:
    """Integer frequencies in proportion to integer weights, by the method of largest remainders.

    Entries that would get less than one of the ``2**precision`` parts get exactly one; the others share what
    is left: rounded down, then one more each in the order of their remainders, ties to the lowest index. Only
    integers are involved, so that every machine builds the same table.

    Parameters
    ----------
    weights : sequence of int, length n, each >= 0
        At least one must be positive.
    precision : int
        The frequencies sum to ``2**precision``, which must be at least n.

    Returns
    -------
    frequencies : uint32 array, shape (n,), each >= 1
    """
    total = 1 << precision
    if len(weights) > total:
        raise UsageError(f"{len(weights)} entries do not fit into {precision} bits")
    if min(weights, default=0) < 0 or sum(weights) <= 0:
        raise UsageError("weights must not be negative, and one must be positive")
    frequencies = [1] * len(weights)
    shared = list(range(len(weights)))
    left, weight = total, sum(weights)
    while True:  # at most n rounds: each takes at least one entry out
        small = {i for i in shared if weights[i] * left < weight}
        if not small:
            break
        shared = [i for i in shared if i not in small]
        left -= len(small)
        weight -= sum(weights[i] for i in small)
    for i in shared:
        frequencies[i] = weights[i] * left // weight
    missing = total - sum(frequencies)
    by_remainder = sorted(shared, key=lambda i: (-(weights[i] * left % weight), i))
    for i in by_remainder[:missing]:
        frequencies[i] += 1
    return np.array(frequencies, dtype=np.uint32)


def escape_order(entries: int) -> int:
    """Order of the exp-Golomb code of a table's escapes: wide tables have distant escapes."""
    return max(0, entries.bit_length() - 4)


class Tables:
    """Frequency tables that one step of coding chooses among, symbol by symbol.

    Immutable, and safe to share between threads. Build with `from_frequencies` or `from_pmf`. The last entry
    of every table is the escape, unless the tables are closed: symbols that have no entry of their own are coded
    by it and a payload aside.

    Attributes
    ----------
    precision : int
        Every table sums to ``2**precision``.
    closed : bool
        There are no escapes; the last entry of a table is a symbol too.
    frequencies : tuple of uint32 arrays
        Of each table, escape last. Read-only.
    offsets : int32 array, shape (tables,)
        Symbol of entry 0. Read-only.

    Examples
    --------
    >>> tables = Tables.from_frequencies([[2048, 1024, 1023, 1]], [-1])
    >>> float(tables.bits(np.array([-1, 0], dtype=np.int32), 0))
    3.0
    """

    def __init__(
        self,
        frequencies: Sequence[ArrayLike],
        offsets: ArrayLike,
        precision: int = MAX_PRECISION,
        closed: bool = False,
    ) -> None:
        if not 1 <= precision <= MAX_PRECISION:
            raise UsageError(f"precision must be 1 to {MAX_PRECISION} bits, not {precision}")
        self.precision = int(precision)
        self.closed = bool(closed)
        self.frequencies = tuple(
            _frequencies(table, t, self.precision) for t, table in enumerate(frequencies)
        )
        starts = np.asarray(offsets)
        if starts.shape != (len(self.frequencies),) or not len(self.frequencies):
            raise UsageError(f"{len(self.frequencies)} tables need as many offsets, not shape {starts.shape}")
        if starts.dtype.kind not in "iu" or np.any(starts < -MAX_OFFSET) or np.any(starts > MAX_OFFSET):
            raise UsageError(f"offsets must be integers of magnitude at most {MAX_OFFSET}")
        self.offsets = starts.astype(np.int32)
        self.offsets.flags.writeable = False

    @staticmethod
    def from_frequencies(
        frequencies: Sequence[ArrayLike],
        offsets: ArrayLike,
        precision: int = MAX_PRECISION,
        closed: bool = False,
    ) -> Tables:
        """Take integer tables as they are.

        Parameters
        ----------
        frequencies : sequence of int arrays
            Table t has shape (n_t,), 2 <= n_t <= 256, entries from 1 to ``2**precision - 1`` that sum to
            ``2**precision``. Entry ``j < n_t - 1`` is symbol ``offsets[t] + j``; the last entry is the
            escape.
        offsets : int array, shape (tables,), magnitude at most 2**24
        precision : int, 1 to 12
        closed : bool
            No table has an escape: its last entry is a symbol as any other, so that all 256 bytes have one
            of their own. A symbol without an entry is then an error of the encoder.

        Raises
        ------
        UsageError
            If a table breaks these rules.
        """
        return Tables(frequencies, offsets, precision, closed)

    @staticmethod
    def from_pmf(
        pmf: Sequence[ArrayLike], offsets: ArrayLike, precision: int = MAX_PRECISION, closed: bool = False
    ) -> Tables:
        """Round probabilities to integer tables.

        Parameters
        ----------
        pmf : sequence of float arrays
            Of each table, shape (n,), 1 <= n <= 255, without the escape. What the sum leaves short of 1 goes
            to the escape; a sum above 1 (counts, for instance) is only a matter of scale. Of closed tables
            2 <= n <= 256, and every sum is only a matter of scale.
        offsets : int array, shape (tables,)
            Symbol of each table's first entry.
        precision : int, 1 to 12
        closed : bool
            As in `from_frequencies`.

        Raises
        ------
        UsageError
            If a value is negative, infinite or not a number, or if a table is all zeros.
        """
        tables = [_from_pmf(table, t, precision, closed) for t, table in enumerate(pmf)]
        return Tables(tables, offsets, precision, closed)

    def __len__(self) -> int:
        return len(self.frequencies)

    def __repr__(self) -> str:
        return f"Tables({len(self)} tables, precision={self.precision})"

    @cached_property
    def sizes(self) -> NDArray[np.uint32]:
        """Entries of each table, with the escape; shape (tables,)."""
        return np.array([len(table) for table in self.frequencies], dtype=np.uint32)

    @cached_property
    def native(self) -> Any:
        """The compiled form, built when first needed."""
        from siglum.kernels import _native

        return _native.RansTables(
            np.concatenate(self.frequencies), self.sizes, self.offsets, self.precision, self.closed
        )

    @cached_property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest symbol that has an entry in some table."""
        last = self.sizes.astype(np.int64) - (1 if self.closed else 2)
        return int(self.offsets.min()), int((self.offsets + last).max())

    @property
    def fingerprint(self) -> int:
        """CRC32C of the integer tables, by which a frame of `siglum.entropy.rans.compress` names them."""
        return int(self.native.fingerprint)

    @cached_property
    def _costs(self) -> NDArray[np.float64]:
        """Bits of each entry of all tables in a row."""
        return self.precision - np.log2(np.concatenate(self.frequencies).astype(np.float64))

    def bits(self, symbols: ArrayLike, indexes: ArrayLike) -> float:
        """Ideal cost of symbols under the integer tables, with the payloads of escapes.

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
        escaped = (number < 0) | (number >= last)
        if self.closed and escaped.any():
            raise UsageError("a symbol has no entry, and these tables have no escapes")
        starts = np.cumsum(self.sizes, dtype=np.int64) - self.sizes
        total = float(self._costs[starts[which] + np.where(escaped, last, number)].sum())
        number, last = number[escaped], last[escaped]
        folded = np.where(number >= last, 2 * (number - last), -2 * number - 1)
        order = np.array([escape_order(int(n)) for n in self.sizes], dtype=np.int64)[which[escaped]]
        lengths = np.frexp((folded >> order).astype(np.float64) + 1)[1] - 1
        return total + float((2 * lengths + 1 + order).sum())


def _frequencies(table: ArrayLike, t: int, precision: int) -> NDArray[np.uint32]:
    values = np.asarray(table)
    if values.ndim != 1 or not 2 <= len(values) <= MAX_ENTRIES or values.dtype.kind not in "iu":
        raise UsageError(f"table {t} must be 2 to {MAX_ENTRIES} integers in a row")
    if values.min() < 1 or values.max() >= 1 << precision or int(values.sum()) != 1 << precision:
        raise UsageError(f"table {t}: frequencies must be at least 1 and sum to {1 << precision}")
    result = values.astype(np.uint32)
    result.flags.writeable = False
    return result


def _from_pmf(table: ArrayLike, t: int, precision: int, closed: bool) -> NDArray[np.uint32]:
    values = np.asarray(table, dtype=np.float64)
    fewest, most = (2, MAX_ENTRIES) if closed else (1, MAX_ENTRIES - 1)
    if values.ndim != 1 or not fewest <= len(values) <= most:
        raise UsageError(f"pmf {t} must be {fewest} to {most} numbers in a row")
    if not np.all(np.isfinite(values)) or np.any(values < 0) or not np.any(values > 0):
        raise UsageError(f"pmf {t}: values must be finite, not negative, and not all zero")
    largest = float(values.max())
    if largest > 1:  # counts: a power of two, so that the scaling is exact
        values = np.ldexp(values, -int(np.frexp(largest)[1]))
    weights = [round(float(p) * 2**_WEIGHT_BITS) for p in values]
    if not any(weights):  # denormally small: only the ratios can matter
        weights = [round(float(p / largest) * 2**_WEIGHT_BITS) for p in values]
    if not closed:
        weights.append(0 if largest > 1 else max(0, (1 << _WEIGHT_BITS) - sum(weights)))
    return normalise(weights, precision)
