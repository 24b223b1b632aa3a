"""Interleaved rANS over integer tables, one stream a chunk, through all its steps (Duda, arXiv 1311.2540).

Payload of a chunk, little-endian, bits from the least significant:

===================  =====================================================================================
1 byte               bits 0-2: log2 of the lanes (0 to 5); bit 3: a side stream of escapes follows;
                     bits 4-7: exponent of lane 0
varint               bytes of the side stream; only with bit 3, then at least 1
4 bits a lane        exponents of lanes 1, 2, ...
15 to 30 bits        of each lane: the ``15 + exponent`` bits of its final state below the leading one;
                     the last byte is filled with zeros
16-bit words         in the order of reading
side stream          payloads of the escapes in symbol order; the last byte is filled with zeros
===================  =====================================================================================

A chunk without any symbol is the single byte 0. Symbol i of a step is on lane ``i % lanes``; every step
starts at lane 0. A state is in [2**15, 2**31). To decode: ``slot = x mod 2**precision`` names the entry with
``start <= slot < start + frequency``, then ``x = frequency * (x >> precision) + slot - start``, and if
``x < 2**15``: ``x = x << 16 | next word``. At the end all states are ``2**15`` and nothing is left.

An escape of a table with n entries and first symbol ``offset`` carries a number u: ``2 * d`` for the symbol
``offset + n - 1 + d``, ``2 * d + 1`` for ``offset - 1 - d``. With ``k = max(0, bit_length(n) - 4)`` and
``h = (u >> k) + 1`` of m + 1 bits, the side stream has m zeros, a one, the m lower bits of h, the k lower
bits of u. ``u < 2**32`` and the symbol is an int32.

`Encoder` and `Decoder` code one chunk, step by step; `encode` and `decode` one of a single step. `compress` and
`decompress` (in `siglum.entropy.frames`) cut long arrays into chunks with checksums and use threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.entropy.arrays import (
    as_bytes,
    as_entries,
    as_indexes,
    as_symbols,
    check_lanes,
    native,
    result_array,
)
from siglum.entropy.coders import CODERS, Coder
from siglum.entropy.frames import compress, decompress
from siglum.entropy.tables import Tables
from siglum.errors import BitstreamError, MalformedHeader, Truncated, UsageError
from siglum.kernels import dispatch

__all__ = ["Decoder", "Encoder", "choose_lanes", "coder", "compress", "decode", "decompress", "encode"]

MAX_LANES = 32
STATE_BITS = 31
LOWEST = 1 << 15


def choose_lanes(total_bits: float) -> int:
    """Lanes whose states (31 bits each) cost at most 1 % of a chunk; at least 1, at most 32.

    Examples
    --------
    >>> [choose_lanes(bits) for bits in (100, 6200, 1e6)]
    [1, 2, 32]
    """
    lanes = 1
    while lanes < MAX_LANES and 2 * lanes * STATE_BITS <= int(total_bits) // 100:
        lanes *= 2
    return lanes


class Encoder:
    """Collects the steps of a chunk; `finish` codes them, last symbol first.

    Parameters
    ----------
    lanes : int, optional
        1, 2, 4, 8, 16 or 32 interleaved states. By default as many as cost at most 1 % of the chunk.

    Examples
    --------
    >>> tables = Tables.from_frequencies([[2048, 1024, 1023, 1]], [-1])
    >>> encoder = Encoder()
    >>> encoder.push(np.array([0, -1, 1], dtype=np.int32), tables, 0)
    >>> decoder = Decoder(encoder.finish())
    >>> decoder.decode(tables, 0, shape=3).tolist()
    [0, -1, 1]
    >>> decoder.finish()
    """

    def __init__(self, lanes: int | None = None) -> None:
        check_lanes(lanes)
        self._native = native().RansEncoder(lanes or 0, dispatch.isa())

    def push(self, symbols: ArrayLike, tables: Tables, indexes: ArrayLike) -> None:
        """Append one step.

        Parameters
        ----------
        symbols : int8, uint8, int16, uint16 or int32 array, any shape
            NumPy, or a torch tensor on the CPU. A C-ordered array is not copied; it may change after the
            call. Wider integers are copied.
        tables : Tables
        indexes : uint8, uint16 or int32 array of the same shape, or int
            Which table each symbol uses.

        Raises
        ------
        UsageError
            If an index names no table, a symbol lies more than 2**31 beyond its table or has no entry in
            closed tables.
        """
        values = as_symbols(symbols)
        which = as_indexes(indexes, values.shape, tables)
        try:
            self._native.push(tables.native, values.ravel(), which)
        except (ValueError, IndexError) as error:
            raise UsageError(str(error)) from None

    def push_direct(self, starts: ArrayLike, frequencies: ArrayLike, precision: int) -> None:
        """Append one step of symbols whose entries the caller knows, instead of tables.

        Parameters
        ----------
        starts, frequencies : int arrays of one shape
            Symbol i has the slots ``starts[i] <= slot < starts[i] + frequencies[i]`` of ``2**precision``. A
            symbol that has all of them costs nothing.
        precision : int, 1 to 15

        Raises
        ------
        UsageError
            If an entry is empty or leaves ``2**precision``.
        """
        low, size = as_entries(starts, frequencies, precision)
        try:
            self._native.push_direct(low, size, precision)
        except ValueError as error:
            raise UsageError(str(error)) from None

    def finish(self) -> bytes:
        """Return the payload of all steps; the encoder is empty afterwards."""
        payload: bytes = self._native.finish()
        return payload


class Decoder:
    """Decodes a chunk step by step; the tables of a step may depend on the symbols of the steps before.

    Damage shows as an error or as wrong symbols: `finish` finds most of what `decode` did not, a checksum
    over the symbols the rest.

    Parameters
    ----------
    data : bytes-like
        One whole payload. It is not copied.

    Raises
    ------
    Truncated, MalformedHeader
    """

    def __init__(self, data: Any) -> None:
        self._native = native().RansDecoder(dispatch.isa())
        check(self._native.open(as_bytes(data)))

    def decode(
        self,
        tables: Tables,
        indexes: ArrayLike,
        shape: int | tuple[int, ...] | None = None,
        out: Any = None,
    ) -> Any:
        """Decode one step.

        Parameters
        ----------
        tables : Tables
        indexes : uint8, uint16 or int32 array, or int
            Which table each symbol uses. One table for all needs ``shape`` or ``out``.
        shape : int or tuple of int, optional
            Of the result, if ``indexes`` is a single number.
        out : int8, uint8, int16, uint16 or int32 array, C-ordered, optional
            Where to write the symbols: NumPy, or a torch tensor on the CPU. Its type must hold every symbol
            that has an entry.

        Returns
        -------
        symbols : int32 array
            Of the shape of ``indexes``, or ``shape``, or ``out`` itself.

        Raises
        ------
        Truncated
            If the words or the escapes end too early.
        BitstreamError
            If an escape is longer than 32 bits or leaves the type of the result.
        UsageError
            If an index names no table, or shapes differ.
        """
        symbols = result_array(indexes, shape, out, tables)
        which = as_indexes(indexes, symbols.shape, tables)
        try:
            status = self._native.decode(tables.native, which, symbols.reshape(-1))
        except ValueError as error:
            raise UsageError(str(error)) from None
        check(status)
        return symbols if out is None else out

    def decode_direct(self, cumulative: ArrayLike, precision: int) -> NDArray[np.int32]:
        """Decode one step whose symbols have tables of their own.

        Parameters
        ----------
        cumulative : uint16 array, shape (n, entries + 1)
            Row i rises from 0 to ``2**precision``; entry j of symbol i has the slots from ``cumulative[i, j]``
            up to ``cumulative[i, j + 1]``.
        precision : int, 1 to 15

        Returns
        -------
        numbers : int32 array, shape (n,)
            Entries, 0 to ``entries - 1``.

        Raises
        ------
        Truncated
            If the words end too early.
        UsageError
            If a row is seen not to be such a table.
        """
        rows = np.ascontiguousarray(cumulative)
        if rows.ndim != 2 or rows.dtype != np.uint16:
            raise UsageError("cumulative frequencies must be a two-dimensional uint16 array")
        numbers = np.empty(rows.shape[0], dtype=np.int32)
        try:
            check(self._native.decode_direct(rows, precision, numbers))
        except ValueError as error:
            raise UsageError(str(error)) from None
        return numbers

    @property
    def lanes(self) -> int:
        """Interleaved states of this chunk, as many as `peek` can see at once."""
        return int(self._native.lanes)

    def begin_step(self) -> None:
        """Go to lane 0, where a step begins; only before `peek`, since the other methods do it themselves."""
        self._native.begin_step()

    def peek(self, count: int, precision: int) -> NDArray[np.uint32]:
        """Slots, below ``2**precision``, of the next ``count <= lanes`` symbols of a step; nothing is taken.

        A caller that finds entries itself reads slots, then takes the symbols by `advance`. The symbols must
        have been coded by `Encoder.push_direct`, or by tables of the same entries.
        """
        slots = np.empty(count, dtype=np.uint32)
        try:
            self._native.peek(slots, precision)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return slots

    def advance(self, starts: ArrayLike, frequencies: ArrayLike, precision: int) -> None:
        """Take the next symbols of a step, at most as many as lanes, by their entries.

        Raises
        ------
        UsageError
            If an entry does not hold the slot that `peek` gave; nothing is taken then.
        Truncated
            If the words end too early.
        """
        low, size = as_entries(starts, frequencies, precision)
        try:
            check(self._native.advance(low, size, precision))
        except ValueError as error:
            raise UsageError(str(error)) from None

    def finish(self) -> None:
        """Check that the chunk ends here.

        Raises
        ------
        BitstreamError
            If a state is not back at its start, or words or escapes are left over.
        """
        check(self._native.finish())


def encode(symbols: ArrayLike, tables: Tables, indexes: ArrayLike, lanes: int | None = None) -> bytes:
    """Code a single step; see `Encoder`."""
    encoder = Encoder(lanes)
    encoder.push(symbols, tables, indexes)
    return encoder.finish()


def decode(
    data: Any, tables: Tables, indexes: ArrayLike, shape: int | tuple[int, ...] | None = None
) -> NDArray[np.int32]:
    """Decode a chunk of a single step, to its end; see `Decoder`."""
    decoder = Decoder(data)
    symbols: NDArray[np.int32] = decoder.decode(tables, indexes, shape)
    decoder.finish()
    return symbols


def check(status: int) -> None:
    """Raise what a status of the compiled coder means, if it is not 0."""
    if status == 1:
        raise Truncated("the coded chunk ends too early: the file is cut off or damaged")
    if status == 2:
        raise MalformedHeader("the coded chunk does not begin as one: the file is damaged")
    if status:
        raise BitstreamError("the coded chunk is damaged: it does not end where its symbols do")


@CODERS.register("rans")
def coder() -> Coder:
    """The coder of the file format."""
    return Coder(Encoder, Decoder)
