"""How a tile's latents become vectors: 2 x 2 blocks of positions, channels by importance, lanes of blocks."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.image_vq.constants import CLASSES, COARSE, DIMENSION, FINE, SIDE, SKIPPED

T = TypeVar("T", bound=np.generic)
MAX_LANES = 16
Layer = tuple[int, int, int]
"""A layer: its stage, and the first and last + 1 of its channels by importance."""


def layers(ranges: tuple[int, ...]) -> list[Layer]:
    """All layers in the order of the file: the coarse stage of all channels, then the fine one range by range."""
    fine = [(FINE, low, high) for low, high in zip((0, *ranges), ranges, strict=False)]
    return [(COARSE, 0, ranges[-1]), *fine]


def shape_of(rows: int, columns: int) -> tuple[int, int]:
    """Blocks (rows, columns) of a tile of latent positions."""
    return -(-rows // SIDE), -(-columns // SIDE)


def split(latents: NDArray[T], order: NDArray[np.intp]) -> NDArray[T]:
    """(rows, columns, C) -> (blocks, C, 4): blocks row by row, zeros beyond the edge, channels in `order`."""
    rows, columns, channels = latents.shape
    down, right = shape_of(rows, columns)
    if (down * SIDE, right * SIDE) != (rows, columns):
        latents = np.pad(latents, ((0, down * SIDE - rows), (0, right * SIDE - columns), (0, 0)))
    parts = latents.reshape(down, SIDE, right, SIDE, channels)[..., order]
    return np.ascontiguousarray(parts.transpose(0, 2, 4, 1, 3)).reshape(down * right, channels, DIMENSION)


def join(vectors: NDArray[T], order: NDArray[np.intp], rows: int, columns: int) -> NDArray[T]:
    """The inverse of `split`: (blocks, C, 4) -> (rows, columns, C)."""
    down, right = shape_of(rows, columns)
    channels = vectors.shape[1]
    place = np.empty(channels, np.intp)
    place[order] = np.arange(channels)
    parts = vectors.reshape(down, right, channels, SIDE, SIDE).transpose(0, 3, 1, 4, 2)
    return parts.reshape(down * SIDE, right * SIDE, channels)[:rows, :columns, place]


def kinds_of(index: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The class of each vector, from its table indices (..., 4): 0..SKIPPED."""
    bounds = np.array(CLASSES[::-1])
    return (SKIPPED - np.searchsorted(bounds, index.max(axis=-1), side="right")).astype(np.uint8)


def lanes_of(rows: int, columns: int, lanes: int) -> NDArray[np.uint8]:
    """The lane of each block of a tile of latent positions, row by row: neighbours are in different lanes."""
    down, right = shape_of(rows, columns)
    i, j = np.mgrid[:down, :right]
    step = 1 if lanes == 2 else 2
    return ((step * i + j) % lanes).astype(np.uint8).ravel()


def outside(values: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """What stands beside each position of a block, outside of it: zero beyond the edge.

    Parameters
    ----------
    values
        (blocks, C, 4).

    Returns
    -------
    (blocks, 4, 2 C): of each position the neighbour in its row, then that in its column.
    """
    down, right = shape_of(rows, columns)
    grid = values.reshape(down, right, -1, SIDE, SIDE)
    beside, above = np.zeros_like(grid), np.zeros_like(grid)
    beside[:, 1:, ..., 0], beside[:, :-1, ..., 1] = grid[:, :-1, ..., 1], grid[:, 1:, ..., 0]
    above[1:, ..., 0, :], above[:-1, ..., 1, :] = grid[:-1, ..., 1, :], grid[1:, ..., 0, :]
    both = np.concatenate([beside, above], axis=2).reshape(down * right, -1, DIMENSION)
    return np.ascontiguousarray(both.transpose(0, 2, 1))
