"""Chunks of a .sgl file: their types, their frame, and the index that closes a file of several."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from siglum.codecs.container_header import Limits
from siglum.codecs.container_source import MAX_VARINT, Source, append_varint, varint_size
from siglum.errors import (
    ChecksumMismatch,
    LimitExceeded,
    MalformedHeader,
    Truncated,
    UnsupportedVersion,
    UsageError,
)
from siglum.kernels.checksum import crc32c

__all__ = [
    "Chunk",
    "ChunkType",
    "Entry",
    "IndexBuilder",
    "chunk_size",
    "frame",
    "parse_trailer",
    "read_chunk",
]

TYPE_MASK = 0x3F
SYMBOLS = 0x40  # a CRC32C of the decoded symbols follows the payload
ALONE = 0x80  # the file has this chunk only, and no index
FIRST_IGNORABLE = 32  # chunks of these types may be skipped by a reader that does not know them
_TAIL = struct.Struct("<I4sI")  # size of the index chunk, magic, its CRC32C: the last bytes of the file
_TAIL_MAGIC = b"SGLx"
TAIL_SIZE = _TAIL.size
MIN_TRAILER = 3 + TAIL_SIZE


class ChunkType(IntEnum):
    """What a chunk holds. Types from 32 may be skipped by a reader that does not know them."""

    DATA = 1  # coded samples
    ICC = 2  # an ICC colour profile
    EXIF = 3  # a TIFF structure as in Exif, without a prefix
    ALPHA = 4  # coded opacity
    METADATA = 5  # JSON in UTF-8
    INDEX = 6  # the trailer; written by the container itself
    XMP = 7  # an XMP packet in UTF-8
    TABLES = 8  # what decoding the samples needs besides them, defined by the codec


_KNOWN = frozenset(ChunkType)


@dataclass(frozen=True)
class Chunk:
    """A part of a file that is checked and, where it holds samples, decoded by itself.

    Parameters
    ----------
    type
        A :class:`ChunkType`, or a number from 1 to 63 of a third party.
    sequence
        Counts the chunks of the same type in a file, from 0, without gaps.
    payload
        The bytes that the codec wrote.
    symbols_crc
        CRC32C of the decoded symbols, in the layout that the codec defines, or None.
    """

    type: int
    sequence: int
    payload: bytes
    symbols_crc: int | None = None

    @property
    def known(self) -> bool:
        """Whether this version of siglum gives the type a meaning."""
        return self.type in _KNOWN


class Entry(NamedTuple):
    """Where a chunk stands: ``size`` bytes from ``offset``, its frame included."""

    type: int
    sequence: int
    offset: int
    size: int


def frame(chunk: Chunk, *, alone: bool = False) -> tuple[bytes, bytes]:
    """Return what goes before and after the payload, which is not copied."""
    head = bytearray([chunk.type | (ALONE if alone else 0) | (0 if chunk.symbols_crc is None else SYMBOLS)])
    append_varint(head, len(chunk.payload))
    append_varint(head, chunk.sequence)
    symbols = b"" if chunk.symbols_crc is None else chunk.symbols_crc.to_bytes(4, "little")
    crc = crc32c(symbols, crc32c(chunk.payload, crc32c(head)))
    return bytes(head), symbols + crc.to_bytes(4, "little")


def chunk_size(chunk: Chunk) -> int:
    """Return the bytes that a chunk takes in a file, its frame included."""
    size = len(chunk.payload)
    fixed = 5 if chunk.symbols_crc is None else 9
    return fixed + varint_size(size) + varint_size(chunk.sequence) + size


def read_chunk_head(source: Source, limits: Limits) -> tuple[bytearray, int, int]:
    """Return the raw head, the payload's size, checked against the limit, and the sequence number."""
    start = source.offset
    raw = bytearray(source.read(1, "the type of a chunk (no index has come, so more must follow)"))
    size = source.read_varint("a chunk's length", raw)
    if size > limits.max_chunk_bytes:
        raise LimitExceeded(
            f"the chunk at byte {start} announces {size} bytes, more than the limit of "
            f"{limits.max_chunk_bytes}; raise max_chunk_bytes if you trust the file"
        )
    return raw, size, source.read_varint("a chunk's sequence number", raw)


def read_chunk(source: Source, limits: Limits) -> tuple[Chunk, bool]:
    """Read the chunk at the cursor and check its CRC32C; return it, and whether it is flagged as alone."""
    start = source.offset
    raw, size, sequence = read_chunk_head(source, limits)
    payload = source.read(size, "a chunk's payload")
    symbols = source.read(4, "the checksum of a chunk's symbols") if raw[0] & SYMBOLS else b""
    stored = int.from_bytes(source.read(4, "a chunk's checksum"), "little")
    if crc32c(symbols, crc32c(payload, crc32c(raw))) != stored:
        raise ChecksumMismatch(
            f"the chunk at byte {start} ({source.offset - start} bytes) does not fit its "
            "checksum; get the file again"
        )
    chunk = Chunk(
        raw[0] & TYPE_MASK, sequence, payload, int.from_bytes(symbols, "little") if symbols else None
    )
    if chunk.type in _KNOWN:
        chunk = Chunk(ChunkType(chunk.type), sequence, payload, chunk.symbols_crc)
    elif chunk.type == 0:
        raise MalformedHeader(f"the chunk at byte {start} is of type 0, which does not exist")
    elif chunk.type < FIRST_IGNORABLE:
        raise UnsupportedVersion(
            f"the chunk at byte {start} is of type {chunk.type}, which this siglum does not "
            "know and must not skip; upgrade siglum"
        )
    return chunk, bool(raw[0] & ALONE)


