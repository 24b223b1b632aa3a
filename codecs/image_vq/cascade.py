"""One tile of latents through the cascade: which codebook codes which vectors, layer by layer and lane by lane.

A layer is coded lane by lane, and a lane depends on its own earlier layers only, so that a lost chunk spoils no
more than what follows in its lane.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.image_vq import blocks, lattice
from siglum.codecs.image_vq.blocks import Layer
from siglum.codecs.image_vq.constants import (
    COARSE,
    COARSE_FACTOR,
    COARSE_TABLES,
    DIMENSION,
    GRID,
    LATTICE_UNIT,
    REFINED,
    SKIPPED,
)
from siglum.codecs.image_vq.weights import VqWeights
from siglum.entropy import rans
from siglum.entropy.gaussian import gaussian_tables
from siglum.entropy.models import Step, TableStep
from siglum.errors import ChecksumMismatch, MalformedHeader
from siglum.kernels.checksum import crc32c

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]
COARSE_UNIT = COARSE_FACTOR * LATTICE_UNIT  # grid steps of one step of the coarse lattice
MAX_COARSE = 2**14  # of an integer of the coarse stage, in a file


def _checksum(codes: Integers, first: int) -> int:
    return crc32c(codes.astype("<u2").data.cast("B"), first)


def combine(first: int, second: int) -> int:
    """One checksum of a chunk from those of its layers."""
    return crc32c(second.to_bytes(4, "little"), first)


class Tile:
    """The state of a tile while it is coded or decoded.

    Parameters
    ----------
    weights
        The model.
    index
        (rows, columns, latent) uint8 tables that the hyperprior predicts.
    lanes
        How many lanes the blocks are dealt to.
    lift
        How far, in steps, what is decoded is moved away from zero: a synthesis that was trained on rounded
        latents pulls them back by itself.
    """

    def __init__(self, weights: VqWeights, index: NDArray[np.uint8], lanes: int, lift: float = 0.0) -> None:
        self.weights = weights
        self.shape = index.shape[:2]
        self.lanes, self._lift = lanes, np.float32(lift)
        vectors = blocks.split(index, weights.order)
        self.channels = vectors.shape[1]
        self._kinds = blocks.kinds_of(vectors)
        self._index = vectors.reshape(-1, DIMENSION)
        self._blocks = [
            np.flatnonzero(blocks.lanes_of(self.shape[0], self.shape[1], lanes) == lane).astype(np.int32)
            for lane in range(lanes)
        ]
        self._spent = np.zeros((len(self._index), DIMENSION), np.int32)
        self._done = np.zeros(len(self._index), np.bool_)
        self._worth = weights.worth[weights.order]

    @property
    def spent(self) -> Integers:
        """(blocks, C, 4) what has been coded, in grid steps, channels by importance."""
        return self._spent.reshape(*self._kinds.shape, DIMENSION)

    @property
    def kinds(self) -> NDArray[np.uint8]:
        """(blocks, C) the class of each vector, 0..SKIPPED."""
        return self._kinds

    def _members(self, layer: Layer, lane: int, kind: int) -> NDArray[np.intp]:
        """Numbers of a layer's vectors of one class in a lane: block by block, then by importance."""
        _, low, high = layer
        own = self._blocks[lane]
        block, channel = np.nonzero(self._kinds[own, low:high] == kind)
        return own[block] * self.channels + channel + low

    def _coarse_tables(self, where: NDArray[np.intp]) -> NDArray[np.uint8]:
        index = self._index[where]
        return np.where(index > COARSE_TABLES, index - COARSE_TABLES, 0).astype(np.uint8)

    def _lattice_symbols(self, where: NDArray[np.intp], x: Floats) -> tuple[Integers, Integers]:
        """Coarse integers and codewords of refined vectors: of the lattice point of least rate and distortion."""
        worth = self._worth[where % self.channels][:, None]
        weight = worth + self.weights.books[REFINED].precision[self._index[where]]
        bound = np.float32(MAX_COARSE * COARSE_FACTOR)
        # A Gaussian's bits are a square too, so the cost is least next to a point that is pulled towards zero.
        target = np.clip(worth * x[where] / weight / np.float32(LATTICE_UNIT * GRID), -bound, bound)
        return lattice.split(lattice.nearest(target, weight))

    def encode(self, layer: Layer, lane: int, x: Floats, threads: int) -> tuple[list[Step], int]:
        """Choose the symbols of a layer's lane.

        Parameters
        ----------
        x
            (vectors, 4) residuals of the hyperprior's means, as `vectors` orders them.

        Returns
        -------
        The steps of the coder, and the CRC32C of the symbols.
        """
        if layer[0] == COARSE:
            where = self._members(layer, lane, REFINED)
            if not where.size:
                return [], 0
            integers, _ = self._lattice_symbols(where, x)
            step = TableStep(integers, gaussian_tables(), self._coarse_tables(where))
            self._add(where, integers * COARSE_UNIT)
            return [step], crc32c(integers.astype("<i4").data.cast("B"))
        steps: list[Step] = []
        checksum = 0
        for kind, book in enumerate(self.weights.books):
            where = self._members(layer, lane, kind)
            if not where.size:
                continue
            index = self._index[where]
            if kind == REFINED:
                _, codes = self._lattice_symbols(where, x)
            else:
                codes = book.search(x[where], index, self._worth[where % self.channels], threads)
            steps += book.model.steps(codes, book.context(self._spent[where], index))
            self._add(where, book.steps[codes])
            checksum = _checksum(codes, checksum)
        return steps, checksum

    def decode(self, layers: list[Layer], lane: int, payload: bytes, symbols_crc: int) -> None:
        """Take up a chunk: some layers of a lane.

        Raises
        ------
        BitstreamError
            If the payload is damaged, or decodes to symbols of another checksum.
        """
        decoder = rans.Decoder(payload)
        checksum = 0
        for layer in layers:
            checksum = combine(checksum, self._decode_layer(decoder, layer, lane))
        decoder.finish()
        if checksum != symbols_crc:
            raise ChecksumMismatch("the decoded codewords do not have the checksum that the file gives")

    def _decode_layer(self, decoder: rans.Decoder, layer: Layer, lane: int) -> int:
        if layer[0] == COARSE:
            where = self._members(layer, lane, REFINED)
            if not where.size:
                return 0
            integers = decoder.decode(gaussian_tables(), self._coarse_tables(where))
            if max(int(integers.max()), -int(integers.min())) > MAX_COARSE:
                raise MalformedHeader("a latent is out of range: the file is damaged")
            self._add(where, integers * COARSE_UNIT)
            return crc32c(integers.astype("<i4").data.cast("B"))
        checksum = 0
        for kind, book in enumerate(self.weights.books):
            where = self._members(layer, lane, kind)
            if where.size:
                context = book.context(self._spent[where], self._index[where])
                codes = book.model.pull(decoder, len(where), context)
                self._add(where, book.steps[codes])
                checksum = _checksum(codes, checksum)
        return checksum

    def _add(self, where: NDArray[np.intp], steps: Integers) -> None:
        self._spent[where] += steps
        self._done[where] = True

    def vectors(self, residual: Floats) -> Floats:
        """(rows, columns, latent) as the vectors that `encode` takes."""
        return blocks.split(residual, self.weights.order).reshape(-1, DIMENSION)

    def _values(self) -> Floats:
        values = self._spent.astype(np.float32) * np.float32(GRID)
        if self._lift:
            # Little is moved that is near zero: it rises from 0.2 to 0.53 steps.
            values += np.clip(3 * np.abs(values) - np.float32(0.6), 0, 1) * np.copysign(self._lift, values)
        return values

    def residual(self) -> Floats:
        """What has been coded so far, (rows, columns, latent) float32 in steps."""
        values = self._values()
        return blocks.join(values.reshape(-1, self.channels, DIMENSION), self.weights.order, *self.shape)

    def concealed(self, lost: list[int]) -> Floats:
        """As `residual`, with vectors of lost lanes of which nothing came filled in from what stands around them."""
        missing = np.zeros(self._kinds.shape, np.bool_)
        for lane in lost:
            missing[self._blocks[lane]] = True
        missing &= (self._kinds != SKIPPED) & ~self._done.reshape(self._kinds.shape)
        values = self._values().reshape(*self._kinds.shape, DIMENSION)
        matrices = self.weights.conceal
        some = matrices.shape[2]
        around = blocks.outside(values[:, :some], *self.shape)
        guess = np.einsum("npi,pio->nop", around, matrices)
        values[:, :some] = np.where(missing[:, :some, None], guess, values[:, :some])
        return blocks.join(values, self.weights.order, *self.shape)
