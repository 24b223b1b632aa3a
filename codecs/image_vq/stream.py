"""A picture's latents as a sequence of chunks, coarse to fine, and back from any part of the sequence.

The hyperlatents of every tile come first, one chunk a tile. Then come groups of layers; a group holds for every
tile one chunk a lane. Any number of chunks from the first on decodes to a picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.image import windows
from siglum.codecs.image.constants import HYPER_FACTOR
from siglum.codecs.image.lossy import grid, tiles
from siglum.codecs.image_vq import blocks, cascade
from siglum.codecs.image_vq.blocks import MAX_LANES, Layer
from siglum.codecs.image_vq.frame import Plan
from siglum.codecs.image_vq.prior import HYPER_BOUND
from siglum.codecs.image_vq.weights import VqWeights
from siglum.entropy import rans
from siglum.entropy.gaussian import gaussian_tables
from siglum.entropy.models import Step
from siglum.errors import BitstreamError, ChecksumMismatch, MalformedHeader
from siglum.kernels.checksum import crc32c

Floats = NDArray[np.float32]
CHUNK_BITS = 8 * 1500  # layers are put together until their chunks have so many on average
LANE_BITS = 8 * 20000  # a picture has a lane for every so many, four at most by default
STATE_SHARE = 4  # the coder's interleaved states take a part of what they may: chunks are small
DEFAULT_LANES = 4


@dataclass(frozen=True)
class Part:
    """A coded part of the picture: the payload of its chunk and the CRC32C of its symbols."""

    payload: bytes
    symbols_crc: int


@dataclass(frozen=True)
class Coded:
    """All parts of a picture in the order of the file, how they are arranged, and the latents they decode to."""

    plan: Plan
    parts: list[Part]
    latents: Floats


def encode(
    weights: VqWeights, pixels: NDArray[np.uint8], level: int, threads: int, lanes: int | None = None
) -> Coded:
    """Code a picture.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8.
    level
        Quality level, 0..255.
    lanes
        Chunks that a layer's blocks are dealt to, 1 to 16; None: by the size of the file.
    """
    y = windows.analyse(weights.engine, weights.preset, pixels, level, threads)
    bases, states, means = [], [], []
    for rows, columns in tiles(*pixels.shape[:2]):
        part = y[rows, columns]
        z = np.rint(weights.engine.hyper_analyse(part, level, threads))
        z = np.clip(z, -HYPER_BOUND, HYPER_BOUND).astype(np.int16)
        mean, index = weights.prior(z, level, part.shape[:2], threads)
        bases.append(encode_base(weights, z, level))
        means.append(mean)
        states.append(index)
    bits = sum(float(_expected_bits()[index].sum()) for index in states)
    lanes = lanes or int(np.clip(bits // LANE_BITS, 1, DEFAULT_LANES))
    all_layers = blocks.layers(weights.ranges)
    coded: list[list[list[tuple[list[Step], int]]]] = []  # tile, layer, lane
    for (rows, columns), mean, index in zip(tiles(*pixels.shape[:2]), means, states, strict=True):
        tile = cascade.Tile(weights, index, lanes, weights.lift(level))
        part = y[rows, columns]
        middle = mean * weights.mean_unit(level)
        x = tile.vectors(part - middle)
        coded.append(
            [[tile.encode(layer, lane, x, threads) for lane in range(lanes)] for layer in all_layers]
        )
        part[...] = middle + tile.residual()
    sizes = [sum(_bits(lane) for tile in coded for lane in tile[layer]) for layer in range(len(all_layers))]
    plan = Plan(lanes, _grouped(sizes, CHUNK_BITS * lanes * len(coded)))
    parts = list(bases)
    for group in plan.spans():
        for tile_layers in coded:
            parts += [_join([tile_layers[layer][lane] for layer in group]) for lane in range(lanes)]
    return Coded(plan, parts, y)


def encode_base(weights: VqWeights, z: NDArray[np.int16], level: int) -> Part:
    """The chunk of a tile's hyperlatents."""
    encoder = rans.Encoder()
    encoder.push(z.astype(np.int32), gaussian_tables(), weights.prior.hyper_tables(level, *z.shape[:2]))
    return Part(encoder.finish(), _base_checksum(z))


def _base_checksum(z: NDArray[np.signedinteger]) -> int:
    return crc32c(np.ascontiguousarray(z, "<i4").data.cast("B"))


def _expected_bits() -> Floats:
    """(64,): entropy of each table of the Gaussian bank."""
    rows = []
    for frequencies in gaussian_tables().frequencies:
        share = frequencies / frequencies.sum()
        rows.append(-(share * np.log2(share)).sum())
    return np.asarray(rows, np.float32)


