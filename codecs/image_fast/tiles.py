"""The lossy path: picture <-> one coded payload for each tile, and coefficients -> picture."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from siglum.codecs.container import Chunk
from siglum.codecs.image import windows
from siglum.codecs.image_fast.constants import CHANNELS, PATCH
from siglum.errors import ChecksumMismatch

if TYPE_CHECKING:
    from siglum.codecs.image_fast.weights import FastWeights

TILE = 64  # patches on a side of a tile at most: 1024 pixels


def grid(height: int, width: int) -> tuple[int, int]:
    """Patches (rows, columns) of a picture."""
    return -(-height // PATCH), -(-width // PATCH)


def tiles(height: int, width: int) -> list[tuple[slice, slice]]:
    """The tiles of a picture as slices of its grid of patches, row by row, all of about the same size."""
    rows, columns = (
        [slice(start, stop) for start, stop, _, _ in windows.spans(count, TILE, 0)]
        for count in grid(height, width)
    )
    return [(row, column) for row in rows for column in columns]


def decode(
    weights: FastWeights,
    chunks: Sequence[Chunk],
    places: Sequence[tuple[slice, slice]],
    level: int,
    threads: int,
) -> np.ndarray:
    """Coefficients of tiles that fill a rectangle, (rows, columns, 192) float32 in units of their step.

    Parameters
    ----------
    places
        Where each chunk's tile stands, in row order.

    Raises
    ------
    BitstreamError
        If a payload is damaged, or decodes to symbols of another checksum.
    """
    top, left = places[0][0].start, places[0][1].start
    shape = places[-1][0].stop - top, places[-1][1].stop - left
    biases = weights.level(level).biases
    out = np.empty((*shape, CHANNELS), np.float32)

    def one(item: tuple[Chunk, tuple[slice, slice]]) -> None:
        chunk, (rows, columns) = item
        target = out[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        if weights.coder.decode(chunk.payload, biases, weights.offsets, target) != chunk.symbols_crc:
            raise ChecksumMismatch("the decoded symbols do not have the checksum that the file gives")

    items = list(zip(chunks, places, strict=True))
    if threads == 1 or len(items) == 1:
        for item in items:
            one(item)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, items))
    return out


def synthesise(
    weights: FastWeights, y: np.ndarray, level: int, height: int, width: int, threads: int
) -> np.ndarray:
    """(height, width, 3) uint8 picture of the coefficients."""
    return windows.synthesise(weights.engine, weights.preset, y, level, height, width, threads)
