"""WAV files read and written forward only, so that they may come from a pipe and go into one.

Read are PCM of 8, 16, 24 and 32 bits and floats of 32 and 64, RF64 included. Of a pipe the header often does not know
the length: 0, or a number near 2**31 or 2**32, means "until the end".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from siglum.errors import UnsupportedInputError

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
UNKNOWN = 0xFFFFFFFF  # as a size: not known
_NO_SIZE = 0x7FFFF000  # from here on, a size in a pipe is no size
_GUID = bytes.fromhex("000000001000800000aa00389b71")  # what follows the tag in an extensible format
_MOST_FORMAT = 1024  # bytes of a format chunk
_PIECE = 2**16


class UnknownWav(UnsupportedInputError):
    """A WAV file whose samples are of a kind that is not read here; libsndfile may know it."""


class WavReader:
    """Samples of a WAV file as they come.

    Parameters
    ----------
    file
        A binary file object at the first byte; it need not be able to seek.

    Attributes
    ----------
    rate, channels
        Of the recording.
    depth
        Bits of a sample; None if they are floats.
    length
        Samples of each channel, where that is sure before they are read; else None.
    notice
        A sentence, where the header does not tell the truth.

    Raises
    ------
    UnknownWav
        If the samples are of a kind that is not read here.
    UnsupportedInputError
        If it is no WAV file, or damaged.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._read = getattr(file, "read1", file.read)  # what there is, at once
        self.notice: str | None = None
        self.length: int | None = None
        head = self._take(12)
        if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            raise UnsupportedInputError("this is no WAV file")
        size = self._until_data(int.from_bytes(head[4:8], "little"))
        self._left = self._settle(size)

    def _until_data(self, whole: int) -> int | None:
        """Read the chunks before the samples; return the bytes of samples, None if they are not known."""
        form = large = None
        seen = 12
        while True:
            name, size = struct.unpack("<4sI", self._take(8))
            seen += 8 + size + size % 2
            if name == b"data":
                break
            if name == b"fmt " and size <= _MOST_FORMAT:
                form = self._take(size)
            elif name == b"ds64" and 24 <= size <= _MOST_FORMAT:
                large = int.from_bytes(self._take(size)[8:16], "little")
            else:
                self._pass(size)
            self._pass(size % 2)
        if form is None:
            raise UnsupportedInputError("the WAV file does not say what its samples are: it is damaged")
        self._parse(form)
        if size == UNKNOWN and large is not None:
            return large
        if size == 0 and self._file.seekable():
            start = self._file.tell()
            end = self._file.seek(0, 2)
            self._file.seek(start)
            return 0 if whole + 8 == end else None  # it is empty indeed, or was never finished
        return (
            None if size == 0 or (size >= _NO_SIZE and not self._file.seekable()) or size == UNKNOWN else size
        )

    def _parse(self, form: bytes) -> None:
        if len(form) < 16:
            raise UnsupportedInputError("the WAV file does not say what its samples are: it is damaged")
        tag, self.channels, self.rate, _, block, bits = struct.unpack("<HHIIHH", form[:16])
        if tag == EXTENSIBLE and len(form) >= 40 and form[26:40] == _GUID:
            tag = int.from_bytes(form[24:26], "little")
            bits = int.from_bytes(form[18:20], "little") or bits
        wide = block // self.channels if self.channels else 0
        if not self.channels or block != wide * self.channels or not self.rate:
            raise UnsupportedInputError("the WAV file's format makes no sense: it is damaged")
        if (tag, wide) not in ((PCM, 1), (PCM, 2), (PCM, 3), (PCM, 4), (FLOAT, 4), (FLOAT, 8)):
            raise UnknownWav(f"WAV samples of the kind {tag:#x} with {bits} bits are not read here")
        self._tag, self._wide, self._block = tag, wide, block
        self.depth = min(bits, 8 * wide) if tag == PCM else None

    def _settle(self, size: int | None) -> int | None:
        """Bytes of samples to read, as far as the header and the file's size tell."""
        if not self._file.seekable():
            return size
        start = self._file.tell()
        there = self._file.seek(0, 2) - start
        self._file.seek(start)
        if size is None:
            self.notice = "the header does not say how long it is: all there is was taken"
        elif size > there:
            self.notice = (
                f"the header announces {size / self._block / self.rate:.2f} s, and there are "
                f"{there / self._block / self.rate:.2f} s: it was cut off, what there is was taken"
            )
        size = there if size is None else min(size, there)
        self.length = size // self._block
        return self.length * self._block

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Samples (N, C), signed integers of full scale or floats, in pieces as they come."""
        rest = b""
        while self._left is None or self._left > 0:
            data = self._read(_PIECE if self._left is None else min(_PIECE, self._left))
            if not data:
                break
            if self._left is not None:
                self._left -= len(data)
            rest += data
            whole = len(rest) // self._block * self._block
            if whole:
                yield self._samples(rest[:whole]).reshape(-1, self.channels)
            rest = rest[whole:]
        if self._left or rest:
            self.notice = "it ends before the end that its header announces: what came was taken"

    def _samples(self, data: bytes) -> NDArray[Any]:
        if self._tag == FLOAT:
            return np.frombuffer(data, f"<f{self._wide}")
        if self._wide == 1:
            return (np.frombuffer(data, np.uint8) ^ 0x80).view(np.int8)
        if self._wide == 3:
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            return wide.view("<i4")[:, 0]
        return np.frombuffer(data, f"<i{self._wide}")

    def _take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._file.read(size - len(data))
            if not more:
                raise UnsupportedInputError("the WAV file ends within its header: it was cut off")
            data += more
        return data

    def _pass(self, size: int) -> None:
        while size:
            size -= len(self._take(min(size, _PIECE)))


class WavWriter:
    """Writes samples as a WAV file.

    Parameters
    ----------
    file
        A binary file object. Where it can seek, the header is set right at the end.
    rate, channels
        Of the recording.
    depth
        16, 24 or 32 bits a sample.
    length
        Samples of each channel, if that is known: then the header is right from the beginning.
    """

    def __init__(
        self, file: BinaryIO, rate: int, channels: int, depth: int, length: int | None = None
    ) -> None:
        self._file, self._rate, self._channels, self._depth = file, rate, channels, depth
        self._start = file.tell() if file.seekable() else None
        self._size = 0
        bytes_known = None if length is None else length * channels * depth // 8
        # Room for a long size, where one may be needed.
        self._roomy = self._start is not None and (bytes_known is None or bytes_known > _NO_SIZE)
        file.write(self._header(bytes_known))

    def write(self, samples: NDArray[np.float32]) -> None:
        """Add samples (N, C)."""
        data = quantised(samples, self._depth)
        self._size += len(data)
        self._file.write(data)

    def close(self) -> None:
        """End the file; the file object stays open."""
        if self._size % 2:
            self._file.write(b"\0")
        if self._start is not None:
            end = self._file.tell()
            self._file.seek(self._start)
            self._file.write(self._header(self._size))
            self._file.seek(end)

    def _header(self, size: int | None) -> bytes:
        block = self._channels * self._depth // 8
        form = struct.pack("<HHIIHH", PCM, self._channels, self._rate, self._rate * block, block, self._depth)
        if self._channels > 2:
            more = struct.pack("<HHIH", 22, self._depth, 0, PCM) + _GUID
            form = EXTENSIBLE.to_bytes(2, "little") + form[2:] + more
        middle = b"fmt " + struct.pack("<I", len(form)) + form
        first, room = b"RIFF", b""
        whole = None if size is None else size + size % 2 + len(middle) + 12 + 36 * self._roomy
        if self._roomy:
            room = b"JUNK" + struct.pack("<I", 28) + bytes(28)
        if size is not None and whole is not None and whole > _NO_SIZE and self._roomy:
            room = b"ds64" + struct.pack("<IQQQI", 28, whole, size, size // block, 0)
            first = b"RF64"
        sizes = [UNKNOWN if n is None or n > _NO_SIZE else n for n in (whole, size)]
        return (
            first
            + struct.pack("<I4s", sizes[0], b"WAVE")
            + room
            + middle
            + b"data"
            + struct.pack("<I", sizes[1])
        )


def quantised(samples: NDArray[np.float32], depth: int) -> bytes:
    """Samples (N, C) as little-endian integers of 16, 24 or 32 bits, clipped to full scale."""
    most = 2.0 ** (depth - 1)
    whole = np.clip(np.rint(samples.astype(np.float64) * most), -most, most - 1)
    if depth == 24:
        wide = np.ascontiguousarray(whole.astype("<i4"))
        return wide.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return whole.astype(f"<i{depth // 8}").tobytes()
