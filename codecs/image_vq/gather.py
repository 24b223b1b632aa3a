"""What training learns from: latents of crops under a model's transform and prior, and statistics of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.image import windows
from siglum.codecs.image.constants import LEVELS, PATCH
from siglum.codecs.image_vq import blocks
from siglum.codecs.image_vq.constants import SKIPPED
from siglum.codecs.image_vq.learn import Vectors
from siglum.codecs.image_vq.prior import HYPER_BOUND
from siglum.codecs.image_vq.weights import VqWeights
from siglum.datasets.images import CropSampler

Floats = NDArray[np.float32]
CONCEALED_CHANNELS = 16


@dataclass(frozen=True)
class Latents:
    """Latents of crops, each at a random level.

    Attributes
    ----------
    y, mean
        (crops, rows, columns, latent) float16, in steps: latents and what the hyperprior expects.
    index
        The same shape, uint8: tables of the Gaussian bank.
    level
        (crops,) levels.
    crops
        (crops, height, width, 3) uint8.
    """

    y: NDArray[np.float16]
    mean: NDArray[np.float16]
    index: NDArray[np.uint8]
    level: NDArray[np.int64]
    crops: NDArray[np.uint8]


def latents(model: VqWeights, sampler: CropSampler, count: int, seed: int) -> Latents:
    """Latents of `count` crops."""
    engine = model.engine
    levels = np.random.default_rng(seed).integers(0, LEVELS, count)
    crops = sampler.batch(count)
    side, channels = sampler.size // PATCH, model.preset["latent"]
    y, mean = (np.empty((count, side, side, channels), np.float16) for _ in range(2))
    index = np.empty(y.shape, np.uint8)
    for i, (crop, level) in enumerate(zip(crops, map(int, levels), strict=True)):
        found = windows.analyse(engine, model.preset, crop, level, 1)
        z = np.clip(np.rint(engine.hyper_analyse(found, level, 1)), -HYPER_BOUND, HYPER_BOUND).astype(
            np.int16
        )
        y[i] = found
        expected, index[i] = model.prior(z, level, (side, side), 1)
        mean[i] = expected * model.mean_unit(level)
    return Latents(y, mean, index, levels, crops)


def sensitivity(model: VqWeights, data: Latents, crops_a_level: int = 2) -> Floats:
    """(latent,): squared error of the picture for one squared step of each channel, over the median of all.

    The latents' steps are what makes this nearly one number for all channels; see docs/image-vq.md.
    """
    engine, random = model.engine, np.random.default_rng(0)
    size = data.crops.shape[1]
    ratios = []
    for wanted in (30, 100, 170, 230):
        total = np.zeros(model.preset["latent"])
        for i in np.argsort(np.abs(data.level - wanted))[:crops_a_level]:
            y, level = data.y[i].astype(np.float32), int(data.level[i])
            shown = windows.synthesise(engine, model.preset, y, level, size, size, 1).astype(np.float32)
            for channel in range(len(total)):
                moved = y.copy()
                moved[..., channel] += random.choice([-0.7, 0.7], y.shape[:2])
                other = windows.synthesise(engine, model.preset, moved, level, size, size, 1)
                total[channel] += np.sum((other - shown) ** 2)
        ratios.append(total / np.median(total))
    return np.mean(ratios, axis=0).astype(np.float32)


def importance(data: Latents, sensitive: Floats) -> NDArray[np.int32]:
    """Channels by falling energy: their variance in steps times their sensitivity."""
    y = data.y.astype(np.float32)
    energy = ((y - y.mean((0, 1, 2))) ** 2).mean((1, 2))
    return np.argsort(-np.exp(np.log(energy + 1e-9).mean(0)) * sensitive).astype(np.int32)


def concealment(data: Latents, order: NDArray[np.integer[Any]]) -> Floats:
    """(4, 2 K, K): least-squares prediction of a block's residuals from its neighbours', see `weights.VqWeights`.

    A small ridge keeps channels still that hardly occur.
    """
    count = CONCEALED_CHANNELS
    squares, products = np.zeros((4, 2 * count, 2 * count)), np.zeros((4, 2 * count, count))
    for y, mean in zip(data.y, data.mean, strict=True):
        residual = (y.astype(np.float32) - mean.astype(np.float32))[..., order[:count]]
        rows, columns, _ = residual.shape
        vectors = blocks.split(residual, np.arange(count))
        around, own = blocks.outside(vectors, rows, columns), vectors.transpose(0, 2, 1)
        squares += np.einsum("npi,npj->pij", around, around)
        products += np.einsum("npi,npo->pio", around, own)
    ridge = 1e-3 * np.trace(squares, axis1=1, axis2=2).mean() / (2 * count) * np.eye(2 * count)
    return np.linalg.solve(squares + ridge, products).astype(np.float32)


def vectors(data: Latents, worth: Floats, most: int, seed: int = 0) -> Vectors:
    """Vectors of every class, about `most` of each at most."""
    channels = np.arange(data.y.shape[-1])
    counts = np.zeros(SKIPPED, np.int64)
    parts: list[Vectors] = []
    for i in np.random.default_rng(seed).permutation(len(data.level)):
        residual = data.y[i].astype(np.float32) - data.mean[i].astype(np.float32)
        x, index = blocks.split(residual, channels), blocks.split(data.index[i], channels)
        weight = np.broadcast_to(worth, x.shape[:2])
        kinds = blocks.kinds_of(index)
        wanted = np.isin(kinds, np.flatnonzero(counts < most))
        counts += np.bincount(kinds[wanted], minlength=SKIPPED + 1)[:SKIPPED]
        parts.append(Vectors(x[wanted], index[wanted], weight[wanted].astype(np.float32)))
    joined = (np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "index", "weight"))
    return Vectors(*joined)
