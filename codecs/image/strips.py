"""Lossless pictures and opacity in strips of whole rows, each a chunk that decodes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.container import Chunk, ChunkType, Reader
from siglum.codecs.image import frame
from siglum.codecs.image.region import Region, chunk_of
from siglum.errors import ChecksumMismatch
from siglum.kernels.checksum import crc32c

Pixels = NDArray[np.uint8]
STRIP_PIXELS = 2**20  # a lossless strip is as many whole rows as fit, at least one
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def strips(height: int, width: int) -> list[slice]:
    """Rows of each lossless strip."""
    rows = max(1, STRIP_PIXELS // width)
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]


def encode(pixels: Pixels, kind: ChunkType, threads: int) -> list[Chunk]:
    """The chunks of (H, W, C) samples."""
    from siglum.codecs.image import lossless

    def encode_one(strip: slice) -> bytes:
        return lossless.encode_strip(np.ascontiguousarray(pixels[strip]))

    rows = strips(*pixels.shape[:2])
    payloads = _map(encode_one, rows, threads)
    return [
        Chunk(kind, i, payload, crc32c(np.ascontiguousarray(pixels[strip]).data.cast("B")))
        for i, (strip, payload) in enumerate(zip(rows, payloads, strict=True))
    ]


def decode(chunks: list[Chunk], height: int, width: int, channels: int, threads: int) -> Pixels:
    """(H, W) or (H, W, C) samples of all chunks.

    Raises
    ------
    BitstreamError
        If chunks are missing, too many or damaged.
    """
    rows = strips(height, width)
    frame.expect(chunks, len(rows))
    return _decode(rows, chunks, width, channels, threads)


def read(reader: Reader, kind: ChunkType, part: Region, channels: int, threads: int) -> Pixels:
    """Samples of a region, for which only the strips that hold it are read."""
    height, width = reader.header.shape[:2]
    rows = strips(height, width)
    wanted = [i for i, strip in enumerate(rows) if strip.start < part.rows.stop and part.y < strip.stop]
    chunks = [chunk_of(reader, kind, i) for i in wanted]
    pixels = _decode([rows[i] for i in wanted], chunks, width, channels, threads)
    top = rows[wanted[0]].start
    return np.ascontiguousarray(pixels[part.y - top : part.rows.stop - top, part.columns])


def each(reader: Reader, kind: ChunkType, part: Region, channels: int, threads: int) -> Iterator[Pixels]:
    """As `read`, in pieces from top to bottom, of as many strips as there are threads."""
    rows = strips(*reader.header.shape[:2])
    for number in range(0, len(rows), threads):
        top = max(rows[number].start, part.y)
        bottom = min(rows[min(number + threads, len(rows)) - 1].stop, part.rows.stop)
        if top < bottom:
            yield read(reader, kind, part._replace(y=top, height=bottom - top), channels, threads)


def _decode(rows: list[slice], chunks: list[Chunk], width: int, channels: int, threads: int) -> Pixels:
    from siglum.codecs.image import lossless

    def decode_one(item: tuple[slice, Chunk]) -> Pixels:
        strip, chunk = item
        part = lossless.decode_strip(chunk.payload, strip.stop - strip.start, width, channels)
        if crc32c(np.ascontiguousarray(part).data.cast("B")) != chunk.symbols_crc:
            raise ChecksumMismatch(
                f"strip {chunk.sequence} does not decode to the checksum that the file gives"
            )
        return part

    parts = _map(decode_one, list(zip(rows, chunks, strict=True)), threads)
    pixels = np.concatenate(parts)
    return pixels[..., 0] if channels == 1 else pixels


def _map(function: Callable[[_Item], _Result], items: list[_Item], threads: int) -> list[_Result]:
    if threads == 1 or len(items) == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
