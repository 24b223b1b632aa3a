"""Codebooks from data alone, without gradients: stage by stage with a beam, then all together, rotation included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from siglum.quantizers import checks
from siglum.quantizers.beam import Partial
from siglum.quantizers.codebook import Codebook
from siglum.quantizers.kmeans import kmeans, progressive
from siglum.quantizers.least_squares import solve
from siglum.quantizers.rotation import procrustes

if TYPE_CHECKING:
    from siglum.quantizers.staged import Staged

_ROWS = 4096  # vectors expanded at a time
_FEW_COMPONENTS = 8
_ANCHOR = 50.0  # vectors that a codeword of the first fit counts for


@torch.no_grad()
def fit_stages(x: Tensor, books: Sequence[Codebook], *, beam: int, iterations: int, seed: int = 0) -> None:
    """Set the codewords of a chain's codebooks from vectors (N, d).

    Each stage is k-means on what all partial solutions of a beam search leave over, as in faiss.
    """
    state = Partial.of(x)
    for stage, book in enumerate(books):
        checks.enough(x, book.size)
        rest = state.rest.reshape(-1, x.shape[1])
        book.assign(_codewords(rest, book.size, iterations, seed + stage))
        if stage + 1 < len(books):
            parts = [Partial(*part) for part in zip(*(field.split(_ROWS) for field in state), strict=True)]
            grown = [part.expand(book, beam) for part in parts]
            state = Partial(*(torch.cat(fields) for fields in zip(*grown, strict=True)))


@torch.no_grad()
def refine(quantizer: Staged, x: Tensor, *, beam: int, rounds: int) -> None:
    """Improve rotation and codebooks on vectors (N, D), ``rounds`` times; the best of what was met is kept.

    For the codes of a search the best rotation is a Procrustes problem (as in Optimized Product Quantization), then
    the best codebooks of every chain are one least-squares problem (as in additive quantization).
    """
    rotation = quantizer.rotation
    if rotation is None and quantizer.stages == quantizer.step:
        return  # one stage a chain: k-means has done this
    best, least = _state(quantizer), float("inf")
    # Many stages solved for together fit the training vectors too well: codewords stay near those of the stages.
    anchors = best[0]
    for turn in range(rounds + 1):
        codes = quantizer.encode(x, beam=beam)
        error = float((quantizer.decode(codes) - x).double().square().sum())
        if error < least:
            best, least = _state(quantizer), error
        if turn == rounds:
            break
        if rotation is not None:
            matrix = procrustes(x - rotation.centre, quantizer.rotate(quantizer.decode(codes)))
            rotation.assign(matrix, rotation.centre)
        y = quantizer.rotate(x)
        for part, members in quantizer.chains():
            start = [anchors[stage] for stage in members]
            tables = solve(y[:, part].contiguous(), codes[:, members], start, ridge=_ANCHOR)
            for stage, codewords in zip(members, tables, strict=True):
                quantizer.codebooks[stage].assign(codewords)
    for book, codewords in zip(quantizer.codebooks, best[0], strict=True):
        book.assign(codewords)
    if rotation is not None and best[1] is not None:
        rotation.assign(best[1], rotation.centre)


def _codewords(x: Tensor, count: int, iterations: int, seed: int) -> Tensor:
    """k-means from seeds in few components, where seeds are good; in a growing number of them in many."""
    if x.shape[1] <= _FEW_COMPONENTS:
        return kmeans(x, count, iterations=iterations, seed=seed)
    return progressive(x, count, iterations=iterations, seed=seed)


def _state(quantizer: Staged) -> tuple[list[Tensor], Tensor | None]:
    rotation = quantizer.rotation
    matrix = None if rotation is None else rotation.matrix().float().clone()
    return [book.vectors().detach().clone() for book in quantizer.codebooks], matrix
