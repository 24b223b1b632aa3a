"""From a trained model to the weights that ship: integer prior, reconstruction offsets, card."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from siglum.codecs import models
from siglum.codecs.image import lossy, prior_export, quantise, weights, windows
from siglum.codecs.image.constants import LAMBDA_HIGH, LAMBDA_LOW, LEVELS, SCALES
from siglum.codecs.image.weights import ImageWeights

if TYPE_CHECKING:
    from siglum.codecs.image.transform import ImageModel

FITTED_LEVELS = tuple(range(8, LEVELS, 31))  # levels that the offsets are fitted over
# Candidates for the weight of an error against a bit.
ERROR_FACTORS = (1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 20.0, 26.0, 34.0, 44.0)
# Parts of the fitted offsets: a synthesis trained on plain rounding has learned some of them.
OFFSET_PARTS = (0.5, 1.0)


def build(
    model: ImageModel, pictures: Sequence[np.ndarray], log: Callable[[str], None] = print
) -> dict[str, np.ndarray]:
    """The tensors of a trained model, calibrated on training pictures.

    Parameters
    ----------
    model
        The trained float model.
    pictures
        (H, W, 3) uint8 arrays of the training set, a dozen or more, 512 x 512 or so.
    """
    integers = prior_export.export(model.eval())
    none = np.zeros((SCALES, quantise.OFFSET_CLASSES), np.float32)

    def trial(factor: float, offsets: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
        tensors = weights.collect(model, integers, offsets, error_factor=factor)
        cost = mean_log_cost(ImageWeights(tensors, models.model_id(tensors)), pictures, FITTED_LEVELS[1::2])
        return cost, tensors

    trials = {factor: trial(factor, none) for factor in ERROR_FACTORS}
    factor = min(trials, key=lambda candidate: trials[candidate][0])
    cost, tensors = trials[factor]
    log(f"error factor {factor:g}: mean log cost {cost:.5f}")
    fitted = fit_offsets(ImageWeights(tensors, models.model_id(tensors)), pictures)
    for part in OFFSET_PARTS:
        other_cost, other = trial(factor, (fitted * part).astype(np.float32))
        log(f"offsets times {part:g}: mean log cost {other_cost:.5f}")
        if other_cost < cost:
            cost, tensors = other_cost, other
    return tensors


def fit_offsets(model: ImageWeights, pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Reconstruction offsets over all levels; see `quantise.fit_offsets`."""
    symbols, residuals, indices = [], [], []
    for number, pixels in enumerate(pictures):
        level = FITTED_LEVELS[number % len(FITTED_LEVELS)]
        y = windows.analyse(model.engine("native"), model.preset, pixels, level, 2)
        _, mean, index, k = lossy.choose_symbols(model, y, level, 2)
        coded = k != 0
        symbols.append(k[coded])
        residuals.append((y - mean)[coded])
        indices.append(index[coded])
    return quantise.fit_offsets(np.concatenate(symbols), np.concatenate(residuals), np.concatenate(indices))


def mean_log_cost(model: ImageWeights, pictures: Sequence[np.ndarray], levels: Iterable[int]) -> float:
    """Mean over levels of log(rate + lambda * error), real bytes: what export minimises."""
    costs = []
    for level in levels:
        trade = LAMBDA_LOW * (LAMBDA_HIGH / LAMBDA_LOW) ** (level / LEVELS)
        total = 0.0
        for pixels in pictures:
            coded, latents = lossy.encode(model, pixels, level, 2)
            height, width = pixels.shape[:2]
            out = lossy.synthesise(model, latents, level, height, width, 2)
            rate = 8 * sum(len(tile.payload) for tile in coded) / (height * width)
            error = float(np.mean((out.astype(np.float32) - pixels) ** 2))
            total += rate + trade * error
        costs.append(math.log(total / len(pictures)))
    return float(np.mean(costs))
