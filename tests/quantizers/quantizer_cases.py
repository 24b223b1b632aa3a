"""Small quantizers of every structure, started from data, shared by the tests."""

from __future__ import annotations

import functools
from typing import Any

import torch

from siglum import quantizers
from siglum.quantizers.base import Quantizer

torch.set_num_threads(1)  # small tensors: threads cost more than they give

CONFIGS: dict[str, dict[str, Any]] = {
    "vector": {"name": "vector", "dim": 8, "codewords": 32},
    "residual": {"name": "residual", "dim": 8, "stages": 3, "codewords": [32, 16, 16], "dropout": 0.5},
    "group-residual": {
        "name": "group-residual", "dim": 8, "groups": 2, "stages": 3, "codewords": 16, "rotation": "opq",
        "learned": True, "dropout": 0.5,
    },
    "group-residual plain": {
        "name": "group-residual", "dim": 8, "groups": 2, "stages": 2, "codewords": 16, "rotation": None,
    },
    "product": {"name": "product", "dim": 8, "groups": 4, "codewords": [8, 4, 16, 2]},
    "product rotated": {"name": "product", "dim": 8, "groups": 2, "codewords": 16, "rotation": "pca"},
    "additive": {"name": "additive", "dim": 8, "stages": 3, "codewords": 16},
    "cascade": {
        "name": "cascade", "side": 2, "channels": 2, "scales": [2, 1], "groups": 2, "codewords": 8, "dropout": 0.5,
    },
    "finite": {"name": "finite", "levels": [8, 5, 5, 5, 2, 2, 2, 2]},
    "finite separate": {"name": "finite", "levels": [8, 5, 5, 5, 2, 2, 2, 2], "separate": True},
    "lookup-free": {"name": "lookup-free", "dim": 8},
    "spherical": {"name": "spherical", "dim": 8, "separate": True},
    "lattice": {"name": "lattice", "dim": 8, "lattice": "D4", "radix": 4},
    "lattice E8": {"name": "lattice", "dim": 8, "lattice": "E8", "radix": 3, "learned": True},
    "lattice large": {"name": "lattice", "dim": 8, "lattice": "E8", "radix": 8},
    "lattice Z": {"name": "lattice", "dim": 8, "lattice": "Z", "radix": 5},
    "scalar": {"name": "scalar", "dim": 8, "step": 0.5, "limit": 4, "rounding": 0.25},
}  # fmt: skip
NAMES = sorted(CONFIGS)
PROJECTED = {"group-residual", "product rotated"}
"""Those that multiply by a matrix of floats."""


def vectors(count: int, seed: int = 0, dim: int = 8) -> torch.Tensor:
    """Correlated vectors, (count, dim)."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(99))
    return torch.randn(count, dim, generator=generator) @ mix / 2


@functools.cache
def started(name: str) -> Quantizer:
    """The quantizer of that name, started from data, in evaluation mode. Not to be changed."""
    torch.manual_seed(0)
    quantizer = quantizers.from_config(CONFIGS[name])
    quantizer.start(vectors(600))
    return quantizer.eval()


def fresh(name: str) -> Quantizer:
    """A copy of `started` to change, in training mode."""
    quantizer = quantizers.from_config(CONFIGS[name])
    quantizer.load_state_dict(started(name).state_dict())
    return quantizer.train()
