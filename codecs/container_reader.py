"""Reading a .sgl file: forward from a pipe, or chunk by chunk with the index."""

from __future__ import annotations

from collections.abc import Iterator

from siglum.codecs.container_chunks import (
    ALONE,
    MIN_TRAILER,
    SYMBOLS,
    TAIL_SIZE,
    TYPE_MASK,
    Chunk,
    ChunkType,
    Entry,
    IndexBuilder,
    parse_trailer,
    read_chunk,
    read_chunk_head,
    trailer_size,
)
from siglum.codecs.container_header import Limits, parse_header
from siglum.codecs.container_source import Source, SourceLike
from siglum.errors import BitstreamError, MalformedHeader, Truncated, UsageError

__all__ = ["Reader"]


class Reader:
    """Reads a file from bytes, from a file object, or from a pipe.

    Parameters
    ----------
    source
        The bytes, or a binary file object at the first byte; it is not closed. One that can seek must end
        with the .sgl file.
    limits
        What is accepted; the default limits where None.
    partial
        Take a file that was cut off for what is whole in it, instead of raising :class:`Truncated` there.

    Attributes
    ----------
    header : Header
    first : int
        Offset of the first chunk: the size of everything before it.
    complete : bool or None
        Whether :meth:`chunks` came to the proper end of the file; None before it has ended.
    """

    def __init__(self, source: SourceLike, limits: Limits | None = None, partial: bool = False) -> None:
        self.limits = limits or Limits()
        self.complete: bool | None = None
        self._partial = partial
        self._source = Source(source)
        self.header = parse_header(self._source, self.limits)
        self.first = self._source.offset
        self._entries: tuple[Entry, ...] | None = None
        self._by_number: dict[tuple[int, int], Entry] | None = None
        self._started = False

    def chunks(self, *, unknown: bool = False) -> Iterator[Chunk]:
        """Yield the chunks in file order, each after its checksum was found right.

        Chunks of unknown types that may be skipped are skipped unless ``unknown``. From a pipe it works once.

        Raises
        ------
        Truncated, ChecksumMismatch, LimitExceeded, MalformedHeader, UnsupportedVersion
        """
        if self._started and not self._source.seekable:
            raise UsageError("chunks of a pipe can be read only once; keep them, or use a file")
        self._started = True
        return self._scan(unknown)

    def _scan(self, unknown: bool) -> Iterator[Chunk]:
        source = self._source
        index = IndexBuilder(self.limits)
        start = self.first
        while True:
            if source.seekable:
                source.seek(start)  # read() may have moved the cursor since the last chunk
            try:
                chunk, alone = read_chunk(source, self.limits)
            except Truncated:
                self.complete = False
                if self._partial:
                    return
                raise
            if chunk.type == ChunkType.INDEX:
                self._check_index(chunk, alone, index, start)
                return
            if chunk.sequence != index.next_sequence(chunk.type):
                raise MalformedHeader(
                    f"the chunk at byte {start} is number {chunk.sequence} of type {chunk.type} where number "
                    f"{index.next_sequence(chunk.type)} is due: chunks are missing, doubled or out of order"
                )
            index.check_limit(start)
            index.add(chunk, source.offset - start)
            start = source.offset
            if alone and index.chunks > 1:
                raise MalformedHeader(
                    f"the chunk that ends at byte {start} says that it is alone in the file, and is not"
                )
            if alone:
                self._check_nothing_follows()
            if chunk.known or unknown:
                yield chunk
            if alone:
                return

    def _check_index(self, chunk: Chunk, alone: bool, index: IndexBuilder, start: int) -> None:
        plain = not alone and chunk.sequence == 0 and chunk.symbols_crc is None
        if not plain or chunk.payload != index.payload():
            raise MalformedHeader(
                f"the index at byte {start} does not describe the {index.chunks} chunks before "
                "it; the file was put together wrongly"
            )
        self._check_nothing_follows()

    def _check_nothing_follows(self) -> None:
        if not self._source.at_end():
            raise MalformedHeader(
                f"bytes follow the end of the file, from byte {self._source.offset}; cut them off"
            )
        self.complete = True

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Where each chunk stands, in file order, from the index alone; needs a source that can seek."""
        if self._entries is None:
            if not self._source.seekable:
                raise UsageError("a pipe has no random access; iterate over chunks(), or use a file")
            try:
                self._entries = tuple(self._read_index())
            except Truncated:
                if not self._partial:
                    raise
                self._entries = tuple(self._hop())
        return self._entries

    def find(self, kind: int, sequence: int = 0) -> Entry | None:
        """Return where chunk ``sequence`` of a type stands, or None."""
        if self._by_number is None:
            self._by_number = {entry[:2]: entry for entry in self.entries}
        return self._by_number.get((kind, sequence))

    def read(self, which: int | Entry) -> Chunk:
        """Return one chunk, by its position in the file (from 0) or its entry, reading that chunk only."""
        if not isinstance(which, Entry):
            if not 0 <= which < len(self.entries):
                raise UsageError(f"there is no chunk {which}: the file has {len(self.entries)}")
            which = self.entries[which]
        self._source.seek(which.offset)
        chunk, _ = read_chunk(self._source, self.limits)
        if (chunk.type, chunk.sequence, self._source.offset - which.offset) != (
            which.type,
            which.sequence,
            which.size,
        ):
            raise MalformedHeader(
                f"the chunk at byte {which.offset} is not the one that the index announces; "
                "read the file from the beginning"
            )
        return chunk

    def peek(self, entry: Entry, size: int) -> bytes:
        """Return the first bytes of a chunk's payload, at most `size`, unchecked: to choose what to read."""
        self._source.seek(entry.offset)
        _, length, _ = read_chunk_head(self._source, self.limits)
        return self._source.read(min(size, length), "a chunk's payload")

    def hop(self, damaged: bool = False) -> list[Entry]:
        """Find the chunks by their heads, without the index: for files whose index is lost or wrong.

        With `damaged` it ends quietly at a head that makes no sense, instead of raising.
        """
        return self._hop(damaged)

    def _read_index(self) -> list[Entry]:
        source, end = self._source, self._source.end or 0
        source.seek(self.first)
        if source.read(1, "the type of the first chunk")[0] & ALONE:
            entries = self._hop()
            if not entries:
                raise Truncated(
                    f"the only chunk, at byte {self.first}, is cut off at byte {end}; get the file again"
                )
            if entries[0].offset + entries[0].size != end:
                raise MalformedHeader(
                    "bytes follow the only chunk, from byte "
                    f"{entries[0].offset + entries[0].size}; cut them off"
                )
            return entries
        size = None
        if end - self.first >= MIN_TRAILER:
            source.seek(end - TAIL_SIZE)
            size = trailer_size(source.read(TAIL_SIZE, "the end of the index"))
        if size is None:
            raise Truncated(
                f"no index ends at byte {end}, where the file ends: it was cut off, or something was "
                "added; get it again"
            )
        start = end - size
        if start < self.first or size < MIN_TRAILER:
            raise MalformedHeader(
                f"the index that ends at byte {end} gives its own size as {size} bytes; "
                "the file is damaged, get it again"
            )
        source.seek(start)
        chunk, _ = read_chunk(source, self.limits)
        if chunk.type != ChunkType.INDEX or source.offset != end:
            raise MalformedHeader(
                f"there is no index at byte {start}, where the end of the file says; get it again"
            )
        return parse_trailer(chunk.payload, self.first, start, self.limits)

    def _hop(self, damaged: bool = False) -> list[Entry]:
        """Find the chunks by hopping from head to head; what is cut off and the index are left out."""
        source, end = self._source, self._source.end or 0
        index = IndexBuilder(self.limits)
        entries: list[Entry] = []
        start = self.first
        while True:
            source.seek(start)
            try:
                raw, size, sequence = read_chunk_head(source, self.limits)
            except BitstreamError as error:
                if damaged or isinstance(error, Truncated):
                    return entries
                raise
            kind = raw[0] & TYPE_MASK
            size += len(raw) + (8 if raw[0] & SYMBOLS else 4)
            if kind in (0, ChunkType.INDEX) or start + size > end:
                return entries
            index.check_limit(start)
            index.add(Chunk(kind, sequence, b""), size)
            entries.append(Entry(kind, sequence, start, size))
            start += size
            if raw[0] & ALONE:
                return entries
