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
    """Latents of pictures to train with and of held-out ones.

    Attributes
    ----------
    known, held : list of float32 (rows, columns, 64)
        Grids of the pictures, channels centred and divided by their standard deviation in training.
    """

    known: list[Floats]
    held: list[Floats]

    def vectors(self, dim: int, count: int) -> tuple[Floats, Floats]:
        """Random vectors to train with and held-out ones, float32 (at most count, dim).

        Each is ``dim`` neighbouring channels at one position; ``dim`` divides 64.
        """
        return _draw(self.known, dim, count), _draw(self.held, dim, count)

    @property
    def positions(self) -> tuple[int, int]:
        """Positions of the grids."""
        known, held = (sum(grid[..., 0].size for grid in grids) for grids in (self.known, self.held))
        return known, held


def latents(folder: Path | str, *, limit: int | None = None, threads: int = 1) -> Latents:
    """Latents of all pictures below a folder, every fourth picture held out: the first 64 channels of the model.

    Parameters
    ----------
    folder
        Photographs, any sizes.
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
    values = np.concatenate([grid.reshape(-1, CHANNELS) for grid in known])
    mean, scale = values.mean(axis=0), values.std(axis=0)
    grids = [(grid - mean) / scale for grid in grids]
    return Latents(
        [grid for i, grid in enumerate(grids) if i % EVERY != EVERY - 1],
        [grid for i, grid in enumerate(grids) if i % EVERY == EVERY - 1],
    )


def _draw(grids: list[Floats], dim: int, count: int) -> Floats:
    values = np.concatenate([grid.reshape(-1, dim) for grid in grids])
    return values[np.random.default_rng(0).permutation(len(values))[:count]]
