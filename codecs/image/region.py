"""A part of a picture: only the tiles and strips that hold it are read and decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.container import Chunk, ChunkType, Header, Reader
from siglum.codecs.image import lossy, windows
from siglum.codecs.image.constants import PATCH
from siglum.errors import MalformedHeader, Truncated, UsageError

if TYPE_CHECKING:
    from siglum.codecs.image.engine import EngineName
    from siglum.codecs.image.weights import ImageWeights


class Region(NamedTuple):
    """A rectangle of a picture, in pixels: its left upper corner, its width and its height."""

    x: int
    y: int
    width: int
    height: int

    def check(self, width: int, height: int) -> Region:
        """Return it, if it lies within a picture of this size.

        Raises
        ------
        UsageError
            If it is empty or does not.
        """
        if self.width < 1 or self.height < 1:
            raise UsageError(f"a region has pixels, not {self.width}x{self.height}")
        if self.x < 0 or self.y < 0 or self.x + self.width > width or self.y + self.height > height:
            raise UsageError(
                f"the region {self.width}x{self.height} at {self.x},{self.y} is not within the picture of "
                f"{width}x{height}"
            )
        return self

    @property
    def rows(self) -> slice:
        """Its rows."""
        return slice(self.y, self.y + self.height)

    @property
    def columns(self) -> slice:
        """Its columns."""
        return slice(self.x, self.x + self.width)


def chunk_of(reader: Reader, kind: ChunkType, sequence: int) -> Chunk:
    """Read one part of the picture.

    Raises
    ------
    Truncated
        If the file has no such part.
    MalformedHeader
        If it has no checksum of its symbols.
    """
    entry = reader.find(kind, sequence)
    if entry is None:
        raise Truncated(f"the file has no part {sequence} of the picture: it was cut off")
    chunk = reader.read(entry)
    if chunk.symbols_crc is None:
        raise MalformedHeader("a part of the picture has no checksum of its symbols")
    return chunk


def decode(
    reader: Reader,
    header: Header,
    region: Region,
    weights: ImageWeights,
    threads: int,
    engine: EngineName,
) -> NDArray[np.uint8]:
    """Pixels (height, width, 3) of a region of a lossy picture, within one level of those of the whole.

    Tiles that the region and the pixels around it lie in are decoded, and synthesised with a halo as wide as the
    networks see.
    """
    height, width = header.shape[:2]
    level = header.quality
    assert level is not None
    rows, columns = lossy.grid(height, width)
    halo = windows.synthesis_halo(weights.preset)
    top, bottom = max(0, region.y // PATCH - halo), min(rows, -(-region.rows.stop // PATCH) + halo)
    left, right = max(0, region.x // PATCH - halo), min(columns, -(-region.columns.stop // PATCH) + halo)
    latents: NDArray[np.float32] | None = None
    for number, (tile_rows, tile_columns) in enumerate(lossy.tiles(height, width)):
        first, last = max(top, tile_rows.start), min(bottom, tile_rows.stop)
        begin, end = max(left, tile_columns.start), min(right, tile_columns.stop)
        if first >= last or begin >= end:
            continue
        chunk = chunk_of(reader, ChunkType.DATA, number)
        assert chunk.symbols_crc is not None
        shape = (tile_rows.stop - tile_rows.start, tile_columns.stop - tile_columns.start)
        tile = lossy.decode_tile(weights, lossy.Tile(chunk.payload, chunk.symbols_crc), shape, level, threads)
        if latents is None:  # not before the first tile has proved to be sound
            latents = np.empty((bottom - top, right - left, tile.shape[2]), np.float32)
        part = tile[
            first - tile_rows.start : last - tile_rows.start,
            begin - tile_columns.start : end - tile_columns.start,
        ]
        latents[first - top : last - top, begin - left : end - left] = part
    assert latents is not None
    size = min(height, bottom * PATCH) - top * PATCH, min(width, right * PATCH) - left * PATCH
    pixels = lossy.synthesise(weights, latents, level, *size, threads, engine)
    y, x = region.y - top * PATCH, region.x - left * PATCH
    return np.ascontiguousarray(pixels[y : y + region.height, x : x + region.width])
