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

from siglum.codecs.image import lossy, quantise, windows
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
THOROUGH = 7  # from here on all weights are tried under all hyperlatents
ROUNDS = (2, 6)  # at most, of hyperlatents from the latents as coded; below THOROUGH, and from there on
PLANS = ((60, 6), (160, 12))  # iterations and rounds of `refine`, one after the other


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
        search = _Search(weights, part, level, threads, engine)
        best = min(search.choices(y[rows, columns].copy(), effort), key=lambda choice: choice.cost)
        tiles.append(best.tile)
        y[rows, columns] = best.latents
    return tiles, y


class _Search:
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

    def choices(self, y: Floats, effort: int) -> Iterator[Choice]:
        """What an effort tries, beginning with the usual choice."""
        usual = best = self.choice(y, self._hyperlatents(y), 1.0)
        yield usual
        for factor in ERROR_FACTORS:
            tried = self.choice(y, usual.z, factor)
            yield tried
            best = min(best, tried, key=lambda choice: choice.cost)
        for _ in range(ROUNDS[effort >= THOROUGH]):
            z = self._hyperlatents(best.latents)
            tries = [self.choice(y, z, factor) for factor in (1.0, *ERROR_FACTORS[: effort >= THOROUGH])]
            yield from tries
            tried = min(tries, key=lambda choice: choice.cost)
            if tried.cost >= best.cost:
                break
            best = tried
        if effort >= REFINED:
            yield from self._refined(y, best.z, effort)

    def _refined(self, y: Floats, z: NDArray[np.int16], effort: int) -> Iterator[Choice]:
        from siglum.codecs.image.refine import Plan, refine

        for plan in PLANS[: effort - REFINED + 1]:
            y, z = refine(self.weights, self.pixels, y, z, self.level, Plan(*plan), self.threads)
            for factor in (STRAIGHT, 1.0):
                yield self.choice(y, z, factor)

    def _hyperlatents(self, y: Floats) -> NDArray[np.int16]:
        bound = self.weights.hyper_bound
        z = self.weights.engine(self.engine).hyper_analyse(y, self.level, self.threads)
        return np.clip(np.rint(z), -bound, bound).astype(np.int16)

    def choice(self, y: Floats, z: NDArray[np.int16], factor: float) -> Choice:
        """The symbols of latents in steps under given hyperlatents, the error weighing so much more than usual."""
        weights, level, threads = self.weights, self.level, self.threads
        mean, index = lossy.predict(weights, z, level, y.shape[:2], threads)
        weight = weights.error_weight(level) * np.float32(factor)
        symbols = quantise.optimised_rounding(y, mean, index, weight, weights.skip, threads)
        payload = lossy.encode_symbols(weights, z, symbols, index, level)
        made = latents.reconstruct(symbols, mean, index, weights.offsets, threads=threads)
        tile = Tile(payload, lossy.symbols_checksum(z, symbols))
        shown = lossy.synthesise(weights, made, level, *self.pixels.shape[:2], threads, self.engine)
        difference = shown.astype(np.float32) - self.pixels
        return Choice(tile, made, z, 8.0 * len(payload) + self.price * float(np.vdot(difference, difference)))
