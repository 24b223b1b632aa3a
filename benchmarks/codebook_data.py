"""Real vectors for experiments with codebooks: latents of the shipped image model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.image import weights, windows
from siglum.datasets.images import find_images, load_rgb

LEVEL = 200
CHANNELS = 64
EVERY = 4

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Latents:
    """Vectors of 8 neighbouring channels at one position, of pictures to train with and of others.

    Attributes
    ----------
    train, held : float32 (N, 8)
        In random order, every channel divided by its standard deviation in training.
    grids : list of float32 (rows, columns, CHANNELS)
        Latents of the held-out pictures, on the same scale, for contexts.
    pictures : (int, int)
        Numbers of pictures.
    """

    train: Floats
    held: Floats
    grids: list[Floats]
    pictures: tuple[int, int]


def latents(folder: Path | str, *, group: int = 8, limit: int | None = None, threads: int = 1) -> Latents:
    """Latents of all pictures below a folder, every fourth picture held out.

    The first 64 of the model's channels, those of the largest variance, are cut into groups of neighbours; each
    group at each position is a vector.

    Parameters
    ----------
    folder
        Photographs, any sizes.
    group
        Channels of a vector, a divisor of 64.
    limit
        Pictures to use at most, evenly spaced.
    threads
        Of the analysis.
    """
    model = weights.load_by_name("small")
    paths = find_images(folder)
    if limit is not None:
        paths = paths[:: -(-len(paths) // limit)]
    grids = [
        windows.analyse(model.engine("native"), model.preset, load_rgb(path), LEVEL, threads)[..., :CHANNELS]
        for path in paths
    ]
    known = [grid for i, grid in enumerate(grids) if i % EVERY != EVERY - 1]
    other = [grid for i, grid in enumerate(grids) if i % EVERY == EVERY - 1]
    values = np.concatenate([grid.reshape(-1, CHANNELS) for grid in known])
    mean, scale = values.mean(axis=0), values.std(axis=0)
    other = [(grid - mean) / scale for grid in other]
    held = np.concatenate([grid.reshape(-1, CHANNELS) for grid in other])
    rng = np.random.default_rng(0)
    vectors = [part.reshape(-1, group) for part in ((values - mean) / scale, held)]
    train, rest = (part[rng.permutation(len(part))] for part in vectors)
    return Latents(train, rest, other, (len(known), len(other)))
