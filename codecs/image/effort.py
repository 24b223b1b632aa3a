"""How hard an encoder looks for symbols: efforts above the usual one try more and keep what costs least.

The cost of a tile is its payload in bits plus the level's price of the squared error of what it decodes to. Every
effort tries what the lower ones try, so it never costs more. The bit stream is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.image import lossy, windows
from siglum.codecs.image.constants import LAMBDA_HIGH, LAMBDA_LOW, LEVELS, PATCH
from siglum.codecs.image.lossy import Tile
from siglum.errors import UsageError, require_torch
from siglum.kernels import latents

if TYPE_CHECKING:
    from siglum.codecs.image.engine import EngineName
    from siglum.codecs.image.weights import ImageWeights

Floats = NDArray[np.float32]
MIN_EFFORT, USUAL, MAX_EFFORT = 1, 5, 9
REFINED = 8  # from here on gradients are used, which needs torch
ERROR_FACTORS = (0.75, 1.35)  # other weights of the error against a bit in the rounding
STRAIGHT = 1e6  # a weight that leaves rounding as it is
# Rounds, at most, of hyperlatents from the latents as coded, times these gains, and the weights tried under each:
# efforts 6 and 7.
CHAINS = ((2, (1.0,), (1.0,)), (4, (1.0, 0.9, 1.1), (1.0, *ERROR_FACTORS)))
GRADIENTS = (60, 12)  # `refine.Plan` of effort 8, from the analysis: what was refined hardly moves again
CHANGES = (0, 40)  # of effort 9: single changes only, of what effort 8 found and of what was best before


def check(effort: int) -> int:
    """Return it, if it is 1 to 9 and this installation can do it.

    Raises
    ------
    UsageError
        If it is out of range.
    SiglumError
        If it is 8 or 9 and torch is not installed.
    """
    if not MIN_EFFORT <= effort <= MAX_EFFORT:
        raise UsageError(f"effort is {MIN_EFFORT} to {MAX_EFFORT}, not {effort}")
    if effort >= REFINED:
        require_torch(f"effort {effort}")
    return effort


@dataclass(frozen=True)
class Choice:
    """Symbols of a tile, and what they cost in bits, the error included."""

    tile: Tile
    latents: Floats
    z: NDArray[np.int16]
    cost: float


def encode(
    weights: ImageWeights,
    pixels: NDArray[np.uint8],
    level: int,
    effort: int,
    threads: int,
    engine: EngineName = "native",
    analysed: Floats | None = None,
) -> tuple[list[Tile], Floats]:
    """As `lossy.encode`, with an effort of 1 to 9; up to 5 it is the same.

    What the analysis gives for the pixels, if it is known, is `analysed`, and is changed.

    Raises
    ------
    UsageError
        If the weights were tuned for another measure than the squared error, and the effort is above 5.
    """
    if effort <= USUAL:
        return lossy.encode(weights, pixels, level, threads, engine, analysed)
    if weights.tune != "psnr":
        raise UsageError(
            f"efforts above {USUAL} lessen the squared error, and this model is for {weights.tune}: use -e {USUAL}"
        )
    y = analysed
    if y is None:
        y = windows.analyse(weights.engine(engine), weights.preset, pixels, level, threads)
    tiles = []
    for rows, columns in lossy.tiles(*pixels.shape[:2]):
        part = pixels[rows.start * PATCH : rows.stop * PATCH, columns.start * PATCH : columns.stop * PATCH]
        search = Search(weights, part, level, threads, engine)
        _, best = min(search.choices(y[rows, columns].copy(), effort), key=lambda tried: tried[1].cost)
        tiles.append(best.tile)
        y[rows, columns] = best.latents
    return tiles, y


def _better(first: Choice, second: Choice) -> Choice:
    return second if second.cost < first.cost else first


class Search:
    """The search for one tile's symbols."""

    def __init__(
        self, weights: ImageWeights, pixels: NDArray[np.uint8], level: int, threads: int, engine: EngineName
    ) -> None:
        self.weights, self.pixels, self.level, self.threads, self.engine = (
            weights,
            pixels,
            level,
            threads,
            engine,
        )
        self.price = LAMBDA_LOW * (LAMBDA_HIGH / LAMBDA_LOW) ** (level / LEVELS) / 3.0

    def choices(self, y: Floats, effort: int) -> Iterator[tuple[int, Choice]]:
        """What an effort tries, each with the least effort that does, beginning with the usual choice."""
        usual = best = self.choice(y, self._hyperlatents(y), 1.0)
        yield USUAL, usual
        for factor in ERROR_FACTORS:
            tried = self.choice(y, usual.z, factor)
            yield USUAL + 1, tried
            best = _better(best, tried)
        for least, (rounds, gains, factors) in enumerate(CHAINS[: effort - USUAL], USUAL + 1):
            for _ in range(rounds):
                before = best
                for gain in gains:
                    z = self._hyperlatents(before.latents * np.float32(gain))
                    for factor in factors:
                        tried = self.choice(y, z, factor)
                        yield least, tried
                        best = _better(best, tried)
                if best is before:
                    break
        if effort < REFINED:
            return
        starts = [(y, best.z)]
        for least, plan in enumerate((GRADIENTS, CHANGES)[: effort - REFINED + 1], REFINED):
            found = [self._refined(*start, plan) for start in starts]
            for refined, z in found:
                for factor in (STRAIGHT, 1.0):
                    yield least, self.choice(refined, z, factor)
            starts = [*found, (best.latents, best.z)]

    def _refined(
        self, y: Floats, z: NDArray[np.int16], plan: tuple[int, int]
    ) -> tuple[Floats, NDArray[np.int16]]:
        from siglum.codecs.image.refine import Plan, refine

        return refine(self.weights, self.pixels, y, z, self.level, Plan(*plan), self.threads)

    def _hyperlatents(self, y: Floats) -> NDArray[np.int16]:
        bound = self.weights.hyper_bound
        z = self.weights.engine(self.engine).hyper_analyse(y, self.level, self.threads)
        return np.clip(np.rint(z), -bound, bound).astype(np.int16)

    def choice(self, y: Floats, z: NDArray[np.int16], factor: float) -> Choice:
        """The symbols of latents in steps under given hyperlatents, the error weighing so much more than usual."""
        weights, level, threads = self.weights, self.level, self.threads
        way = lossy.round_all(weights, y, z, level, threads, factor)
        mean, index, symbols = way.mean, way.index, way.symbols
        payload = lossy.encode_symbols(weights, z, symbols, index, level)
        made = latents.reconstruct(symbols, mean, index, weights.offsets, threads=threads)
        tile = Tile(payload, lossy.symbols_checksum(z, symbols))
        height, width = self.pixels.shape[:2]
        shown = lossy.synthesise(weights, made, level, height, width, threads, self.engine)
        difference = shown.astype(np.float32) - self.pixels
        return Choice(tile, made, z, 8.0 * len(payload) + self.price * float(np.vdot(difference, difference)))