class IndexBuilder:
    """The index as it grows, chunk by chunk: a writer stores it at the end, a reader compares it there."""

    def __init__(self, limits: Limits) -> None:
        self.chunks = 0
        self._limits = limits
        self._entries = bytearray()
        self._counts: dict[int, int] = {}

    def next_sequence(self, kind: int) -> int:
        """Return the sequence number that the next chunk of this type must have."""
        return self._counts.get(kind, 0)

    def add(self, chunk: Chunk, size: int) -> None:
        """Count a chunk whose frame and payload take ``size`` bytes."""
        self.chunks += 1
        self._counts[chunk.type] = chunk.sequence + 1
        self._entries.append(chunk.type)
        append_varint(self._entries, size)

    def check(self, chunk: Chunk) -> None:
        """Raise :class:`UsageError` unless the chunk may be written next."""
        if not 1 <= chunk.type <= TYPE_MASK or chunk.type == ChunkType.INDEX:
            raise UsageError(f"{chunk.type} is not a type of chunk that can be added (1 to 63, not 6)")
        if chunk.sequence != self.next_sequence(chunk.type):
            raise UsageError(
                f"the next chunk of type {chunk.type} has sequence number "
                f"{self.next_sequence(chunk.type)}, not {chunk.sequence}"
            )
        if chunk.symbols_crc is not None and not 0 <= chunk.symbols_crc < 2**32:
            raise UsageError("symbols_crc is not a number of 32 bits")
        if len(chunk.payload) > min(self._limits.max_chunk_bytes, MAX_VARINT):
            raise UsageError(
                f"the payload has {len(chunk.payload)} bytes, more than the limit of "
                f"{self._limits.max_chunk_bytes}; split it into chunks"
            )
        if self.chunks >= self._limits.max_chunks:
            raise UsageError(f"the file has {self.chunks} chunks already, which is the limit")

    def check_limit(self, start: int) -> None:
        """Raise :class:`LimitExceeded` if a reader that stands at a chunk has seen as many as it may."""
        if self.chunks >= self._limits.max_chunks:
            raise LimitExceeded(
                f"the chunk at byte {start} is one more than the limit of {self._limits.max_chunks}; "
                "raise max_chunks if you trust the file"
            )

    def payload(self) -> bytes:
        """Return the payload of the index chunk."""
        size = len(self._entries) + _TAIL.size - 4
        head = bytearray([ChunkType.INDEX])
        append_varint(head, size)
        return bytes(self._entries) + _TAIL.pack(len(head) + 1 + size + 4, _TAIL_MAGIC, 0)[:-4]

    def trailer(self) -> bytes:
        """Return the whole index chunk."""
        chunk = Chunk(ChunkType.INDEX, 0, self.payload())
        head, tail = frame(chunk)
        return head + chunk.payload + tail


def trailer_size(tail: bytes) -> int | None:
    """Return the size of the index chunk from the last 12 bytes of a file, or None if there is none."""
    size, magic, _ = _TAIL.unpack(tail)
    return size if magic == _TAIL_MAGIC else None


def parse_trailer(payload: bytes, first: int, end: int, limits: Limits) -> list[Entry]:
    """Return the entries of an index whose chunks begin at byte ``first`` and end at byte ``end``."""
    source = Source(memoryview(payload)[: 4 - _TAIL.size])
    entries: list[Entry] = []
    counts: dict[int, int] = {}
    offset = first
    while not source.at_end():
        if len(entries) >= limits.max_chunks:
            raise LimitExceeded(
                f"the index at byte {end} has more entries than the limit of {limits.max_chunks} "
                "chunks; raise max_chunks if you trust the file"
            )
        kind = source.read(1, "the index")[0]
        try:
            size = source.read_varint("a size")
        except (Truncated, MalformedHeader) as error:
            raise MalformedHeader(f"the index at byte {end} is malformed: {error}") from error
        sequence = counts.get(kind, 0)
        counts[kind] = sequence + 1
        entries.append(Entry(kind, sequence, offset, size))
        offset += size
        if offset > end:
            break
    if offset != end:
        raise MalformedHeader(
            f"the index at byte {end} speaks of chunks up to byte {offset}; "
            "the file was put together wrongly, read it from the beginning"
        )
    return entries
