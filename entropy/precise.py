"""The precise coder: rANS with 64-bit states and 32-bit words (Duda, arXiv 1311.2540).

For tables of 16 to 24 bits and of any alphabet (`siglum.entropy.precise_tables.PreciseTables`), near-determin-
istic symbols, and bits-back coding. At most 0.01 % over the entropy; about a tenth as fast as
`siglum.entropy.rans`, whose interface `Encoder` and `Decoder` share.

Payload of a chunk, little-endian, bits from the least significant:

===================  =====================================================================================
1 byte               bits 0-1: log2 of the lanes (0 to 2); bit 2: a side stream of escapes follows;
                     bits 3-7: exponent of lane 0
varint               bytes of the side stream; only with bit 2, then at least 1
bit string           exponents of the other lanes, 5 bits each; then of each lane, lane 0 first, the lowest
                     31 + exponent bits of its final state ``2**(31 + exponent) + bits``; filled with zeros
32-bit words         in the order of reading
side stream          payloads of the escapes in symbol order, as in `siglum.entropy.rans`
===================  =====================================================================================

A chunk without any symbol is the single byte 0. Symbol i of a step is on lane ``i % lanes``; every step
starts at lane 0. To decode: ``slot = x mod 2**precision`` names the entry with ``start <= slot < start +
frequency``, then ``x = frequency * (x >> precision) + slot - start``, and if ``x < 2**31``: ``x = x << 32 |
next word``. At the end all states are ``2**31`` and nothing is left. So states are in [2**31, 2**63): 7 bits
above the widest table at least, 22 on average, which keeps the loss by rounding below 0.01 %.

`Stack` is the same on one state, in place: bytes are the state (u64) and the words in the order of reading.
An escape is followed, on the same state, by the number of its nibbles and its nibbles from the lowest, 4
uniform bits each; these are the streams of 64-bit rANS coders with bypass (`siglum.entropy.compat`).
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.entropy.coders import CODERS, Coder
from siglum.entropy.precise_tables import PreciseTables
from siglum.entropy.rans import as_bytes, as_indexes, as_symbols, native, result_array
from siglum.entropy.tables import Tables
from siglum.errors import BitstreamError, MalformedHeader, Truncated, UsageError

__all__ = ["Decoder", "Encoder", "PreciseTables", "Stack", "decode", "encode"]

AnyTables = PreciseTables | Tables

_SCALED: WeakKeyDictionary[Tables, PreciseTables] = WeakKeyDictionary()


class Encoder:
    """Collects the steps of a chunk; `finish` codes them, last symbol first.

    Parameters
    ----------
    lanes : int, optional
        1, 2 or 4 interleaved states: more are faster and cost about 5 bytes each. By default as many as cost
        at most 0.005 % of the chunk.

    Examples
    --------
    >>> tables = PreciseTables.from_pmf([[0.999, 0.0005]], [0])
    >>> payload = encode(np.zeros(10_000, dtype=np.int32), tables, 0)
    >>> len(payload)  # 14.4 bits of information
    7
    """

    def __init__(self, lanes: int | None = None) -> None:
        if lanes is not None and lanes not in (1, 2, 4):
            raise UsageError(f"lanes must be 1, 2 or 4, not {lanes}")
        self._native = native().PreciseEncoder(lanes or 0)

    def push(self, symbols: ArrayLike, tables: AnyTables, indexes: ArrayLike) -> None:
        """Append one step.

        Parameters
        ----------
        symbols : int array, any shape
            NumPy, or a torch tensor on the CPU; an int32 array is not copied.
        tables : PreciseTables, or Tables of the table coder
        indexes : uint8, uint16 or int32 array of the same shape, or int
            Which table each symbol uses.

        Raises
        ------
        UsageError
            If an index names no table, a symbol lies more than 2**31 beyond its table, or a closed table
            lacks a symbol.
        """
        values, chosen, which = _arguments(symbols, tables, indexes)
        _call(self._native.push, chosen.native, values.ravel(), which)

    def push_direct(self, starts: ArrayLike, frequencies: ArrayLike, precision: int) -> None:
        """Append one step without tables: symbol i is ``[starts[i], starts[i] + frequencies[i])`` of 2**precision.

        Parameters
        ----------
        starts, frequencies : int arrays, shape (n,)
            Frequencies are at least 1; one of ``2**precision`` costs nothing.
        precision : int, 1 to 24

        Raises
        ------
        UsageError
            If an interval is empty or leaves ``2**precision``.
        """
        _call(self._native.push_direct, _unsigned(starts), _unsigned(frequencies), _precision(precision))

    def finish(self) -> bytes:
        """Return the payload of all steps; the encoder is empty afterwards."""
        payload: bytes = self._native.finish()
        return payload


class Decoder:
    """Decodes a chunk step by step; the tables of a step may depend on the symbols of the steps before.

    Parameters
    ----------
    data : bytes-like
        One whole payload. It is not copied.

    Raises
    ------
    Truncated, MalformedHeader
    """

    def __init__(self, data: Any) -> None:
        self._native = native().PreciseDecoder()
        _check(self._native.open(as_bytes(data)))

    @property
    def lanes(self) -> int:
        """1, 2 or 4."""
        lanes: int = self._native.lanes
        return lanes

    def decode(
        self,
        tables: AnyTables,
        indexes: ArrayLike,
        shape: int | tuple[int, ...] | None = None,
        out: NDArray[np.int32] | None = None,
    ) -> NDArray[np.int32]:
        """Decode one step; as `siglum.entropy.rans.Decoder.decode`.

        Raises
        ------
        Truncated
            If the words or the escapes end too early.
        BitstreamError
            If an escape is longer than 32 bits or leaves int32.
        UsageError
            If an index names no table, or shapes differ.
        """
        symbols, chosen, which = _results(indexes, shape, out, tables)
        _check(_call(self._native.decode, chosen.native, which, symbols.reshape(-1)))
        return symbols

    def decode_direct(self, cumulative: ArrayLike, precision: int) -> NDArray[np.int32]:
        """Decode one step in which every symbol has a table of its own.

        Parameters
        ----------
        cumulative : int array, shape (n, entries + 1)
            Rows that rise from 0 to ``2**precision``: entry k of row i is ``[row[k], row[k + 1])``.
        precision : int, 1 to 24

        Returns
        -------
        numbers : int32 array, shape (n,)
            Entries, 0 to entries - 1.

        Raises
        ------
        UsageError
            If a row does not rise from 0 to ``2**precision``.
        Truncated
        """
        return _decode_rows(self._native.decode_direct, cumulative, precision)

    def begin_step(self) -> None:
        """Start a step for `peek` and `advance`, at lane 0. `decode` and `decode_direct` do so themselves."""
        self._native.begin_step()

    def peek(self, count: int, precision: int) -> NDArray[np.uint32]:
        """Slots, 0 to 2**precision - 1, of the next ``count`` symbols (at most `lanes`) of the running step."""
        slots = np.empty(count, dtype=np.uint32)
        _call(self._native.peek, _precision(precision), slots)
        return slots

    def advance(self, starts: ArrayLike, frequencies: ArrayLike, precision: int) -> None:
        """Take the symbols whose slots `peek` showed: each interval must hold its slot.

        Raises
        ------
        UsageError
            If one does not, or leaves ``2**precision``; nothing is taken then.
        Truncated
        """
        _check(_call(self._native.advance, _unsigned(starts), _unsigned(frequencies), _precision(precision)))

    def finish(self) -> None:
        """Check that the chunk ends here.

        Raises
        ------
        BitstreamError
            If a state is not back at its start, or words or escapes are left over.
        """
        _check(self._native.finish())


class Stack:
    """Symbols on one state, last in, first out: what bits-back coding needs (Townsend, arXiv 1901.04866).

    Encoding a symbol makes the stack larger by its information, decoding one with *another* distribution
    makes it smaller: a latent can be drawn from a posterior by decoding bits that are already there.

    Parameters
    ----------
    data : bytes-like, optional
        What `to_bytes` returned. Without it, the stack is empty.

    Raises
    ------
    Truncated, MalformedHeader

    Examples
    --------
    >>> tables = PreciseTables.from_pmf([[0.5, 0.25, 0.25]], [0], closed=True)
    >>> stack = Stack()
    >>> stack.push(np.array([2, 0, 1], dtype=np.int32), tables, 0)
    >>> round(stack.bits, 2)
    5.0
    >>> stack.pop(tables, 0, shape=3).tolist()
    [2, 0, 1]
    """

    def __init__(self, data: Any = None) -> None:
        self._native = native().PreciseStack()
        if data is not None:
            _check(self._native.restore(as_bytes(data)))

    @staticmethod
    def from_bits(bits: Any) -> Stack:
        """A stack that holds given bits, for decoding from them before anything was encoded.

        Parameters
        ----------
        bits : bytes-like
            A multiple of 4 bytes; random ones, as a rule.
        """
        stack = Stack()
        if stack._native.fill(as_bytes(bits)):
            raise UsageError("the bits to start from must be a multiple of 4 bytes")
        return stack

    @property
    def bits(self) -> float:
        """Information on the stack, in bits: 0 when it is empty."""
        return 32.0 * float(self._native.words) + float(np.log2(float(self._native.state))) - 31.0

    def push(self, symbols: ArrayLike, tables: AnyTables, indexes: ArrayLike) -> None:
        """Encode symbols, the last one first, so that `pop` returns them in order; see `Encoder.push`.

        Escapes of open tables go on the same stack.
        """
        values, chosen, which = _arguments(symbols, tables, indexes)
        _call(self._native.push, chosen.native, values.ravel(), which)

    def pop(
        self,
        tables: AnyTables,
        indexes: ArrayLike,
        shape: int | tuple[int, ...] | None = None,
        out: NDArray[np.int32] | None = None,
    ) -> NDArray[np.int32]:
        """Decode symbols; see `Decoder.decode`.

        Raises
        ------
        Truncated
            If the stack holds too little. It stays as it was.
        BitstreamError
            If an escape leaves int32: the data is damaged. The stack stays as it was.
        """
        symbols, chosen, which = _results(indexes, shape, out, tables)
        _check(_call(self._native.pop, chosen.native, which, symbols.reshape(-1)))
        return symbols

    def push_direct(self, starts: ArrayLike, frequencies: ArrayLike, precision: int) -> None:
        """Encode symbols given as intervals, the last one first; see `Encoder.push_direct`."""
        _call(self._native.push_direct, _unsigned(starts), _unsigned(frequencies), _precision(precision))

    def pop_direct(self, cumulative: ArrayLike, precision: int) -> NDArray[np.int32]:
        """Decode symbols that have a table each; see `Decoder.decode_direct`."""
        return _decode_rows(self._native.pop_direct, cumulative, precision)

    def peek(self, precision: int) -> int:
        """Slot of the symbol on top, 0 to 2**precision - 1."""
        slot: int = _call(self._native.peek, _precision(precision))
        return slot

    def advance(self, start: int, frequency: int, precision: int) -> None:
        """Take the symbol on top, whose interval must hold the slot that `peek` showed."""
        status = _call(self._native.advance, *_unsigned([start, frequency]).tolist(), _precision(precision))
        if status == 2:
            raise UsageError("an interval does not hold its slot")
        _check(status)

    def finish(self) -> None:
        """Check that the stack is empty.

        Raises
        ------
        BitstreamError
        """
        if self._native.words or self._native.state != 1 << 31:
            _check(3)

    def to_bytes(self) -> bytes:
        """The whole stack: its state as 8 bytes, then its words."""
        data: bytes = self._native.to_bytes()
        return data


def encode(symbols: ArrayLike, tables: AnyTables, indexes: ArrayLike, lanes: int | None = None) -> bytes:
    """Code a single step; see `Encoder`."""
    encoder = Encoder(lanes)
    encoder.push(symbols, tables, indexes)
    return encoder.finish()


def decode(
    data: Any, tables: AnyTables, indexes: ArrayLike, shape: int | tuple[int, ...] | None = None
) -> NDArray[np.int32]:
    """Decode a chunk of a single step, to its end; see `Decoder`."""
    decoder = Decoder(data)
    symbols = decoder.decode(tables, indexes, shape)
    decoder.finish()
    return symbols


def _tables(tables: AnyTables) -> PreciseTables:
    if isinstance(tables, PreciseTables):
        return tables
    if tables not in _SCALED:
        _SCALED[tables] = PreciseTables.from_tables(tables)
    return _SCALED[tables]


def _arguments(symbols: ArrayLike, tables: AnyTables, indexes: ArrayLike) -> Any:
    values: NDArray[np.int32] = np.asarray(as_symbols(symbols), dtype=np.int32)
    chosen: Any = _tables(tables)
    return values, chosen, as_indexes(indexes, values.shape, chosen)


def _results(indexes: ArrayLike, shape: int | tuple[int, ...] | None, out: Any, tables: AnyTables) -> Any:
    chosen: Any = _tables(tables)
    symbols = result_array(indexes, shape, out, chosen)
    if symbols.dtype != np.int32:
        raise UsageError(f"out must be an int32 array, not {symbols.dtype}")
    return symbols, chosen, as_indexes(indexes, symbols.shape, chosen)


def _unsigned(values: ArrayLike) -> NDArray[np.uint32]:
    array = np.asarray(values)
    if array.size and (array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= 2**32):
        raise UsageError("starts, frequencies and cumulative frequencies must be integers from 0")
    return np.ascontiguousarray(array, dtype=np.uint32)


def _precision(precision: int) -> int:
    if not 1 <= precision <= 24:
        raise UsageError(f"precision must be 1 to 24 bits, not {precision}")
    return int(precision)


def _decode_rows(call: Any, cumulative: ArrayLike, precision: int) -> NDArray[np.int32]:
    rows = _unsigned(cumulative)
    if rows.ndim != 2:
        raise UsageError("cumulative frequencies must be a row for each symbol")
    numbers = np.empty(len(rows), dtype=np.int32)
    status = _call(call, rows, _precision(precision), numbers)
    if status == 2:
        raise UsageError("cumulative frequencies must rise from 0 to 2**precision")
    _check(status)
    return numbers


def _call(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except (ValueError, IndexError, TypeError) as error:
        raise UsageError(str(error)) from None


def _check(status: int) -> None:
    if status == 1:
        raise Truncated("the coded chunk ends too early: the file is cut off or damaged")
    if status == 2:
        raise MalformedHeader("the coded chunk does not begin as one: the file is damaged")
    if status:
        raise BitstreamError("the coded chunk is damaged: it does not end where its symbols do")


@CODERS.register("precise")
def coder() -> Coder:
    """Slower than the format's own coder, and closer to the entropy."""
    return Coder(Encoder, Decoder)
