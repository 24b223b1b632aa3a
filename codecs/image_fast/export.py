"""From a trained model to the weights that ship: integer contexts and projections, thresholds, offsets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from siglum.codecs import models
from siglum.codecs.image.constants import LAMBDA_HIGH, LAMBDA_LOW
from siglum.codecs.image_fast import bank, context, tiles, weights
from siglum.codecs.image_fast.coder import Level
from siglum.codecs.image_fast.constants import CHANNELS, GROUPS, LEVELS, PATCH
from siglum.codecs.image_fast.weights import FastWeights
from siglum.entropy.gaussian import gaussian_tables
from siglum.entropy.tables import Tables

if TYPE_CHECKING:
    from siglum.codecs.image_fast.transform import FastModel

FITTED_LEVELS = tuple(range(8, LEVELS, 31))  # levels that the offsets are fitted over
# Candidates for the bits that one squared step of error is worth.
ERROR_WEIGHTS = (9.0, 12.0, 16.0)
FIRST_WEIGHT = 12.0
TABLE_ROUNDS = 2
MORE_SKIP = 5
SKIP_COST = 0.0003  # of the mean log cost, that coding less may cost
OFFSET_PART = 0.5  # of the fitted offsets: the synthesis has learned the rest


def thresholds(tables: Tables, error_weight: float) -> np.ndarray:
    """(2, 64) int16 in 1/32: rounding that minimises bits + weight * squared error under each table."""
    rounding = 0.5 - np.maximum(bank.step_bits(tables), 0.0) / (2 * error_weight)
    return np.rint(np.clip(rounding, 0.02, 0.5) * 32).astype(np.int16)


@dataclass(frozen=True)
class Calibration:
    """What is fitted after training: bits that a squared step of error is worth, offsets, tables, skip."""

    error_weight: float
    offsets: np.ndarray
    tables: Tables
    first_means: np.ndarray  # (8, 3) int8
    first_tables: np.ndarray  # (anchors, 8) int32, in 1/256
    skip: int = 3


def collect(model: FastModel, found: Calibration) -> dict[str, np.ndarray]:
    """All tensors of a model by name."""
    from siglum.codecs.image_fast.transform import PRESET

    exported = context.export(model)
    exported.first = found.first_tables
    contexts, metadata = exported.tensors()
    weight = model.project.weight.detach().double().numpy()
    step = np.maximum(np.abs(weight).max(axis=1), 1e-8) / 127.0
    order = np.arange(weight.shape[1]).reshape(3, PATCH, PATCH).transpose(1, 2, 0).ravel()
    config = weights.Config(PRESET.to_dict(), found.skip, metadata)
    tensors: dict[str, np.ndarray] = {
        weights.CONFIG: np.frombuffer(msgspec.json.encode(config), np.uint8).copy(),
        weights.PROJECT: np.rint(weight / step[:, None])[:, order].astype(np.int8),
        weights.PROJECT_SCALE: step.astype(np.float32),
        weights.GAIN: model.gain.anchors.detach().float().numpy(),
        weights.THRESHOLDS: thresholds(found.tables, found.error_weight),
        weights.GROUP_LIMITS: np.full(LEVELS, len(GROUPS), np.uint8),
        "offsets": found.offsets.astype(np.float32),
        f"{weights.NETWORK}inverse_gain.anchors": model.inverse_gain.anchors.detach().float().numpy(),
        f"{weights.CONTEXT}first_means": found.first_means,
        f"{weights.CONTEXT}means": context.export_means(model),
        f"{weights.CONTEXT}magnitudes": context.magnitudes(),
    }
    for name, tensor in model.synthesis.state_dict().items():
        half = tensor.ndim >= 2 and not name.startswith("linear.") and not name.endswith("anchors")
        array = tensor.float().numpy().astype(np.float16 if half else np.float32)
        tensors[f"{weights.NETWORK}synthesis.{name}"] = array
    tensors.update({weights.CONTEXT + name: array for name, array in contexts.items()})
    tensors.update({weights.TABLES + name: array for name, array in bank.to_tensors(found.tables).items()})
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
    model.eval()
    best, cost = calibrate(model, pictures, FIRST_WEIGHT), math.inf

    def attempt(trial: Calibration, allowance: float = 0.0) -> None:
        nonlocal best, cost
        found = mean_log_cost(_make(collect(model, trial)), pictures)
        log(
            f"error weight {trial.error_weight:g}, offsets up to {trial.offsets.max():.3f}, skip {trial.skip}: "
            f"mean log cost {found:.5f}"
        )
        if found < cost + allowance:
            cost, best = min(found, cost), trial

    for weight in ERROR_WEIGHTS:
        trial = replace(best, error_weight=weight)
        attempt(replace(trial, tables=fit_tables(_make(collect(model, trial)), pictures)))
    attempt(replace(best, offsets=fit_offsets(_make(collect(model, best)), pictures) * OFFSET_PART))
    attempt(replace(best, skip=MORE_SKIP), SKIP_COST)
    tensors = collect(model, best)
    limits = fit_groups(_make(tensors), pictures, log)
    return {**tensors, weights.GROUP_LIMITS: limits}


def calibrate(model: FastModel, pictures: Sequence[np.ndarray], error_weight: float) -> Calibration:
    """Prediction of the first phase, and tables for a weight of the error."""
    found = Calibration(
        error_weight, np.zeros((64, 2), np.float32), gaussian_tables(), *fit_first(model, pictures)
    )
    for _ in range(TABLE_ROUNDS):  # rounding follows from the tables, and they from what is rounded
        found = replace(found, tables=fit_tables(_make(collect(model, found)), pictures))
    return found


def fit_first(model: FastModel, pictures: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """How the first phase is predicted from itself, (8, 3) int8 in 1/128, and its tables, (anchors, 8) in 1/256."""
    count = GROUPS[0]
    weight = model.project.weight.detach().double().numpy()[:count].reshape(count, 3, PATCH, PATCH)
    rows, targets = [], []
    for pixels in pictures:
        height, width = (side // (2 * PATCH) for side in pixels.shape[:2])
        cells = pixels[: height * 2 * PATCH, : width * 2 * PATCH].astype(np.float64) / 255 - 0.5
        cells = cells.reshape(height, 2, PATCH, width, 2, PATCH, 3)[:, 0, :, :, 0]
        y = np.einsum("hiwjk,ckij->hwc", cells, weight)
        rows.append(np.stack([y[1:, :-1], y[:-1, 1:], y[:-1, :-1]], -1).reshape(-1, count, 3))
        targets.append(y[1:, 1:].reshape(-1, count))
    around, target = np.concatenate(rows), np.concatenate(targets)
    parts, spread = [], []
    for channel in range(count):
        found = np.linalg.lstsq(around[:, channel], target[:, channel], rcond=None)[0]
        found = np.rint(found * 128).clip(-127, 127)
        parts.append(found)
        spread.append(np.mean(np.abs(target[:, channel] - around[:, channel] @ found / 128)))
    deviation = np.log(np.array(spread) * 1.25) + model.gain.anchors.detach().double().numpy()[:, :count]
    return np.stack(parts).astype(np.int8), context.tables_of(np.maximum(deviation, -1.0))


def fit_tables(model: FastWeights, pictures: Iterable[np.ndarray]) -> Tables:
    """Tables of what the model's encoder codes under each, over all levels."""
    counts = np.zeros((bank.COUNT, 513), np.int64)
    for number, pixels in enumerate(pictures):
        level = model.level(FITTED_LEVELS[number % len(FITTED_LEVELS)])
        bank.histogram(model.coder.reference(pixels, level)[2], counts)
    return bank.fit(counts)


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
    """(256,) uint8: the fewest groups at each level whose cost is within 0.2 % of the best."""
    limits = np.full(LEVELS, len(GROUPS), np.uint8)
    least = 2
    for number in range(0, LEVELS, 16):
        costs = {
            groups: mean_log_cost(model, pictures[:12], (number,), groups)
            for groups in range(least, len(GROUPS) + 1)
        }
        best = min(costs.values())
        least = min(groups for groups, cost in costs.items() if cost <= best + 0.002)
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
