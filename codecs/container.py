"""The .sgl file: a header, chunks that are checked one by one, and an index (docs/format.md).

Reading and writing go forward only, so both work on pipes; the index at the end of a file of several chunks
serves random access. A length in a file is compared with what is left of it and with :class:`Limits` before
anything of that size is allocated.

Examples
--------
>>> header = Header(codec=1, codec_version=0, model=b"", shape=(2, 3), dtype="uint8")
>>> data = write(header, [Chunk(ChunkType.DATA, 0, b"payload")])
>>> read_header(data).shape
(2, 3)
>>> [chunk.payload for chunk in Reader(data).chunks()]
[b'payload']
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from siglum.codecs.container_chunks import Chunk, ChunkType, Entry, IndexBuilder, chunk_size, frame
from siglum.codecs.container_header import DTYPES, Header, Limits, encode_header, read_header
from siglum.codecs.container_reader import Reader
from siglum.codecs.container_source import SourceLike
from siglum.errors import UsageError

__all__ = ["DTYPES", "Chunk", "ChunkType", "Entry", "Header", "Limits", "Reader", "Writer",
           "append", "read", "read_header", "truncate_chunks", "verify", "write"]  # fmt: skip


class Writer:
    """Writes a file as its chunks come; the file object may be a pipe.

    The first chunk is held back until it is known whether another follows, unless told otherwise. Used as a
    context manager, it closes the stream unless an exception passes: then every reader sees a truncated file.

    Parameters
    ----------
    file
        A binary file object. It is not closed.
    header
        Written at once.
    limits
        What the intended reader accepts: more is refused with :class:`UsageError`.
    hold
        Whether the first chunk waits for the second: a file of one chunk is then a few bytes smaller.

    Attributes
    ----------
    size : int
        Bytes written so far; of the whole file once it is closed.
    """

    def __init__(
        self, file: BinaryIO, header: Header, limits: Limits | None = None, hold: bool = True
    ) -> None:
        limits = limits or Limits()
        self._file = file
        self._hold = hold
        self._held: Chunk | None = None
        self._index = IndexBuilder(limits)
        self._closed = False
        self.size = 0
        self._put(encode_header(header, limits))

    def add(
        self, kind: int, payload: bytes, *, sequence: int | None = None, symbols_crc: int | None = None
    ) -> None:
        """Add a chunk of type ``kind``; without ``sequence`` it takes the next number of its type."""
        if sequence is None:
            sequence = self._index.next_sequence(kind)
        self.add_chunk(Chunk(kind, sequence, bytes(payload), symbols_crc))

    def add_chunk(self, chunk: Chunk) -> None:
        """Add a chunk that has its sequence number. Raises :class:`UsageError` on a wrong one."""
        if self._closed:
            raise UsageError("this writer is closed; use siglum.codecs.container.append")
        self._index.check(chunk)
        if self._held is not None:
            self._put_chunk(self._held)
            self._held = None
        self._index.add(chunk, chunk_size(chunk))
        if self._index.chunks == 1 and self._hold:
            self._held = chunk
        else:
            self._put_chunk(chunk)

    def close(self) -> None:
        """Write what ends the file: a chunk held back, or the index. The file object stays open."""
        if self._closed:
            return
        self._closed = True
        if self._held is not None:
            self._put_chunk(self._held, alone=True)
        else:
            self._put(self._index.trailer())

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        self._closed = True

    def _put_chunk(self, chunk: Chunk, *, alone: bool = False) -> None:
        head, tail = frame(chunk, alone=alone)
        self._put(head)
        self._put(chunk.payload)
        self._put(tail)

    def _put(self, data: bytes) -> None:
        _write_all(self._file, data)
        self.size += len(data)


def _write_all(file: BinaryIO, data: bytes) -> None:
    written = file.write(data)
    while written is not None and written < len(data):  # a raw file object may take less than it is given
        data = data[written:]
        written = file.write(data)


def write(header: Header, chunks: Iterable[Chunk], limits: Limits | None = None) -> bytes:
    """Return the bytes of a whole file."""
    out = io.BytesIO()
    with Writer(out, header, limits) as writer:
        for chunk in chunks:
            writer.add_chunk(chunk)
    return out.getvalue()


def read(
    source: SourceLike, limits: Limits | None = None, partial: bool = False
) -> tuple[Header, list[Chunk]]:
    """Return the header and all chunks of known types; see :class:`Reader`."""
    reader = Reader(source, limits, partial)
    return reader.header, list(reader.chunks())


def verify(
    source: SourceLike, limits: Limits | None = None, codecs: Mapping[int, int] | None = None
) -> Header:
    """Check everything but the coded symbols, in the memory of one chunk, and return the header.

    Parameters
    ----------
    source, limits
        As for :class:`Reader`.
    codecs
        The newest version by codec id that the caller can decode; None accepts any.
    """
    reader = Reader(source, limits)
    if codecs is not None:
        reader.header.check_codec(codecs)
    for _ in reader.chunks():
        pass
    return reader.header


def append(target: str | Path | BinaryIO, chunks: Iterable[Chunk], limits: Limits | None = None) -> None:
    """Add chunks to a file in place: they overwrite its index, and a new index follows them.

    What is there is not read again, except the only chunk of a file that has one. If the machine stops in the
    middle, the file has no index: ``Reader(..., partial=True)`` still finds every whole chunk.

    Parameters
    ----------
    target
        A path, or a binary file object opened for reading and writing that stands at the file's first byte.
    chunks
        Their sequence numbers continue those in the file (``len`` of the entries of the type).
    limits
        As for :class:`Writer`.

    Raises
    ------
    UsageError
        A chunk does not fit; nothing was written then.
    BitstreamError
        The file is not whole; nothing was written then.
    """
    if isinstance(target, (str, Path)):
        with Path(target).open("r+b") as file:
            append(file, chunks, limits)
        return
    base = target.tell()
    reader = Reader(target, limits)
    index = IndexBuilder(limits or Limits())
    for entry in reader.entries:
        index.add(Chunk(entry.type, entry.sequence, b""), entry.size)
    new = bytearray()
    for chunk in chunks:
        index.check(chunk)
        index.add(chunk, chunk_size(chunk))
        head, tail = frame(chunk)
        new += head + chunk.payload + tail
    if not new:
        return
    start = reader.first
    if reader.entries:
        start = reader.entries[-1].offset + reader.entries[-1].size
    if len(reader.entries) == 1:
        # It may say that it is alone. Written first: a crash then leaves a file cut off, not a wrong one.
        only = reader.read(0)
        head, tail = frame(only)
        target.seek(base + reader.first)
        _write_all(target, head + only.payload + tail)
    target.seek(base + start)
    _write_all(target, bytes(new) + index.trailer())
    target.truncate()
    target.flush()


def truncate_chunks(
    source: SourceLike,
    *,
    count: int | None = None,
    max_bytes: int | None = None,
    limits: Limits | None = None,
) -> bytes:
    """Return a valid file of the first chunks of another: for progressive files, whose chunks go by level.

    Whether a codec can decode what is left is for the codec to say.

    Parameters
    ----------
    source
        Bytes, or a binary file object; a file that was cut off is accepted.
    count
        How many chunks to keep at most.
    max_bytes
        How many bytes the result may have at most.
    limits
        As for :class:`Reader`.

    Raises
    ------
    UsageError
        Not even the first chunk fits.
    """
    reader = Reader(source, limits, partial=True)
    index = IndexBuilder(reader.limits)
    prefix = encode_header(reader.header, reader.limits)
    size = len(prefix)
    kept: list[Chunk] = []
    for chunk in reader.chunks(unknown=True):
        index.add(chunk, chunk_size(chunk))
        size += chunk_size(chunk)
        end = len(index.trailer()) if kept else 0
        if (count is not None and len(kept) >= count) or (max_bytes is not None and size + end > max_bytes):
            break
        kept.append(chunk)
    if not kept:
        raise UsageError(
            f"not even the first chunk can be kept (count {count}, max_bytes {max_bytes}); allow more"
        )
    return write(reader.header, kept, reader.limits)
