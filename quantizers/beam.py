"""Codes of a chain of codebooks: one after the other, or the best of several partial solutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from siglum.quantizers import lookup
from siglum.quantizers.codebook import Codebook

_ROWS = 2**14  # partial solutions held at a time


def greedy(x: Tensor, books: Sequence[Codebook]) -> Tensor:
    """Each codebook codes what the ones before left over: (N, D) -> (N, S)."""
    codes = []
    for i, book in enumerate(books):
        codes.append(book.lookup(x))
        if i + 1 < len(books):
            x = x - book.vectors()[codes[-1]]
    return torch.stack(codes, 1)


def search(x: Tensor, books: Sequence[Codebook], beam: int) -> Tensor:
    """Codes with the least ``|x - sum of codewords|^2`` + biases among ``beam`` partial solutions: (N, D) -> (N, S).

    Babenko and Lempitsky, Additive Quantization, 2014; in residual order, as faiss's residual quantizer. The greedy
    codes are taken where they are better, which a beam alone does not promise.
    """
    plain = greedy(x, books)
    if beam == 1 or len(books) == 1:
        return plain
    found = torch.cat([_search(part, books, beam) for part in x.split(max(1, _ROWS // beam))])
    better = cost(x, books, found) < cost(x, books, plain)
    return torch.where(better[:, None], found, plain)


def cost(x: Tensor, books: Sequence[Codebook], codes: Tensor) -> Tensor:
    """Squared error plus biases of codes, in double precision: (N,)."""
    values = torch.zeros_like(x)
    extra = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for i, book in enumerate(books):
        values = values + book.vectors()[codes[:, i]]
        bias = book.bias()
        if bias is not None:
            extra += bias[codes[:, i]]
    return (x - values).double().square().sum(1) + extra


def _search(x: Tensor, books: Sequence[Codebook], beam: int) -> Tensor:
    n, dim = x.shape
    rest = x[:, None]  # (N, B, D): what each partial solution leaves over
    paid = torch.zeros(n, 1, device=x.device)  # biases of each partial solution
    paths = torch.zeros(n, 1, 0, dtype=torch.long, device=x.device)
    for book in books:
        width, count = rest.shape[1], min(beam, book.size)
        flat = rest.reshape(-1, dim)
        values, bias = book.vectors(), book.bias()
        index, costs = lookup.top(book.project(flat), book.keys(), count, bias)
        if book.keys() is not values:
            # A smaller space proposes, the space of the vectors decides.
            costs = (flat[:, None] - values[index]).square().sum(2)
            costs = costs if bias is None else costs + bias[index]
        total = (costs.reshape(n, width, count) + paid[:, :, None]).reshape(n, -1)
        best = total.topk(min(beam, total.shape[1]), largest=False).indices
        parent, code = best // count, index.reshape(n, -1).gather(1, best)
        rest = rest.gather(1, parent[:, :, None].expand(-1, -1, dim)) - values[code]
        paths = paths.gather(1, parent[:, :, None].expand(-1, -1, paths.shape[2]))
        paths = torch.cat([paths, code[:, :, None]], 2)
        paid = paid.gather(1, parent)
        if bias is not None:
            paid = paid + bias[code]
    final = rest.square().sum(2) + paid
    return paths[torch.arange(n, device=x.device), final.argmin(1)]
