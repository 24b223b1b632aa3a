"""Decoding at 1/2, 1/4 and 1/8: a thumbnail costs less time and memory than the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.container import ChunkType, Header, Reader
from siglum.codecs.image import lossy, windows
from siglum.codecs.image.constants import PATCH
from siglum.codecs.image.region import Region, chunk_of
from siglum.codecs.image.scale import scaled

if TYPE_CHECKING:
    from siglum.codecs.image.engine import EngineName
    from siglum.codecs.image.weights import ImageWeights


def decode(
    reader: Reader,
    header: Header,
    region: Region,
    factor: int,
    weights: ImageWeights,
    threads: int,
    engine: EngineName,
) -> NDArray[np.uint8]:
    """Means over factor x factor pixels of a region of a lossy picture, about those of the whole decoded.

    No more than the latents of two rows of tiles are in memory at a time.

    Parameters
    ----------
    region
        In pixels of the whole picture; begins at multiples of the factor.

    Returns
    -------
    (ceil(height / factor), ceil(width / factor), 3) uint8.
    """
    height, width = header.shape[:2]
    level = header.quality
    assert level is not None
    side = PATCH // factor
    out = np.empty((scaled(region.height, factor), scaled(region.width, factor), 3), np.uint8)
    top, left = region.y // factor, region.x // factor
    first, last = region.y // PATCH, -(-region.rows.stop // PATCH)
    begin, end = region.x // PATCH, -(-region.columns.stop // PATCH)
    halo = windows.synthesis_halo(weights.preset)
    rows, columns = lossy.grid(height, width)
    source = _Latents(
        reader, height, width, level, weights, threads, (max(0, begin - halo), min(columns, end + halo))
    )
    for start, stop, above, below in windows.spans_within(first, last, windows.WINDOW, halo, rows):
        y = source.rows(above, below)
        for before, after, west, east in windows.spans_within(begin, end, windows.WINDOW, halo, columns):
            part = np.empty(((stop - start) * side, (after - before) * side, 3), np.uint8)
            place = (start - above) * side, (before - west) * side
            piece = y[:, west - source.first : east - source.first]
            weights.engine(engine).synthesise_scaled(piece, level, part, *place, threads, factor)
            _paste(out, part, start * side - top, before * side - left)
    return out


def _paste(out: NDArray[np.uint8], part: NDArray[np.uint8], row: int, column: int) -> None:
    """Put a part at a place that may begin before the picture and end behind it."""
    above, before = max(0, -row), max(0, -column)
    target = out[row + above : row + len(part), column + before : column + part.shape[1]]
    target[...] = part[above : above + len(target), before : before + target.shape[1]]


class _Latents:
    """Latents by rows, of some columns, decoded tile by tile from top to bottom."""

    def __init__(
        self,
        reader: Reader,
        height: int,
        width: int,
        level: int,
        weights: ImageWeights,
        threads: int,
        columns: tuple[int, int],
    ) -> None:
        self._reader, self._level, self._weights, self._threads = reader, level, weights, threads
        self._tiles = lossy.tiles(height, width)
        self.first, self._end = columns
        self._have: dict[int, NDArray[np.float32]] = {}  # by the first row of a row of tiles

    def rows(self, above: int, below: int) -> NDArray[np.float32]:
        """Rows above..below - 1: (rows, columns, latent) float32 in steps. Earlier rows are forgotten."""
        bands = sorted({(rows.start, rows.stop) for rows, _ in self._tiles})
        wanted = [band for band in bands if band[0] < below and above < band[1]]
        self._have = {start: self._have[start] for start, _ in wanted if start in self._have}
        for start, _ in wanted:
            if start not in self._have:
                self._have[start] = self._band(start)
        parts = [self._have[start][max(0, above - start) : below - start] for start, _ in wanted]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _band(self, start: int) -> NDArray[np.float32]:
        """All rows of a row of tiles."""
        parts = []
        for number, (rows, columns) in enumerate(self._tiles):
            if rows.start != start or columns.stop <= self.first or self._end <= columns.start:
                continue
            chunk = chunk_of(self._reader, ChunkType.DATA, number)
            assert chunk.symbols_crc is not None
            shape = rows.stop - rows.start, columns.stop - columns.start
            coded = lossy.Tile(chunk.payload, chunk.symbols_crc)
            y = lossy.decode_tile(self._weights, coded, shape, self._level, self._threads)
            parts.append(y[:, max(0, self.first - columns.start) : self._end - columns.start])
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
