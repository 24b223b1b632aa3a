"""The lossy path: picture <-> latents <-> one coded payload for each tile.

A tile is 128 x 128 positions (2048 x 2048 pixels) of a picture of more positions than that, or all of a
smaller one. Its hyperlatents and latents are one chunk that decodes alone: the prior starts anew at its
border, the synthesis runs over the whole grid of latents, so no seam shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siglum.codecs.image import quantise, windows
from siglum.codecs.image.constants import HYPER_FACTOR, PATCH
from siglum.codecs.image.prior import Walk, coding_order
from siglum.entropy import rans
from siglum.entropy.arrays import as_bytes
from siglum.entropy.gaussian import gaussian_tables
from siglum.errors import ChecksumMismatch, MalformedHeader
from siglum.kernels import latents
from siglum.kernels.checksum import crc32c
from siglum.kernels.walk import OUT_OF_RANGE, Latents

if TYPE_CHECKING:
    from siglum.codecs.image.engine import EngineName
    from siglum.codecs.image.weights import ImageWeights

TILE = 128  # latent positions on a side of a tile: 2048 pixels


@dataclass(frozen=True)
class Tile:
    """A coded tile: the payload of its chunk and the CRC32C of its symbols."""

    payload: bytes
    symbols_crc: int


def grid(height: int, width: int) -> tuple[int, int]:
    """Latent positions (rows, columns) of a picture."""
    return -(-height // PATCH), -(-width // PATCH)


def tiles(height: int, width: int) -> list[tuple[slice, slice]]:
    """The tiles of a picture as slices of its grid of latents, row by row."""
    rows, columns = grid(height, width)
    side = TILE if rows * columns > TILE * TILE else max(rows, columns)
    return [
        (slice(top, min(top + side, rows)), slice(left, min(left + side, columns)))
        for top in range(0, rows, side)
        for left in range(0, columns, side)
    ]


def symbols_checksum(z: np.ndarray, symbols: np.ndarray) -> int:
    """CRC32C over hyperlatents, then latents, as little-endian int32 in (row, column, channel) order."""
    first = crc32c(np.ascontiguousarray(z, "<i4").data.cast("B"))
    return crc32c(np.ascontiguousarray(symbols, "<i4").data.cast("B"), first)


def walk(weights: ImageWeights, z: np.ndarray, level: int, shape: tuple[int, int], threads: int) -> Walk:
    """The way through the latents of a tile of so many rows and columns, given its hyperlatents."""
    return Walk(weights.prior, z, level, weights.mean_unit(level), shape, threads)


def predict(
    weights: ImageWeights, z: np.ndarray, symbols: np.ndarray, level: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Means (float32, in steps) and table indices (uint8) as a decoder has them.

    Parameters
    ----------
    z
        (h, w, hyper) int16 hyperlatents.
    symbols
        (rows, columns, latent) int32; where a table is below the skip they count as zero.
    """
    way = walk(weights, z, level, (symbols.shape[0], symbols.shape[1]), threads)
    for where in way:
        way.settle(where, np.where(way.index[where] < weights.skip, 0, symbols[where]))
    return way.mean, way.index


def encode(
    weights: ImageWeights,
    pixels: np.ndarray,
    level: int,
    threads: int,
    engine: EngineName = "native",
    analysed: np.ndarray | None = None,
) -> tuple[list[Tile], np.ndarray]:
    """Code a picture.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8.
    level
        Quality level, 0..255.
    analysed
        What the analysis gives, (rows, columns, latent) float32 in steps, if it is known; it is changed.

    Returns
    -------
    The tiles in row order, and the latents as the decoder will have them, (rows, columns, latent) float32.
    """
    y = analysed
    if y is None:
        y = windows.analyse(weights.engine(engine), weights.preset, pixels, level, threads)
    coded = []
    for rows, columns in tiles(*pixels.shape[:2]):
        z, mean, index, symbols = choose_symbols(weights, y[rows, columns], level, threads, engine)
        coded.append(Tile(encode_symbols(weights, z, symbols, index, level), symbols_checksum(z, symbols)))
        latents.reconstruct(symbols, mean, index, weights.offsets, y[rows, columns], threads)
    return coded, y


