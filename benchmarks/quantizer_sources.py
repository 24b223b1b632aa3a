"""Vectors for ``codec bench quantizers``: gradients like SIFT's, log-mel frames, latents of pictures, arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siglum.benchmarks.items import Item, find, load
from siglum.errors import UsageError

Floats = NDArray[np.float32]
MEL_WINDOW = 1024  # samples, 64 bands
LATENT_LEVEL = 128  # of the image model: the middle of its dial
NOISE_SIDE = 512


@dataclass(frozen=True)
class Source:
    """Vectors of one kind.

    Attributes
    ----------
    name
        Of the kind and of where they come from.
    train, test
        (N, D) float32, from different items where there are several.
    """

    name: str
    train: Floats
    test: Floats

    @property
    def dimension(self) -> int:
        """Components of a vector."""
        return self.train.shape[1]


def sources(paths: Sequence[Path], train: int, test: int, seed: int = 0) -> Iterator[Source]:
    """Vectors like SIFT's, then those of the items below the paths, a source for every medium and dimension.

    Parameters
    ----------
    paths
        Folders or files: pictures become latents, recordings log-mel frames, arrays their last axis.
    train, test
        Vectors wanted; a source that has fewer gives what it has, in the same proportion.
    seed
        Of the synthetic vectors and of the choice among the others.
    """
    yield sift_like(train, test, seed)
    for dataset in find(paths) if paths else []:
        for medium, name in (("audio", "log-mel"), ("image", "latents"), ("tensor", "vectors")):
            items = [item for item in dataset.items if item.medium == medium]
            for dimension, found in _pools(items).items():
                label, rng = f"{name} of {dataset.path.name}, {dimension}", np.random.default_rng(seed)
                # Layers of a network differ: all are in both parts, unlike pictures and recordings.
                pools = [rng.permutation(np.concatenate(found))] if medium == "tensor" else found
                yield _split(label, pools, train, test, rng)


def sift_like(train: int, test: int, seed: int = 0) -> Source:
    """Histograms of gradients of noise with a picture's spectrum, made as SIFT's are (Lowe, 2004); 128 components."""
    rng = np.random.default_rng(seed)

    def many(count: int) -> Floats:
        each = 2000
        parts = [_descriptors(_noise(rng), min(each, count - at), rng) for at in range(0, count, each)]
        return np.concatenate(parts)

    return Source("SIFT-like, 128", many(train), many(test))


def _noise(rng: np.random.Generator) -> NDArray[np.float64]:
    """A picture whose amplitudes fall with the frequency, as those of photographs do, with some edges."""
    side = NOISE_SIDE
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = 1.0
    layers = []
    for exponent in (1.0, 1.3):
        phases = np.exp(2j * np.pi * rng.random(frequency.shape))
        layer = np.fft.irfft2(phases * rng.rayleigh(size=frequency.shape) / frequency**exponent, (side, side))
        layers.append(layer / layer.std())
    steps = np.where(layers[1] > 0, 1.5, -0.5)  # objects in front of each other
    return np.asarray(layers[0] + steps)


def _descriptors(picture: NDArray[np.float64], count: int, rng: np.random.Generator) -> Floats:
    """4 x 4 cells of 4 x 4 pixels with 8 directions each: normalised, cut off at 0.2, in 0..255."""
    down, right = np.gradient(picture)
    size, turn = np.hypot(down, right), np.arctan2(down, right) * 4 / np.pi % 8
    low = np.floor(turn).astype(int) % 8
    part = turn - np.floor(turn)
    maps = np.zeros((8, *picture.shape))
    rows, columns = np.indices(picture.shape)
    maps[low, rows, columns] = size * (1 - part)
    maps[(low + 1) % 8, rows, columns] = size * part
    sums = maps.cumsum(1).cumsum(2)
    sums = np.pad(sums, ((0, 0), (1, 0), (1, 0)))
    cells = sums[:, 4:, 4:] - sums[:, :-4, 4:] - sums[:, 4:, :-4] + sums[:, :-4, :-4]
    y, x = rng.integers(0, NOISE_SIDE - 16, (2, count))
    offset = np.arange(0, 16, 4)
    found = cells[:, (y[:, None] + offset)[:, :, None], (x[:, None] + offset)[:, None, :]]
    found = found.transpose(1, 2, 3, 0).reshape(count, 128)
    for _ in range(2):
        found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
        found = np.minimum(found, 0.2)
    found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
    return np.minimum(np.rint(found * 512), 255).astype(np.float32)


def _pools(items: Sequence[Item]) -> dict[int, list[Floats]]:
    """Vectors of every item, by their dimension."""
    pools: dict[int, list[Floats]] = {}
    for item in items:
        vectors = vectors_of(item)
        if vectors is not None and len(vectors):
            pools.setdefault(vectors.shape[1], []).append(vectors)
    return pools


def vectors_of(item: Item) -> Floats | None:
    """Vectors (N, D) of one item; None of an array with fewer than two axes or that is not finite."""
    media = load(item)
    if item.medium == "audio":
        from siglum.benchmarks.audio_metrics import log_mel

        frames = log_mel(media.samples, media.rate, MEL_WINDOW)
        return frames.reshape(-1, frames.shape[-1]).astype(np.float32)
    if item.medium == "image":
        from siglum.codecs.image import windows
        from siglum.codecs.image.weights import load_by_name

        weights = load_by_name("small")
        latents = windows.analyse(weights.engine("native"), weights.preset, media, LATENT_LEVEL, 1)
        return latents.reshape(-1, latents.shape[-1])
    if media.ndim < 2 or media.shape[-1] < 2 or not np.isfinite(media).all():
        return None
    return np.ascontiguousarray(media.reshape(-1, media.shape[-1]), np.float32)


def _split(name: str, pools: list[Floats], train: int, test: int, rng: np.random.Generator) -> Source:
    """The first items for training and the last for the test, or of a single item its two ends."""
    if len(pools) == 1:
        cut = len(pools[0]) * train // (train + test)
        first, last = [pools[0][:cut]], [pools[0][cut:]]
    else:
        tested = max(1, len(pools) * test // (train + test))
        first, last = pools[:-tested], pools[-tested:]
    chosen = []
    for parts, wanted in ((first, train), (last, test)):
        whole = np.concatenate(parts)
        if len(whole) < 2:
            raise UsageError(f"{name}: {len(whole)} vectors are too few to train on and to test")
        chosen.append(whole[np.sort(rng.permutation(len(whole))[:wanted])])
    return Source(name, *chosen)
