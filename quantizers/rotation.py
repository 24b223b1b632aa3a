"""Orthogonal mixing in front of a split: learned, and started from data so that the parts are worth the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from siglum.quantizers import checks, lookup
from siglum.quantizers.kmeans import kmeans

STARTS = ("pca", "random", "opq")


class Rotation(nn.Module):
    """``y = (x - centre) R`` with orthogonal R = exp(A - A^T) R0, where A is learned and R0 comes from data.

    Products are summed in double precision and rounded, so that a vector's y depends on no other vector.

    Parameters
    ----------
    dim
        Components.
    learned
        Whether A is a parameter; else R is R0.
    """

    base: Tensor
    centre: Tensor

    def __init__(self, dim: int, learned: bool = True) -> None:
        super().__init__()
        self.register_buffer("base", torch.eye(dim))
        self.register_buffer("centre", torch.zeros(dim))
        self.skew = nn.Parameter(torch.zeros(dim, dim)) if learned else None

    def matrix(self) -> Tensor:
        """R in double precision, (D, D), differentiable in A."""
        base = self.base.double()
        if self.skew is None:
            return base
        skew = self.skew.double()
        return torch.matrix_exp(skew - skew.T) @ base

    def forward(self, x: Tensor) -> Tensor:
        """Rotate: (N, D) -> (N, D)."""
        return ((x.double() - self.centre.double()) @ self.matrix()).float()

    def inverse(self, y: Tensor) -> Tensor:
        """Rotate back: (N, D) -> (N, D)."""
        return (y.double() @ self.matrix().T + self.centre.double()).float()

    @torch.no_grad()
    def assign(self, matrix: Tensor, centre: Tensor) -> None:
        """Set R and the centre; A becomes 0."""
        dim = len(self.centre)
        self.base.copy_(checks.matrix(matrix, dim, dim, "rotation"))
        self.centre.copy_(centre)
        if self.skew is not None:
            self.skew.zero_()


def balanced(x: Tensor, groups: int) -> Tensor:
    """Principal axes of x (N, D), as columns (D, D), dealt to groups of equal size so that none has more to code.

    Eigenvalue allocation of Ge et al., Optimized Product Quantization, 2013: axes in falling order of variance go
    to the group with the least product of variances so far.
    """
    x = x.double() - x.double().mean(0)
    variances, axes = torch.linalg.eigh(x.T @ x / len(x))
    order = torch.arange(x.shape[1] - 1, -1, -1)
    logs = variances.clamp(min=float(variances[-1]) * 1e-12 + 1e-300).log().cpu()
    members: list[list[int]] = [[] for _ in range(groups)]
    products = [0.0] * groups
    # In units in which no axis shrinks a product, or small variances would be dealt last to the richest.
    logs = logs - logs.min()
    for axis in order.tolist():
        free = [g for g in range(groups) if len(members[g]) < x.shape[1] // groups]
        group = min(free, key=lambda g: products[g])
        members[group].append(axis)
        products[group] += float(logs[axis])
    return axes[:, torch.tensor([axis for group in members for axis in group]).to(axes.device)].float()


def random_rotation(dim: int, seed: int = 0) -> Tensor:
    """A uniformly random orthogonal matrix (D, D)."""
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
    return (q * r.diagonal().sign()).float()


def optimised(x: Tensor, starts: Sequence[Tensor], groups: int, codewords: int, rounds: int = 20) -> Tensor:
    """OPQ: rotation and codebooks of a split optimised in turns, the best of several starts; Ge et al., 2013.

    Parameters
    ----------
    x : float32 (N, D)
        Centred.
    starts
        Rotations (D, D).
    """
    checks.enough(x, codewords)
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[: 64 * codewords].to(x.device)]
    found = [_optimised(x, start, groups, codewords, rounds) for start in starts]
    return min(found, key=lambda each: each[1])[0]


def _optimised(x: Tensor, matrix: Tensor, groups: int, codewords: int, rounds: int) -> tuple[Tensor, float]:
    books: list[Tensor | None] = [None] * groups
    for _ in range(rounds):
        values = []
        for group, part in enumerate((x @ matrix).chunk(groups, 1)):
            part = part.contiguous()
            first = books[group] is None
            book = kmeans(part, codewords, iterations=10 if first else 2, centroids=books[group])
            books[group] = book
            values.append(book[lookup.search(part, book)])
        joined = torch.cat(values, 1)
        matrix = procrustes(x, joined)
    return matrix, float((x @ matrix - joined).double().square().sum())


def procrustes(x: Tensor, values: Tensor) -> Tensor:
    """The orthogonal R with the least ``|x R - values|``, (D, D) (Schönemann, 1966)."""
    u, _, v = torch.linalg.svd(x.double().T @ values.double())
    return (u @ v).float()