def choose_symbols(
    weights: ImageWeights, y: np.ndarray, level: int, threads: int, engine: EngineName = "native"
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Hyperlatents, means, table indices and symbols of a tile's latents (rows, columns, latent) in steps."""
    bound = weights.hyper_bound
    z = np.clip(np.rint(weights.engine(engine).hyper_analyse(y, level, threads)), -bound, bound).astype(
        np.int16
    )
    found = round_all(weights, y, z, level, threads)
    return z, found.mean, found.index, found.symbols


def round_all(
    weights: ImageWeights, y: np.ndarray, z: np.ndarray, level: int, threads: int, factor: float = 1.0
) -> Latents:
    """A tile's latents (rows, columns, latent), in steps, rounded by rate and error, and what is predicted of them.

    Greedy: a symbol's cost for those that lean on it is not looked at. `factor` multiplies the weight of the error.
    """
    weight = weights.error_weight(level) * np.float32(factor)
    bits, unit = quantise.magnitude_bits(), weights.mean_unit(level)
    return weights.prior.at(level).choose(y, z, unit, weight, bits, weights.skip, threads)


def _hyper_tables(weights: ImageWeights, level: int, rows: int, columns: int) -> np.ndarray:
    tables = weights.prior.hyper_tables(level)
    return np.broadcast_to(tables, (rows, columns, tables.size))


def encode_symbols(
    weights: ImageWeights, z: np.ndarray, symbols: np.ndarray, index: np.ndarray, level: int
) -> bytes:
    """One payload: a step of hyperlatents, then for each phase of each group its latents that are not skipped."""
    bank = gaussian_tables()
    encoder = rans.Encoder()
    encoder.push(z.astype(np.int32), bank, _hyper_tables(weights, level, *z.shape[:2]))
    for where in coding_order(*index.shape):
        coded, tables = latents.gather(symbols[where], index[where], weights.skip)
        encoder.push(coded, bank, tables)
    return encoder.finish()


def decode_tile(
    weights: ImageWeights, tile: Tile, shape: tuple[int, int], level: int, threads: int
) -> np.ndarray:
    """Latents of a tile, (rows, columns, latent) float32 in units of their step.

    Raises
    ------
    BitstreamError
        If the payload is damaged, or decodes to symbols of another checksum.
    """
    rows, columns = (-(-side // HYPER_FACTOR) for side in shape)
    prior = weights.prior
    z = np.empty((rows, columns, prior.hyper_channels), np.int32)
    found = Latents.empty(*shape, prior.latent)
    mean, index, symbols = found.mean, found.index, found.symbols
    status = prior.at(level).decode(
        as_bytes(tile.payload),
        gaussian_tables().native,
        prior.hyper_tables(level),
        weights.hyper_bound,
        z,
        weights.mean_unit(level),
        weights.skip,
        found,
        threads,
    )
    if status == OUT_OF_RANGE:
        raise MalformedHeader("a hyperlatent is out of range: the file is damaged")
    rans.check(status)
    if max(int(symbols.max()), -int(symbols.min())) > quantise.MAX_SYMBOL:
        raise MalformedHeader("a latent is out of range: the file is damaged")
    if symbols_checksum(z, symbols) != tile.symbols_crc:
        raise ChecksumMismatch("the decoded symbols do not have the checksum that the file gives")
    return latents.reconstruct(symbols, mean, index, weights.offsets, mean, threads)


def decode_latents(
    weights: ImageWeights, coded: Iterable[Tile], height: int, width: int, level: int, threads: int
) -> np.ndarray:
    """Latents of a whole picture, (rows, columns, latent) float32 in units of their step."""
    regions = tiles(height, width)
    parts: Iterator[Tile] = iter(coded)
    y: np.ndarray | None = None
    for rows, columns in regions:
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        part = decode_tile(weights, next(parts), shape, level, threads)
        if len(regions) == 1:
            return part
        if y is None:  # not before the first tile has proved to be sound
            y = np.empty((*grid(height, width), part.shape[2]), np.float32)
        y[rows, columns] = part
    assert y is not None
    return y


def synthesise(
    weights: ImageWeights,
    y: np.ndarray,
    level: int,
    height: int,
    width: int,
    threads: int,
    engine: EngineName = "native",
) -> np.ndarray:
    """(H, W, 3) uint8 picture of the latents."""
    return windows.synthesise(weights.engine(engine), weights.preset, y, level, height, width, threads)
