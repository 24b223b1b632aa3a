"""Short cuts of the synthesis for pictures at 1/2, 1/4 and 1/8, fitted by least squares.

The last layers of the synthesis are linear, so the mean of each 2x2, 4x4 or 8x8 pixels is a linear map of the
latents and of the last block's features. Most of the work is in the blocks, though. A short cut leaves out some
of the last ones and predicts the means from the latents and the features before those. Its maps are fitted to
what the whole synthesis gives for training pictures. They are stored beside the weights, below `models.PREVIEW`;
a model without them does all blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from siglum.codecs import models
from siglum.codecs.image import lossy
from siglum.codecs.image.constants import LEVELS
from siglum.codecs.image.scale import FACTORS, PREVIEW, kept_blocks
from siglum.codecs.image.transform import ImageModel, depth_to_space
from siglum.datasets.images import CropSampler, find_images, split

if TYPE_CHECKING:
    from siglum.codecs.image.weights import ImageWeights

FITTED_LEVELS = tuple(range(24, LEVELS, 32))
RIDGE = 1e-4  # of each feature's energy
CROPS = 256  # of 256 x 256 that `write` fits to
CELL = 4  # positions at 1/8 of one at 1/16


class _Sums:
    """Normal equations of one factor: features -> means of pixels."""

    def __init__(self) -> None:
        self.square: Tensor | float = 0.0
        self.product: Tensor | float = 0.0

    def add(self, features: Tensor, target: Tensor) -> None:
        self.square = self.square + (features.T @ features).double()
        self.product = self.product + (features.T @ target).double()

    def solve(self) -> Tensor:
        assert isinstance(self.square, Tensor) and isinstance(self.product, Tensor)
        diagonal = self.square.diagonal()
        ridge = RIDGE * diagonal + 1e-9 * diagonal.max()
        return torch.linalg.solve(self.square + torch.diag(ridge), self.product).float()


@torch.no_grad()
def fit(weights: ImageWeights, pictures: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors of the short cuts of a model.

    Parameters
    ----------
    weights
        The model; not changed.
    pictures
        (H, W, 3) uint8 of the training set, sides multiples of 16, a hundred of 256 x 256 or more.

    Returns
    -------
    For each factor f, k = 8 / f: `preview.f.linear` (4 * 3k^2, latent) float16, channels ordered (row and column of
    the position at 1/8, row, column, colour), its bias, and `preview.f.leave`, (3k^2, width) for features at 1/8, or
    as `linear` for those at 1/16.
    """
    sums = {factor: _Sums() for factor in FACTORS}
    for number, pixels in enumerate(pictures):
        level = FITTED_LEVELS[number % len(FITTED_LEVELS)]
        _, y = lossy.encode(weights, pixels, level, 1)
        _add(weights.model, torch.from_numpy(y)[None], torch.full((1,), float(level)), sums)
    found: dict[str, np.ndarray] = {}
    latent = weights.preset["latent"]
    for factor, equations in sums.items():
        maps = equations.solve()
        if _on_cells(factor, weights.preset):
            linear, bias, leave = maps[:latent].T, maps[latent], maps[latent + 1 :].T
        else:
            parts = maps[: CELL * (latent + 1)].reshape(CELL, latent + 1, -1).transpose(1, 2)
            linear, bias = parts[:, :, :latent].reshape(-1, latent), parts[:, :, latent].reshape(-1)
            leave = maps[CELL * (latent + 1) :].T
        for name, tensor in (("linear.weight", linear), ("leave.weight", leave)):
            found[f"{PREVIEW}{factor}.{name}"] = tensor.half().contiguous().numpy()
        found[f"{PREVIEW}{factor}.linear.bias"] = bias.contiguous().numpy()
    return found


def write(weights: ImageWeights, card: Mapping[str, Any], data: Path, out: Path) -> None:
    """Write a model again, with short cuts fitted to the training pictures of a folder; its id stays.

    Raises
    ------
    FileNotFoundError
        If the folder holds no pictures.
    """
    train, _ = split(find_images(data))
    sampler = CropSampler(train, 256, seed=0)
    tensors = dict(weights.tensors)
    tensors.update(fit(weights, sampler.batch(CROPS)))
    models.write(tensors, out, card)


def _on_cells(factor: int, preset: Mapping[str, int]) -> bool:
    """Whether the features are those at 1/16."""
    return kept_blocks(factor, preset) == 0


def _add(model: ImageModel, y: Tensor, level: Tensor, sums: dict[int, _Sums]) -> None:
    """Add one picture's latents in steps (1, h, w, latent)."""
    y = model.unscaled(y, level)
    synthesis, preset = model.synthesis, model.preset.to_dict()
    whole = synthesis(y, level) - 0.5
    deep = synthesis.blocks16(synthesis.enter(y) * torch.exp(synthesis.gain(level)))
    features = [depth_to_space(synthesis.up(deep), 2)]
    for block in synthesis.blocks8:
        features.append(block(features[-1]))
    extended = torch.cat([y, torch.ones_like(y[..., :1])], dim=-1)
    for factor, equations in sums.items():
        means = _patches(whole, factor)
        if _on_cells(factor, preset):
            equations.add(_rows(torch.cat([extended, deep], dim=-1)), _rows(_cells(means)))
        else:
            last = features[kept_blocks(factor, preset)]
            equations.add(torch.cat([_rows(_by_place(extended)), _rows(last)], dim=1), _rows(means))


def _patches(x: Tensor, factor: int) -> Tensor:
    """(1, H, W, 3) -> means over factor^2 pixels, (1, H/8, W/8, 3k^2) ordered (row, column, colour)."""
    k = 8 // factor
    _, height, width, colours = x.shape
    x = x.reshape(height // 8, k, factor, width // 8, k, factor, colours).mean((2, 5))
    return x.permute(0, 2, 1, 3, 4).reshape(1, height // 8, width // 8, colours * k * k)


def _cells(x: Tensor) -> Tensor:
    """(1, 2h, 2w, C) -> (1, h, w, 4C), channels ordered (row, column, channel)."""
    _, height, width, channels = x.shape
    x = x.reshape(1, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(1, height // 2, width // 2, CELL * channels)


def _by_place(x: Tensor) -> Tensor:
    """(1, h, w, C) -> (1, 2h, 2w, 4C): the channels, at the place of the position within its cell, else zeros."""
    _, height, width, channels = x.shape
    out = x.new_zeros(1, height, 2, width, 2, CELL, channels)
    for row in range(2):
        for column in range(2):
            out[:, :, row, :, column, 2 * row + column] = x
    return out.reshape(1, 2 * height, 2 * width, CELL * channels)


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])
