"""Nearest codewords of tensors: siglum's kernels on the CPU and on CUDA, chunks of products where Triton is missing.

No (N, K) matrix in memory. Ties go to the lowest index.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siglum.kernels import nearest

_SCORES = 2**24  # entries of the matrix of one chunk


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
    if x.is_cpu:
        return _tensor(nearest.search(_array(x), _packed(codewords, bias), threads=torch.get_num_threads()))
    kernel = _triton(x)
    if kernel is not None:
        found: Tensor = kernel.search(x.contiguous(), codewords.contiguous(), bias=bias)
        return found.long()
    return chunked(x, codewords, 1, bias)[0][:, 0]


@torch.no_grad()
def top(x: Tensor, codewords: Tensor, count: int, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The ``count`` best codewords, best first: indices and ``|x - c|^2 + bias``, both (N, count)."""
    threads = torch.get_num_threads()
    if x.is_cpu and count == 1:
        first, distance = nearest.search(_array(x), _packed(codewords, bias), threads=threads, scores=True)
        return _tensor(first)[:, None], torch.from_numpy(distance)[:, None]
    if x.is_cpu:
        index, distance = nearest.top(_array(x), _packed(codewords, bias), count, threads=threads)
        return _tensor(index), torch.from_numpy(distance)
    kernel = _triton(x)
    if kernel is not None:
        found, distances = kernel.top(x.contiguous(), codewords.contiguous(), count, bias=bias)
        return found.long(), distances
    return chunked(x, codewords, count, bias)


@torch.no_grad()
def chunked(x: Tensor, codewords: Tensor, count: int, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """As `top`, on any device: products of as many vectors at a time as make 2^24 scores."""
    squares = codewords.square().sum(1)
    half = (squares if bias is None else squares + bias) / 2
    rows = max(1, _SCORES // len(codewords))
    indices, scores = [], []
    for part in x.split(rows):
        products = torch.addmm(half, part, codewords.T, alpha=-1)
        # A stable sort keeps the lowest index of equals, which topk does not; one codeword needs no sort.
        least, found = products.min(1, keepdim=True) if count == 1 else products.sort(dim=1, stable=True)
        indices.append(found[:, :count])
        scores.append(2 * least[:, :count] + part.square().sum(1, keepdim=True))
    return torch.cat(indices), torch.cat(scores)


@torch.no_grad()
def residual(x: Tensor, codebooks: list[Tensor]) -> Tensor:
    """Codes of stages that each search what the ones before left over: (N, D) -> int64 (N, S)."""
    if x.is_cpu:
        packed = [_packed(codewords, None) for codewords in codebooks]
        return _tensor(nearest.residual(_array(x), packed, threads=torch.get_num_threads()))
    kernel = _triton(x)
    if kernel is not None:
        found: Tensor = kernel.residual(x.contiguous(), [codewords.contiguous() for codewords in codebooks])
        return found.long()
    codes = []
    for codewords in codebooks:
        codes.append(search(x, codewords))
        x = x - codewords[codes[-1]]
    return torch.stack(codes, 1)


@torch.no_grad()
def accumulate(x: Tensor, indices: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """How many vectors each index has, int64 (K,), and their sums, float32 (K, D), in a fixed order on the CPU."""
    if x.is_cpu:
        counts, sums = nearest.accumulate(_array(x), indices.numpy(), count, threads=torch.get_num_threads())
        return torch.from_numpy(counts), torch.from_numpy(sums)
    zeros = torch.zeros(count, x.shape[1], device=x.device)
    return torch.bincount(indices, minlength=count), zeros.index_add_(0, indices, x)


def _triton(x: Tensor) -> Any:
    """The kernels for CUDA, or None."""
    if x.is_cuda and find_spec("triton") is not None:
        return import_module("siglum.kernels.gpu.nearest")
    return None


def _packed(codewords: Tensor, bias: Tensor | None) -> nearest.Packed:
    return nearest.Packed(_array(codewords), None if bias is None else _array(bias))


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().contiguous().numpy()


def _tensor(indices: NDArray[np.int32]) -> Tensor:
    return torch.from_numpy(indices).long()
