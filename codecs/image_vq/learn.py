"""Learning the codebooks of the cascade: entropy-constrained, with the prior that codes them.

A vector takes the codeword of least distortion plus bits, where bits are those of a Gaussian over the codebook
whose mean is what the coarse stage left and whose deviations come from the hyperprior; codewords, their weights
and the deviations are then moved down the gradient of rate plus distortion (entropy-constrained vector
quantization: Chou, Lookabaugh and Gray, IEEE Trans. ASSP 37, 1989; here with a conditional prior).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from siglum.codecs.image.layers import LOG_SCALE_STEP, SCALE_LOW
from siglum.codecs.image_vq import lattice
from siglum.codecs.image_vq.blocks import kinds_of
from siglum.codecs.image_vq.constants import (
    COARSE_FACTOR,
    DIMENSION,
    GRID,
    LATTICE_UNIT,
    REFINED,
    SCALES,
    SKIPPED,
    WORDS,
)
from siglum.quantizers.kmeans import kmeans

Floats = NDArray[np.float32]
_LN2 = math.log(2.0)
SHARES = (256, 512, 1024)  # vectors of each class in a batch
FINE_STEP = LATTICE_UNIT * GRID  # of the lattice, in steps of the latents


@dataclass(frozen=True)
class Vectors:
    """Training vectors: residuals of the hyperprior's means in steps.

    Attributes
    ----------
    x : float32 (N, 4)
    index : uint8 (N, 4)
        Tables that the hyperprior predicts.
    weight : float32 (N,)
        Bits that one squared step of error is worth.
    """

    x: Floats
    index: NDArray[np.uint8]
    weight: Floats

    def take(self, which: NDArray[np.int64]) -> Vectors:
        """Some of them."""
        return Vectors(self.x[which], self.index[which], self.weight[which])


class Book(nn.Module):
    """One codebook with its prior: codewords, log weights, and a log deviation for each table index."""

    def __init__(self, words: Tensor) -> None:
        super().__init__()
        scales = SCALE_LOW * torch.exp(LOG_SCALE_STEP * torch.arange(SCALES))
        self.words = nn.Parameter(words)
        self.log_weight = nn.Parameter(torch.zeros(len(words)))
        self.log_deviation = nn.Parameter(torch.log(torch.sqrt(scales**2 + 0.05)))

    def energies(self, mean: Tensor, index: Tensor) -> Tensor:
        """Bits (N, K) up to the partition function of vectors predicted at `mean` (N, 4)."""
        precision = self.precision(index)
        energy = precision @ (self.words**2).T - 2 * (precision * mean) @ self.words.T
        return energy - self.log_weight / _LN2 + (precision * mean**2).sum(1, keepdim=True)

    def precision(self, index: Tensor) -> Tensor:
        """Bits of one squared step of distance from the mean."""
        return torch.exp(-2 * self.log_deviation[index]) / (2 * _LN2)

    def distances(self, x: Tensor) -> Tensor:
        """Squared distances (N, K)."""
        return (x**2).sum(1, keepdim=True) - 2 * x @ self.words.T + (self.words**2).sum(1)


class Codebooks(nn.Module):
    """One codebook for each class of vectors."""

    def __init__(self, books: list[Book]) -> None:
        super().__init__()
        self.books = nn.ModuleList(books)

    def forward(self, x: Tensor, index: Tensor, weight: Tensor, kind: int) -> tuple[Tensor, Tensor]:
        """Bits and squared error (N,) each of vectors (N, 4) of one class."""
        book: Book = self.books[kind]  # type: ignore[assignment]
        if kind == REFINED:
            return self._refined(book, x, index, weight)
        energy = book.energies(torch.zeros_like(x), index)
        with torch.no_grad():
            chosen = (energy + weight[:, None] * book.distances(x)).argmin(1, keepdim=True)
        return _bits(energy, chosen), ((x - book.words[chosen[:, 0]]) ** 2).sum(1)

    def _refined(self, book: Book, x: Tensor, index: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            total = weight[:, None] + book.precision(index)
            target = (weight[:, None] * x / total / FINE_STEP).numpy()
            coarse, codes = map(torch.from_numpy, lattice.split(lattice.nearest(target, total.numpy())))
            spent = coarse * (COARSE_FACTOR * FINE_STEP)
        bits = _bits(book.energies(-spent, index), codes[:, None].long())
        return bits + lattice_bits(coarse, index), ((x - spent - book.words[codes.long()]) ** 2).sum(1)


def _bits(energy: Tensor, chosen: Tensor) -> Tensor:
    return energy.gather(1, chosen)[:, 0] + torch.logsumexp(-energy * _LN2, 1) / _LN2


def lattice_bits(coarse: Tensor, index: Tensor) -> Tensor:
    """Bits (N,) of the coarse stage's integers (N, 4)."""
    scale = SCALE_LOW * torch.exp(LOG_SCALE_STEP * index) / (COARSE_FACTOR * FINE_STEP)
    factor = math.sqrt(0.5) / scale
    mass = torch.special.erfc((coarse.abs() - 0.5) * factor) - torch.special.erfc(
        (coarse.abs() + 0.5) * factor
    )
    return -torch.log2(torch.clamp(0.5 * mass, min=1e-6)).sum(1)


