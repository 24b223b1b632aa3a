"""From a trained model to the weights that ship: integer contexts and projections, thresholds, offsets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from siglum.codecs import models
from siglum.codecs.image.constants import LAMBDA_HIGH, LAMBDA_LOW
from siglum.codecs.image.quantise import magnitude_bits
from siglum.codecs.image_fast import context, tiles, weights
from siglum.codecs.image_fast.constants import CHANNELS, GROUPS, LEVELS, PATCH
from siglum.codecs.image_fast.weights import FastWeights
from siglum.codecs.image_fast.coder import Level

if TYPE_CHECKING:
    from siglum.codecs.image_fast.transform import FastModel

FITTED_LEVELS = tuple(range(8, LEVELS, 31))  # levels that the offsets are fitted over
SKIP = 3  # coefficients of a table below this (a scale under 0.15) are not coded
# Candidates for the bits that one squared step of error is worth.
ERROR_WEIGHTS = (3.0, 4.5, 6.0, 8.0, 12.0, 20.0)
OFFSET_PARTS = (0.5, 1.0)


def thresholds(error_weight: float) -> np.ndarray:
    """(2, 64) int16 in 1/32: rounding that minimises bits + weight * squared error under each table."""
    bits = magnitude_bits()
    first, second = bits[:, 1] - bits[:, 0], bits[:, 2] - bits[:, 1]
    rows = [0.5 - np.maximum(step, 0.0) / (2 * error_weight) for step in (first, second)]
    return np.rint(np.clip(np.stack(rows), 0.02, 0.5) * 32).astype(np.int16)


def collect(
    model: FastModel, error_weight: float, offsets: np.ndarray, groups: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """All tensors of a model by name."""
    from siglum.codecs.image_fast.transform import PRESET

    contexts, metadata = context.export(model).tensors()
    weight = model.project.weight.detach().double().numpy()
    step = np.maximum(np.abs(weight).max(axis=1), 1e-8) / 127.0
    order = np.arange(weight.shape[1]).reshape(3, PATCH, PATCH).transpose(1, 2, 0).ravel()
    config = weights.Config(PRESET.to_dict(), SKIP, metadata)
    tensors: dict[str, np.ndarray] = {
        weights.CONFIG: np.frombuffer(msgspec.json.encode(config), np.uint8).copy(),
        weights.PROJECT: np.rint(weight / step[:, None])[:, order].astype(np.int8),
        weights.PROJECT_SCALE: step.astype(np.float32),
        weights.GAIN: model.gain.anchors.detach().float().numpy(),
        weights.THRESHOLDS: thresholds(error_weight),
        weights.GROUP_LIMITS: np.full(LEVELS, len(GROUPS), np.uint8) if groups is None else groups,
        "offsets": offsets.astype(np.float32),
        f"{weights.NETWORK}inverse_gain.anchors": model.inverse_gain.anchors.detach().float().numpy(),
        f"{weights.CONTEXT}means": context.export_means(model),
        f"{weights.CONTEXT}magnitudes": context.magnitudes(),
    }
    for name, tensor in model.synthesis.state_dict().items():
        half = tensor.ndim >= 2 and not name.startswith("linear.") and not name.endswith("anchors")
        array = tensor.float().numpy().astype(np.float16 if half else np.float32)
        tensors[f"{weights.NETWORK}synthesis.{name}"] = array
    tensors.update({weights.CONTEXT + name: array for name, array in contexts.items()})
    return tensors


def _make(tensors: dict[str, np.ndarray]) -> FastWeights:
    return FastWeights(tensors, models.model_id(tensors))


def build(
    model: FastModel, pictures: Sequence[np.ndarray], log: Callable[[str], None] = print
) -> dict[str, np.ndarray]:
    """The tensors of a trained model, calibrated on training pictures.

    Parameters
    ----------
    pictures
        (H, W, 3) uint8 arrays of the training set, a dozen or more.
    """
    none = np.zeros((64, 2), np.float32)
    cost, tensors, chosen = math.inf, {}, 0.0
    for error_weight in ERROR_WEIGHTS:
        candidate = collect(model.eval(), error_weight, none)
        found = mean_log_cost(_make(candidate), pictures)
        log(f"error weight {error_weight:g}: mean log cost {found:.5f}")
        if found < cost:
            cost, tensors, chosen = found, candidate, error_weight
    fitted = fit_offsets(_make(tensors), pictures)
    for part in OFFSET_PARTS:
        candidate = collect(model, chosen, fitted * part)
        found = mean_log_cost(_make(candidate), pictures)
        log(f"offsets times {part:g}: mean log cost {found:.5f}")
        if found < cost:
            cost, tensors = found, candidate
    limits = fit_groups(_make(tensors), pictures, log)
    return {**tensors, weights.GROUP_LIMITS: limits}


def coded(model: FastWeights, pixels: np.ndarray, level: Level) -> tuple[list[bytes], np.ndarray]:
    """Payloads of a picture, and its coefficients as a decoder has them."""
    places = tiles.tiles(*pixels.shape[:2])
    parts = model.coder.encode(pixels, level, places)
    out = np.empty((*tiles.grid(*pixels.shape[:2]), CHANNELS), np.float32)
    for (payload, _), (rows, columns) in zip(parts, places, strict=True):
        model.coder.decode(payload, level.biases, model.offsets, out[rows, columns])
    return [payload for payload, _ in parts], out


def fit_offsets(model: FastWeights, pictures: Iterable[np.ndarray]) -> np.ndarray:
    """(64, 2) float32: mean distance of coefficients from their symbol towards zero, by table and magnitude.

    Fitted with tables marked by the decoder itself: decoding once with offsets that name the table.
    """
    total, count = np.zeros((64, 2)), np.zeros((64, 2))
    marks = (np.arange(128).reshape(64, 2) / 256.0).astype(np.float32)
    for number, pixels in enumerate(pictures):
        number_of_level = FITTED_LEVELS[number % len(FITTED_LEVELS)]
        level = model.level(number_of_level)
        places = tiles.tiles(*pixels.shape[:2])
        y = exact(model, pixels, level)
        for (payload, _), (rows, columns) in zip(
            model.coder.encode(pixels, level, places), places, strict=True
        ):
            marked = np.empty((rows.stop - rows.start, columns.stop - columns.start, CHANNELS), np.float32)
            plain = np.empty_like(marked)
            model.coder.decode(payload, level.biases, marks, marked)
            model.coder.decode(payload, level.biases, np.zeros((64, 2), np.float32), plain)
            moved = np.rint((plain - marked) * 256).astype(int)  # towards zero: of the sign of the residual
            table = np.abs(moved)
            sign = np.sign(moved)
            chosen = sign != 0
            distance = ((plain - y[rows, columns]) * sign)[chosen]
            np.add.at(total.reshape(-1), table[chosen], distance)
            np.add.at(count.reshape(-1), table[chosen], 1)
    means = np.where(count >= 200, total / np.maximum(count, 1), 0.0)
    return np.clip(means, -0.25, 0.5).astype(np.float32)


def exact(model: FastWeights, pixels: np.ndarray, level: Level) -> np.ndarray:
    """Coefficients before rounding, in units of their step: (rows, columns, 192) float32."""
    rows, columns = tiles.grid(*pixels.shape[:2])
    sides = ((0, rows * PATCH - pixels.shape[0]), (0, columns * PATCH - pixels.shape[1]), (0, 0))
    padded = np.pad(pixels, sides, mode="edge").astype(np.float32)
    patches = padded.reshape(rows, PATCH, columns, PATCH * 3).transpose(0, 2, 1, 3)
    sums = patches.reshape(rows, columns, -1) @ model.projection.T
    scaled: np.ndarray = (2 * sums - 255 * model.projection.sum(axis=1)) * level.scales / 32
    return scaled


def fit_groups(
    model: FastWeights, pictures: Sequence[np.ndarray], log: Callable[[str], None] = print
) -> np.ndarray:
    """(256,) uint8: the fewest groups at each level whose cost is within 0.1 % of the best."""
    limits = np.full(LEVELS, len(GROUPS), np.uint8)
    least = 1
    for number in range(0, LEVELS, 16):
        costs = {
            groups: mean_log_cost(model, pictures[:12], (number,), groups)
            for groups in range(least, len(GROUPS) + 1)
        }
        best = min(costs.values())
        least = min(groups for groups, cost in costs.items() if cost <= best + 0.001)
        limits[number:] = least
        log(f"level {number}: {least} groups")
        if least == len(GROUPS):
            break
    return limits


def mean_log_cost(
    model: FastWeights,
    pictures: Sequence[np.ndarray],
    levels: Iterable[int] = FITTED_LEVELS[1::2],
    groups: int | None = None,
) -> float:
    """Mean over levels of log(rate + lambda * error), real bytes: what export minimises."""
    costs = []
    for number in levels:
        level = model.level(number)
        if groups is not None:
            level = Level(level.scales, level.biases, level.thresholds, groups)
        trade = LAMBDA_LOW * (LAMBDA_HIGH / LAMBDA_LOW) ** (number / LEVELS)
        total = 0.0
        for pixels in pictures:
            payloads, y = coded(model, pixels, level)
            height, width = pixels.shape[:2]
            out = tiles.synthesise(model, y, number, height, width, 1)
            rate = 8 * sum(map(len, payloads)) / (height * width)
            total += rate + trade * float(np.mean((out.astype(np.float32) - pixels) ** 2))
        costs.append(math.log(total / len(pictures)))
    return float(np.mean(costs))

