"""Codes of a chain of codebooks: one after the other, or the best of several partial solutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from siglum.quantizers import lookup
from siglum.quantizers.codebook import Codebook

SWEEPS = 2  # over all codes after a beam search
_ROWS = 2**14  # partial solutions held at a time


def greedy(x: Tensor, books: Sequence[Codebook]) -> Tensor:
    """Each codebook codes what the ones before left over: (N, D) -> (N, S)."""
    if all(book.plain() for book in books):
        return lookup.residual(x, [(book.vectors(), book.bias()) for book in books])
    codes = []
    for i, book in enumerate(books):
        codes.append(book.lookup(x))
        if i + 1 < len(books):
            x = x - book.vectors()[codes[-1]]
    return torch.stack(codes, 1)


def search(x: Tensor, books: Sequence[Codebook], beam: int, sweeps: int = 0) -> Tensor:
    """Codes with the least ``|x - sum of codewords|^2`` + biases among ``beam`` partial solutions: (N, D) -> (N, S).

    Babenko and Lempitsky, Additive Quantization, 2014; in residual order, as faiss's residual quantizer. After it, each
    code in turn becomes the best for what the others leave, twice; with ``sweeps`` so many times, greedy codes too.
    The greedy codes are taken where they are better, which a beam alone does not promise.
    """
    plain = _swept(x, books, greedy(x, books), sweeps)
    if beam == 1 or len(books) == 1:
        return plain
    found = None
    if all(book.direct() for book in books):
        found = lookup.beam(x, [(book.vectors(), book.bias()) for book in books], beam)
    if found is None:
        found = torch.cat([_search(part, books, beam) for part in x.split(max(1, _ROWS // beam))])
    found = _swept(x, books, found, max(sweeps, SWEEPS))
    better = cost(x, books, found) < cost(x, books, plain)
    return torch.where(better[:, None], found, plain)


def _swept(y: Tensor, books: Sequence[Codebook], codes: Tensor, sweeps: int) -> Tensor:
    """Codes with each one in turn the best for what the others leave; stops where nothing changes any more."""
    if sweeps == 0:
        return codes
    tables = [book.vectors() for book in books]
    rest = y - torch.stack([table[codes[:, s]] for s, table in enumerate(tables)]).sum(0)
    best, codes = codes, codes.clone()
    for _ in range(sweeps):
        before = codes.clone()
        for s, (book, table) in enumerate(zip(books, tables, strict=True)):
            rest = rest + table[codes[:, s]]
            codes[:, s] = book.lookup(rest)
            rest = rest - table[codes[:, s]]
        if torch.equal(before, codes):
            break
    # Rounding could make a sweep's result worse by an ulp: what came in is kept where it is not better.
    better = cost(y, books, codes) < cost(y, books, best)
    return torch.where(better[:, None], codes, best)


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


class Partial(NamedTuple):
    """Partial solutions of a batch: what each leaves over (N, B, D), its biases (N, B) and codes (N, B, S')."""

    rest: Tensor
    paid: Tensor
    paths: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Partial:
        """One empty solution a vector."""
        return cls(
            x[:, None], x.new_zeros(len(x), 1), torch.zeros(len(x), 1, 0, dtype=torch.long, device=x.device)
        )

    def expand(self, book: Codebook, beam: int) -> Partial:
        """The best ``beam`` of all solutions with one code more."""
        n, width, dim = self.rest.shape
        flat, count = self.rest.reshape(-1, dim), min(beam, book.size)
        values, bias = book.vectors(), book.bias()
        keys = book.keys()
        index, costs = lookup.top(book.project(flat), keys, count, bias)
        if not book.direct():
            # A smaller space proposes, the space of the vectors decides.
            costs = (flat[:, None] - values[index]).square().sum(2)
            costs = costs if bias is None else costs + bias[index]
        total = (costs.reshape(n, width, count) + self.paid[:, :, None]).reshape(n, -1)
        best = total.topk(min(beam, total.shape[1]), largest=False).indices
        parent, code = best // count, index.reshape(n, -1).gather(1, best)
        rest = self.rest.gather(1, parent[:, :, None].expand(-1, -1, dim)) - values[code]
        paths = self.paths.gather(1, parent[:, :, None].expand(-1, -1, self.paths.shape[2]))
        paid = self.paid.gather(1, parent)
        if bias is not None:
            paid = paid + bias[code]
        return Partial(rest, paid, torch.cat([paths, code[:, :, None]], 2))


def _search(x: Tensor, books: Sequence[Codebook], beam: int) -> Tensor:
    state = Partial.of(x)
    for book in books:
        state = state.expand(book, beam)
    final = state.rest.square().sum(2) + state.paid
    return state.paths[torch.arange(len(x), device=x.device), final.argmin(1)]