def _bits(lane: tuple[list[Step], int]) -> float:
    return sum((step.bits() for step in lane[0]), 0.0)


def _grouped(sizes: list[float], least: float) -> tuple[int, ...]:
    """How many successive layers make each group: as few as have so many bits together."""
    groups: list[int] = []
    count, total = 0, 0.0
    for size in sizes:
        count, total = count + 1, total + size
        if total >= least:
            groups.append(count)
            count, total = 0, 0.0
    if count and (not groups or total > least / 2):
        groups.append(count)
    elif count:
        groups[-1] += count
    return tuple(groups)


def _join(lane_layers: list[tuple[list[Step], int]]) -> Part:
    states = rans.choose_lanes(sum(map(_bits, lane_layers)) / STATE_SHARE)
    encoder, checksum = rans.Encoder(states), 0
    for steps, symbols in lane_layers:
        for step in steps:
            step.push(encoder)
        checksum = cascade.combine(checksum, symbols)
    return Part(encoder.finish(), checksum)


def decode(
    weights: VqWeights,
    plan: Plan,
    parts: dict[int, Part],
    height: int,
    width: int,
    level: int,
    threads: int,
    conceal: bool = False,
) -> tuple[Floats, int]:
    """Latents from what there is of a picture.

    Parameters
    ----------
    parts
        By their number in the file. What a missing one would refine stays coarse.
    conceal
        Take a part that does not decode for a missing one, and fill in what lost lanes leave open from the blocks
        around it.

    Returns
    -------
    (rows, columns, latent) float32 in steps, and how many parts were there but could not be used.

    Raises
    ------
    BitstreamError
        If a part is damaged, unless `conceal`.
    """
    regions = tiles(height, width)
    if sum(plan.groups) != len(blocks.layers(weights.ranges)):
        raise MalformedHeader(
            f"the file has {sum(plan.groups)} layers, its model others: the file is damaged"
        )
    y = np.zeros((*grid(height, width), weights.prior.latent), np.float32)
    unused = 0
    for number, (rows, columns) in enumerate(regions):
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        z = None
        if number in parts:
            try:
                z = _decode_base(weights, parts[number], shape, level)
            except BitstreamError:
                if not conceal:
                    raise
                unused += 1
        blank = np.zeros((*_hyper_shape(shape), weights.prior.hyper), np.int16)
        mean, index = weights.prior(blank if z is None else z, level, shape, threads)
        tile = cascade.Tile(weights, index, plan.lanes, weights.lift(level))
        lost = list(range(plan.lanes))
        if z is not None:
            lost, wasted = _decode_lanes(tile, plan, parts, number, len(regions), conceal)
            unused += wasted
        residual = tile.concealed(lost) if conceal and lost else tile.residual()
        np.multiply(mean, weights.mean_unit(level), out=y[rows, columns])
        y[rows, columns] += residual
    return y, unused


def _decode_lanes(
    tile: cascade.Tile,
    plan: Plan,
    parts: dict[int, Part],
    number: int,
    count: int,
    conceal: bool,
) -> tuple[list[int], int]:
    """Take up a tile's chunks; returns the lanes that ended early, and how many parts were of no use."""
    all_layers = blocks.layers(tile.weights.ranges)
    lost: set[int] = set()
    unused = 0
    for position, group in enumerate(plan.spans()):
        group_layers: list[Layer] = [all_layers[layer] for layer in group]
        for lane in range(plan.lanes):
            part = parts.get(plan.number(position, number, lane, count))
            if part is None or lane in lost:
                unused += part is not None
                lost.add(lane)
                continue
            try:
                tile.decode(group_layers, lane, part.payload, part.symbols_crc)
            except BitstreamError:
                if not conceal:
                    raise
                unused += 1
                lost.add(lane)
    return sorted(lost), unused


def _hyper_shape(shape: tuple[int, int]) -> tuple[int, int]:
    return -(-shape[0] // HYPER_FACTOR), -(-shape[1] // HYPER_FACTOR)


def _decode_base(weights: VqWeights, part: Part, shape: tuple[int, int], level: int) -> NDArray[np.int16]:
    decoder = rans.Decoder(part.payload)
    z = decoder.decode(gaussian_tables(), weights.prior.hyper_tables(level, *_hyper_shape(shape)))
    decoder.finish()
    if z.size and max(int(z.max()), -int(z.min())) > HYPER_BOUND:
        raise MalformedHeader("a hyperlatent is out of range: the file is damaged")
    if _base_checksum(z) != part.symbols_crc:
        raise ChecksumMismatch("the decoded symbols do not have the checksum that the file gives")
    return z.astype(np.int16)


__all__ = ["MAX_LANES", "Coded", "Part", "decode", "encode", "encode_base"]
