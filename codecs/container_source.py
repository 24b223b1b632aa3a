"""Reading from bytes, files and pipes without ever trusting a length, and the varints of the format."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, TypeAlias

from siglum.errors import MalformedHeader, Truncated

__all__ = ["MAX_VARINT", "Source", "SourceLike", "append_varint", "varint_size"]

SourceLike: TypeAlias = bytes | bytearray | memoryview | BinaryIO

MAX_VARINT = 2**63 - 1
_MAX_VARINT_BYTES = 9
_PIECE = 1 << 20  # bytes asked of a pipe at a time: memory follows what arrives, not what is announced


def append_varint(out: bytearray, value: int) -> None:
    """Append ``value`` (0 to 2**63 - 1) in little-endian groups of 7 bits, in as few bytes as it needs."""
    if not 0 <= value <= MAX_VARINT:
        raise ValueError(f"{value} does not fit a varint (0 to 2**63 - 1)")
    while value >= 0x80:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)


def varint_size(value: int) -> int:
    """Return the bytes that the varint of ``value`` takes."""
    return max(1, (value.bit_length() + 6) // 7)


class Source:
    """A cursor over bytes, a file or a pipe; offsets count from where the file stood at the beginning.

    Parameters
    ----------
    source
        The bytes of a .sgl file, or a binary file object that stands at its first byte. One that can seek is
        taken to end with the .sgl file.
    at
        Offset of what it begins with, where that is a piece of a file.
    """

    def __init__(self, source: SourceLike, at: int = 0) -> None:
        if isinstance(source, (bytes, bytearray, memoryview)):
            self._file: BinaryIO = io.BytesIO(source)
        elif isinstance(source, (str, Path)):
            raise TypeError("pass bytes or an open binary file, not a path")
        else:
            self._file = source
        self.seekable = self._file.seekable()
        self.offset = at
        self.end: int | None = None
        if self.seekable:
            start = self._file.tell()
            self._base = start - at
            self.end = self._file.seek(0, io.SEEK_END) - self._base
            self._file.seek(start)

    def seek(self, offset: int) -> None:
        """Go to ``offset``; only where the source is seekable."""
        self._file.seek(self._base + offset)
        self.offset = offset

    def at_end(self) -> bool:
        """Return whether nothing follows. May take one byte from a pipe, so ask it last."""
        if self.end is not None:
            return self.offset >= self.end
        return not self._file.read(1)

    def read(self, size: int, what: str) -> bytes:
        """Return exactly ``size`` bytes; ``what`` names them in the message of :class:`Truncated`."""
        if self.end is not None and size > self.end - self.offset:
            self._truncated(size, max(self.end - self.offset, 0), what)
        piece = self._file.read(size if self.seekable else min(size, _PIECE)) if size else b""
        if len(piece) != size:
            gathered = bytearray(piece or b"")
            while piece and len(gathered) < size:
                piece = self._file.read(min(size - len(gathered), _PIECE))
                gathered += piece or b""
            if len(gathered) != size:
                self._truncated(size, len(gathered), what)
            piece = bytes(gathered)
        self.offset += size
        return piece

    def read_varint(self, what: str, raw: bytearray | None = None) -> int:
        """Return the varint at the cursor, and append its bytes to ``raw``, which checksums need."""
        start = self.offset
        value = 0
        for position in range(_MAX_VARINT_BYTES):
            byte = self.read(1, what)[0]
            if raw is not None:
                raw.append(byte)
            value |= (byte & 0x7F) << (7 * position)
            if byte < 0x80:
                if byte == 0 and position > 0:
                    raise MalformedHeader(
                        f"{what} at byte {start} is a varint with a needless last byte; "
                        "the file was not written by siglum, or is damaged"
                    )
                return value
        raise MalformedHeader(
            f"{what} at byte {start} is a varint of more than {_MAX_VARINT_BYTES} bytes; "
            "the file is damaged, get it again"
        )

    def _truncated(self, size: int, left: int, what: str) -> None:
        raise Truncated(
            f"the data ends {size - left} bytes too early, in {what} at byte {self.offset} "
            f"({size} bytes needed, {left} left); get the file again"
        )
