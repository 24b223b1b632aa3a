"""Codebooks of given codes by least squares: all stages at once, as additive quantization asks for."""

from __future__ import annotations

import torch
from torch import Tensor

from siglum.quantizers import lookup


@torch.no_grad()
def solve(
    x: Tensor, codes: Tensor, codebooks: list[Tensor], *, iterations: int = 20, ridge: float = 1.0
) -> list[Tensor]:
    """Codebooks that minimise ``sum |x - sum_s C_s[code_s]|^2 + ridge sum |C - C_before|^2`` for fixed codes.

    The update of additive quantization (Babenko and Lempitsky, 2014; Martinez et al., LSQ++, 2018). Conjugate
    gradients on the normal equations from the codebooks given, each step a sum over the vectors, so that no
    matrix of all codewords by all codewords is held. The ridge keeps codewords that few vectors determine.

    Parameters
    ----------
    x : float32 (N, D)
    codes : int64 (N, S)
    codebooks : S of float32 (K_s, D)
    iterations
        Conjugate gradient steps at most.
    ridge
        Weight of staying, in vectors.
    """
    sizes = [len(codewords) for codewords in codebooks]
    counts = torch.cat([torch.bincount(codes[:, s], minlength=size) for s, size in enumerate(sizes)])
    scale = 1 / (counts + ridge)[:, None].to(x.dtype)

    def scatter(values: Tensor) -> Tensor:
        sums = [lookup.accumulate(values, codes[:, s], size)[1] for s, size in enumerate(sizes)]
        return torch.cat(sums)

    def gather(change: Tensor) -> Tensor:
        parts = change.split(sizes)
        values = torch.zeros_like(x)
        for s, part in enumerate(parts):
            values += part[codes[:, s]]
        return values

    change = torch.zeros(sum(sizes), x.shape[1], device=x.device)
    left = scatter(x - gather(torch.cat(codebooks)))
    step = scale * left
    direction, energy = step.clone(), (left * step).sum()
    first = float(energy)
    for _ in range(iterations):
        if float(energy) <= 1e-8 * first or first == 0:
            break
        image = scatter(gather(direction)) + ridge * direction
        length = energy / (direction * image).sum()
        change += length * direction
        left -= length * image
        step = scale * left
        before, energy = energy, (left * step).sum()
        direction = step + energy / before * direction
    return [codewords + part for codewords, part in zip(codebooks, change.split(sizes), strict=True)]
