"""Long arrays of symbols as one framed byte string: chunks that decode alone, checksums, threads.

Frame, little-endian; varints hold seven bits a byte, lowest first, the highest bit set on all but the last:

===================  =====================================================================================
varint               number of symbols
varint               symbols of a chunk (the last one may have fewer)
u32                  fingerprint of the tables: CRC32C over u8 precision, u8 closed; i32 offset and
                     u32 entries of each; then all frequencies as u16
for each chunk       varint bytes of its payload, u32 CRC32C of its payload
u32                  CRC32C of everything before
payloads             as in `siglum.entropy.rans`, a single step each
===================  =====================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from siglum.entropy.arrays import as_bytes, as_indexes, as_output, as_symbols, check_lanes, native
from siglum.entropy.tables import Tables
from siglum.errors import (
    BitstreamError,
    ChecksumMismatch,
    LimitExceeded,
    MalformedHeader,
    Truncated,
    UsageError,
)
from siglum.kernels import dispatch

# where there are enough symbols: the states then cost 0.05 % at 4 bits a symbol, 0.4 % at half a bit
CHUNK = 2**19
MAX_SYMBOLS = 2**28


@dataclass(frozen=True)
class FrameInfo:
    """What a frame says of itself.

    Attributes
    ----------
    symbols, chunk
        Symbols in all, and of a chunk.
    fingerprint
        Of the tables that it was coded with: `Tables.fingerprint`.
    starts
        Byte at which each chunk's payload begins, and the end of the last one.
    checksums
        CRC32C of each payload.
    """

    symbols: int
    chunk: int
    fingerprint: int
    starts: tuple[int, ...]
    checksums: tuple[int, ...]


def default_chunk(count: int) -> int:
    """Symbols of a chunk for an array of `count`: as many chunks as are worth their states, in whole rows.

    Four chunks in flight decode twice as fast as one, two nearly so.

    Examples
    --------
    >>> [default_chunk(count) for count in (1000, 100_000, 1_000_000, 4_000_000)]
    [1000, 50016, 250016, 524288]
    """
    parts = 1 if count < 2**15 else 2 if count < 2**19 else 4
    return max(1, min(CHUNK, -(-count // (32 * parts)) * 32 if parts > 1 else count))


def compress(
    symbols: ArrayLike,
    tables: Tables,
    indexes: ArrayLike = 0,
    *,
    chunk: int | None = None,
    lanes: int | None = None,
    threads: int | None = 1,
) -> bytes:
    """Code an array of any length; `decompress` is the inverse.

    The bytes depend on the arguments only, never on threads or instruction sets.

    Parameters
    ----------
    symbols : int8, uint8, int16, uint16 or int32 array, any shape
        NumPy, or a torch tensor on the CPU; C-ordered arrays are not copied.
    tables : Tables
    indexes : uint8, uint16 or int32 array of the same shape, or int
        Which table each symbol uses.
    chunk : int, optional
        Symbols that decode alone: smaller for finer random access and for GPUs, larger for fewer bytes.
    lanes : int, optional
        Of each chunk; by default as many as cost at most 1 % of it.
    threads : int, optional
        None: as many as there are CPUs.

    Returns
    -------
    frame : bytes

    Raises
    ------
    UsageError
        If an index names no table or a symbol cannot be coded.

    Examples
    --------
    >>> tables = Tables.from_pmf([[0.5, 0.25, 0.25]], [0])
    >>> frame = compress(np.array([0, 2, 1, 0]), tables)
    >>> decompress(frame, tables).tolist()
    [0, 2, 1, 0]
    """
    values = as_symbols(symbols)
    which = as_indexes(indexes, values.shape, tables)
    check_lanes(lanes)
    if chunk is not None and (
        isinstance(chunk, bool) or not isinstance(chunk, int) or not 1 <= chunk < 2**62
    ):
        raise UsageError(f"a chunk must have at least one symbol, not {chunk}")
    length = chunk or default_chunk(values.size)
    count = dispatch.threads(threads)
    try:
        frame: bytes = native().rans_compress(
            tables.native, values.ravel(), which, length, lanes or 0, count, dispatch.isa()
        )
    except (ValueError, IndexError) as error:
        raise UsageError(str(error)) from None
    return frame


def decompress(
    data: Any,
    tables: Tables,
    indexes: ArrayLike = 0,
    *,
    out: Any = None,
    dtype: DTypeLike = np.int32,
    threads: int | None = 1,
    start: int = 0,
    stop: int | None = None,
    max_symbols: int = MAX_SYMBOLS,
) -> Any:
    """Decode a frame of `compress`, or a part of it.

    Parameters
    ----------
    data : bytes-like
    tables : Tables
        Those of the encoder; others are refused by their fingerprint.
    indexes : uint8, uint16 or int32 array, or int
        As for the encoder: for all symbols of the frame, even if only a part is decoded.
    out : array, optional
        Where to write the symbols, C-ordered: NumPy, or a torch tensor on the CPU.
    dtype : int8, uint8, int16, uint16 or int32
        Of the result where there is no `out`.
    threads : int, optional
        None: as many as there are CPUs.
    start, stop : int
        Part of the flattened symbols, as of a slice; only the chunks that hold it are read.
    max_symbols : int
        The most that may be decoded without `out`.

    Returns
    -------
    symbols : array
        Of the shape of `indexes` if that is an array and no part is asked for, else flat; or `out` itself.

    Raises
    ------
    ChecksumMismatch
        If a checksum is wrong: the data are damaged.
    MalformedHeader, Truncated, BitstreamError
        If the data are no such frame, are cut off, or do not end where their symbols do.
    LimitExceeded
        If there are more than `max_symbols`.
    UsageError
        If the tables are others, or shapes or types do not fit.
    """
    frame = native().RansFrame(as_bytes(data))
    _check(frame.status)
    if frame.fingerprint != tables.fingerprint:
        raise UsageError("the data were coded with other tables")
    total = int(frame.count)
    shape = np.shape(indexes)
    if shape and int(np.prod(shape)) != total:
        raise UsageError(f"the frame has {total} symbols, but there are indexes of shape {shape}")
    which = as_indexes(indexes, shape, tables)
    begin, end, _ = slice(start, stop).indices(total)
    length = max(0, end - begin)
    if out is not None:
        symbols = as_output(out, tables)
        if symbols.size != length:
            raise UsageError(f"out has {symbols.size} elements for {length} symbols")
    else:
        if length > max_symbols:
            raise LimitExceeded(f"the frame has {length} symbols, more than the limit of {max_symbols}")
        whole = shape and length == total
        symbols = as_output(np.empty(shape if whole else length, dtype=dtype), tables)
    try:
        status = frame.decode(
            tables.native, which, begin, symbols.reshape(-1), dispatch.threads(threads), dispatch.isa()
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    _check(status)
    return symbols if out is None else out


def inspect(data: Any) -> FrameInfo:
    """Read the head of a frame; raises as `decompress` does."""
    frame = native().RansFrame(as_bytes(data))
    _check(frame.status)
    return FrameInfo(
        int(frame.count),
        int(frame.chunk),
        int(frame.fingerprint),
        tuple(frame.starts),
        tuple(frame.checksums),
    )


def payloads(data: Any) -> list[NDArray[np.uint8]]:
    """Payload of each chunk, as views of the data; checksums are left to whoever decodes them."""
    info = inspect(data)
    view = as_bytes(data)
    return [view[a:b] for a, b in zip(info.starts[:-1], info.starts[1:], strict=True)]


def _check(status: int) -> None:
    if status == 1:
        raise Truncated("the coded frame ends too early: the data are cut off or damaged")
    if status == 2:
        raise MalformedHeader("the coded frame does not begin as one: the data are damaged")
    if status == 4:
        raise ChecksumMismatch("a checksum of the coded frame is wrong: the data are damaged")
    if status:
        raise BitstreamError("the coded frame is damaged: it does not end where its symbols do")
