"""Interleaved rANS over integer tables, one stream a chunk, through all its steps (Duda, arXiv 1311.2540).

Payload of a chunk, little-endian, bits from the least significant:

===================  =====================================================================================
1 byte               bits 0-2: log2 of the lanes (0 to 5); bit 3: a side stream of escapes follows; others 0
varint               bytes of the side stream; only with bit 3, then at least 1
31 bits a lane       final states, lane 0 first, each in [2**15, 2**31); last byte filled with zeros
16-bit words         in the order of reading
side stream          payloads of the escapes in symbol order; the last byte is filled with zeros
===================  =====================================================================================

A chunk without any symbol is the single byte 0. Symbol i of a step is on lane ``i % lanes``; every step
starts at lane 0. To decode: ``slot = x mod 2**precision`` names the entry with ``start <= slot < start +
frequency``, then ``x = frequency * (x >> precision) + slot - start``, and if ``x < 2**15``: ``x = x << 16 |
next word``. At the end all states are ``2**15`` and nothing is left.

An escape of a table with n entries and first symbol ``offset`` carries a number u: ``2 * d`` for the symbol
``offset + n - 1 + d``, ``2 * d + 1`` for ``offset - 1 - d``. With ``k = max(0, bit_length(n) - 4)`` and
``h = (u >> k) + 1`` of m + 1 bits, the side stream has m zeros, a one, the m lower bits of h, the k lower
bits of u. ``u < 2**32`` and the symbol is an int32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.entropy.coders import CODERS, Coder
from siglum.entropy.tables import Tables
from siglum.errors import BitstreamError, MalformedHeader, Truncated, UsageError

MAX_LANES = 32
STATE_BITS = 31
LOWEST = 1 << 15

_INDEX_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.int32))


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
        if lanes is not None and lanes not in (1, 2, 4, 8, 16, 32):
            raise UsageError(f"lanes must be 1, 2, 4, 8, 16 or 32, not {lanes}")
        self._native = _kernels().RansEncoder(lanes or 0)

    def push(self, symbols: ArrayLike, tables: Tables, indexes: ArrayLike) -> None:
        """Append one step.

        Parameters
        ----------
        symbols : int32 array, any shape
            A C-ordered array is not copied; it may change after the call.
        tables : Tables
        indexes : uint8, uint16 or int32 array of the same shape, or int
            Which table each symbol uses.

        Raises
        ------
        UsageError
            If an index names no table, or a symbol lies more than 2**31 beyond its table.
        """
        values = as_symbols(symbols)
        which = as_indexes(indexes, values.shape, tables)
        try:
            self._native.push(tables.native, values.ravel(), which)
        except (ValueError, IndexError) as error:
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
        self._native = _kernels().RansDecoder()
        _check(self._native.open(as_bytes(data)))

    def decode(
        self,
        tables: Tables,
        indexes: ArrayLike,
        shape: int | tuple[int, ...] | None = None,
        out: NDArray[np.int32] | None = None,
    ) -> NDArray[np.int32]:
        """Decode one step.

        Parameters
        ----------
        tables : Tables
        indexes : uint8, uint16 or int32 array, or int
            Which table each symbol uses. One table for all needs ``shape`` or ``out``.
        shape : int or tuple of int, optional
            Of the result, if ``indexes`` is a single number.
        out : int32 array, C-ordered, optional
            Where to write the symbols.

        Returns
        -------
        symbols : int32 array
            Of the shape of ``indexes``, or ``shape``, or ``out`` itself.

        Raises
        ------
        Truncated
            If the words or the escapes end too early.
        BitstreamError
            If an escape is longer than 32 bits or leaves int32.
        UsageError
            If an index names no table, or shapes differ.
        """
        symbols = result_array(indexes, shape, out)
        which = as_indexes(indexes, symbols.shape, tables)
        try:
            status = self._native.decode(tables.native, which, symbols.reshape(-1))
        except ValueError as error:
            raise UsageError(str(error)) from None
        _check(status)
        return symbols

    def finish(self) -> None:
        """Check that the chunk ends here.

        Raises
        ------
        BitstreamError
            If a state is not back at its start, or words or escapes are left over.
        """
        _check(self._native.finish())


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
    symbols = decoder.decode(tables, indexes, shape)
    decoder.finish()
    return symbols


def as_symbols(symbols: ArrayLike) -> NDArray[np.int32]:
    """C-ordered int32 view of symbols, or a copy where the type is narrower."""
    values = np.asarray(symbols)
    if not np.can_cast(values.dtype, np.int32, "safe"):
        raise UsageError(f"symbols must be int32, not {values.dtype}")
    return np.asarray(values, dtype=np.int32, order="C")


def as_indexes(indexes: ArrayLike, shape: tuple[int, ...], tables: Tables) -> Any:
    """An int, or a flat C-ordered array of a type that the kernels know."""
    which = np.asarray(indexes)
    if which.ndim == 0 and which.dtype.kind in "iu":
        if not 0 <= int(which) < len(tables):
            raise UsageError(f"index {int(which)} names no table: there are {len(tables)}")
        return int(which)
    if which.shape != shape:
        raise UsageError(f"indexes of shape {which.shape} do not fit symbols of shape {shape}")
    if which.dtype not in _INDEX_TYPES:
        raise UsageError(f"indexes must be uint8, uint16 or int32, not {which.dtype}")
    return np.ascontiguousarray(which).ravel()


def result_array(
    indexes: ArrayLike, shape: int | tuple[int, ...] | None, out: NDArray[np.int32] | None
) -> NDArray[np.int32]:
    """The array that a step is decoded into."""
    if out is not None:
        if not isinstance(out, np.ndarray) or out.dtype != np.int32 or not out.flags.c_contiguous:
            raise UsageError("out must be a C-ordered int32 array")
        return out
    if shape is None:
        shape = np.shape(indexes)
        if shape == () and not isinstance(indexes, np.ndarray):
            raise UsageError("one table for all symbols needs a shape")
    return np.empty(shape, dtype=np.int32)


def as_bytes(data: Any) -> NDArray[np.uint8]:
    """Flat view of a bytes-like object."""
    return np.frombuffer(data, dtype=np.uint8)


def _check(status: int) -> None:
    if status == 1:
        raise Truncated("the coded chunk ends too early: the file is cut off or damaged")
    if status == 2:
        raise MalformedHeader("the coded chunk does not begin as one: the file is damaged")
    if status:
        raise BitstreamError("the coded chunk is damaged: it does not end where its symbols do")


def _kernels() -> Any:
    from siglum.kernels import _native

    return _native


@CODERS.register("rans")
def coder() -> Coder:
    """The coder of the file format."""
    return Coder(Encoder, Decoder)
