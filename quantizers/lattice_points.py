"""Nearest points of the lattices Z^n, D4 and E8, and of their scaled copies."""

from __future__ import annotations

import torch
from torch import Tensor

DIMENSIONS = {"Z": 1, "D4": 4, "E8": 8}

_D4 = [[1, 1, 0, 0], [1, -1, 0, 0], [0, 1, -1, 0], [0, 0, 1, -1]]
_E8 = [
    [2, 0, 0, 0, 0, 0, 0, 0],
    [-1, 1, 0, 0, 0, 0, 0, 0],
    [0, -1, 1, 0, 0, 0, 0, 0],
    [0, 0, -1, 1, 0, 0, 0, 0],
    [0, 0, 0, -1, 1, 0, 0, 0],
    [0, 0, 0, 0, -1, 1, 0, 0],
    [0, 0, 0, 0, 0, -1, 1, 0],
    [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
]


def basis(lattice: str) -> Tensor:
    """Generator matrix, a basis vector a row, float64 (n, n)."""
    rows = {"Z": [[1]], "D4": _D4, "E8": _E8}[lattice]
    return torch.tensor(rows, dtype=torch.float64)


def nearest(x: Tensor, lattice: str) -> Tensor:
    """The lattice point nearest to each of x (N, n), exactly: Conway and Sloane, Fast Quantizing, 1982."""
    if lattice == "Z":
        return _round(x)
    if lattice == "D4":
        return _checkerboard(x)
    whole, half = _checkerboard(x), _checkerboard(x - 0.5) + 0.5
    closer = (x - half).square().sum(1) < (x - whole).square().sum(1)
    return torch.where(closer[:, None], half, whole)


def _round(x: Tensor) -> Tensor:
    return (x + 0.5).floor()


def _checkerboard(x: Tensor) -> Tensor:
    """D_n, integers with an even sum: round, and if the sum is odd, round the worst component the other way."""
    rounded = _round(x)
    error = x - rounded
    worst = error.abs().argmax(1, keepdim=True)
    odd = rounded.sum(1, keepdim=True).remainder(2)
    way = torch.where(error.gather(1, worst) < 0, -1.0, 1.0).to(x.dtype)
    return rounded.scatter_add(1, worst, odd * way)
