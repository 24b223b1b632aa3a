"""Nearest codewords of tensors, in chunks: no (N, K) matrix in memory. Ties go to the lowest index."""

from __future__ import annotations

import torch
from torch import Tensor

_SCORES = 2**22  # entries of the matrix of one chunk


@torch.no_grad()
def search(x: Tensor, codewords: Tensor, bias: Tensor | None = None) -> Tensor:
    """Index of the codeword with the least ``|x - c|^2 + bias``.

    Parameters
    ----------
    x : float32 (N, D)
    codewords : float32 (K, D)
    bias : float32 (K,), optional

    Returns
    -------
    int64 (N,)
    """
    half = _half(codewords, bias)
    rows = max(1, _SCORES // len(codewords))
    found = [torch.addmm(half, part, codewords.T, alpha=-1).argmin(1) for part in x.split(rows)]
    return torch.cat(found)


@torch.no_grad()
def top(x: Tensor, codewords: Tensor, count: int, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The ``count`` best codewords, best first: indices and ``|x - c|^2 + bias``, both (N, count)."""
    half = _half(codewords, bias)
    rows = max(1, _SCORES // len(codewords))
    indices, scores = [], []
    for part in x.split(rows):
        least, index = torch.addmm(half, part, codewords.T, alpha=-1).topk(count, largest=False)
        indices.append(index)
        scores.append(2 * least + part.square().sum(1, keepdim=True))
    return torch.cat(indices), torch.cat(scores)


def _half(codewords: Tensor, bias: Tensor | None) -> Tensor:
    squares = codewords.square().sum(1)
    return (squares if bias is None else squares + bias) / 2