def empty() -> Codebooks:
    """Codebooks of the right sizes, to load a checkpoint into."""
    return Codebooks([Book(torch.zeros(count, DIMENSION)) for count in WORDS])


def start(data: Vectors, seed: int = 0) -> Codebooks:
    """Codebooks from k-means over the vectors that each will see, with zero among the words; the lattice's."""
    kinds = kinds_of(data.index)
    books = []
    for kind, count in enumerate(WORDS):
        if kind == REFINED:
            points = (lattice.representatives() * FINE_STEP).astype(np.float32)
            books.append(Book(torch.from_numpy(points)))
            continue
        x = data.x[kinds == kind]
        x = x[(x**2).sum(1) > 0.2][: 40 * count]
        words = kmeans(torch.from_numpy(x), count, iterations=6, seed=seed)
        words[0] = 0.0
        books.append(Book(words))
    return Codebooks(books)


def learn(
    model: Codebooks,
    data: Vectors,
    steps: int,
    log: Callable[[str], None],
    *,
    held_out: Vectors | None = None,
    rate: float = 0.01,
    seed: int = 0,
) -> None:
    """Move everything down the gradient of bits plus weighted error; batches hold every class."""
    random = np.random.default_rng(seed)
    kinds = kinds_of(data.index)
    members = [np.flatnonzero(kinds == kind) for kind in range(SKIPPED)]
    books: list[Book] = list(model.books)  # type: ignore[arg-type]
    groups = [
        {"params": [book.words for kind, book in enumerate(books) if kind != REFINED], "lr": rate},
        {"params": [book.log_weight for book in books], "lr": 5 * rate},
        {"params": [book.log_deviation for book in books], "lr": rate},
    ]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.98))
    base = [group["lr"] for group in optimizer.param_groups]
    began = time.perf_counter()
    for step in range(steps):
        if step % 500 == 0 and held_out is not None:
            log(f"step {step}  {time.perf_counter() - began:.0f} s  " + report(model, held_out))
        for group, lr in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = lr * min(1.0, 2.0 * (1 - step / steps))
        loss = torch.zeros(())
        for kind, share in enumerate(SHARES):
            batch = data.take(random.choice(members[kind], share))
            bits, error = model(*_tensors(batch), kind)
            loss = loss + (bits + torch.from_numpy(batch.weight) * error).sum()
        optimizer.zero_grad()
        (loss / sum(SHARES)).backward()
        optimizer.step()
        with torch.no_grad():
            for kind, book in enumerate(books):
                if kind != REFINED:
                    book.words[0] = 0.0
    if held_out is not None:
        log(f"step {steps}  {time.perf_counter() - began:.0f} s  " + report(model, held_out))


@torch.no_grad()
def report(model: Codebooks, data: Vectors) -> str:
    """Bits, weighted error and their sum a vector, for each class."""
    kinds = kinds_of(data.index)
    parts = []
    for kind in range(SKIPPED):
        some = data.take(np.flatnonzero(kinds == kind)[:20000])
        bits, error = model(*_tensors(some), kind)
        weighted = float((torch.from_numpy(some.weight) * error).mean())
        parts.append(f"{float(bits.mean()):.3f}+{weighted:.3f}={float(bits.mean()) + weighted:.3f}")
    return "  ".join(parts)


def _tensors(data: Vectors) -> tuple[Tensor, Tensor, Tensor]:
    index = torch.from_numpy(data.index.astype(np.int64))
    return torch.from_numpy(data.x), index, torch.from_numpy(data.weight)
