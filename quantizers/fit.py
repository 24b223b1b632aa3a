"""Codebooks of a chain from data alone, without gradients: stage by stage with a beam, then all together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from siglum.quantizers import checks
from siglum.quantizers.beam import Partial
from siglum.quantizers.codebook import Codebook
from siglum.quantizers.kmeans import progressive
from siglum.quantizers.least_squares import solve

_ROWS = 4096  # vectors expanded at a time

Search = Callable[[Tensor, Sequence[Codebook], int], Tensor]
"""Codes of a chain: vectors (N, d), codebooks, beam -> (N, number of codebooks)."""


@torch.no_grad()
def fit_chain(
    x: Tensor,
    books: Sequence[Codebook],
    search: Search,
    *,
    beam: int,
    iterations: int,
    rounds: int,
    seed: int = 0,
) -> None:
    """Set the codewords of a chain's codebooks from vectors (N, d).

    Each stage is k-means on what all partial solutions of a beam search leave over (as in faiss). Then, ``rounds``
    times, all codebooks are solved for together, by least squares on the codes of a new search; the best are kept.
    """
    state = Partial.of(x)
    for stage, book in enumerate(books):
        checks.enough(x, book.size)
        rest = state.rest.reshape(-1, x.shape[1])
        book.assign(progressive(rest, book.size, iterations=iterations, seed=seed + stage))
        parts = [Partial(*part) for part in zip(*(field.split(_ROWS) for field in state), strict=True)]
        grown = [part.expand(book, beam) for part in parts]
        state = Partial(*(torch.cat(fields) for fields in zip(*grown, strict=True)))
    if len(books) == 1 or rounds == 0:
        return
    codes = search(x, books, beam)
    least = float((x - sum_of(books, codes)).double().square().sum())
    best = [book.vectors().clone() for book in books]
    least = float(rest.double().square().sum())
    for _ in range(rounds):
        tables = solve(x, codes, [book.vectors() for book in books])
        for book, codewords in zip(books, tables, strict=True):
            book.assign(codewords)
        codes = search(x, books, beam)
        error = float((x - sum_of(books, codes)).double().square().sum())
        if error < least:
            least, best = error, [book.vectors().clone() for book in books]
    for book, codewords in zip(books, best, strict=True):
        book.assign(codewords)


def sum_of(books: Sequence[Codebook], codes: Tensor) -> Tensor:
    """Sums of codewords: codes (N, S') -> (N, d)."""
    return torch.stack([book.vectors()[codes[:, s]] for s, book in enumerate(books[: codes.shape[1]])]).sum(0)
