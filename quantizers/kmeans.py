"""k-means: greedy k-means++ seeds, Lloyd's iterations, empty clusters re-seeded where the error is large."""

from __future__ import annotations

import torch
from torch import Tensor

from siglum.quantizers import checks, lookup

_SEEDED = 4096  # above, seeding one by one takes longer than the iterations that it saves
_PER_CODEWORD = 256  # more vectors than this a codeword do not improve codewords
_FEW_SEEDS, _SEEDS_PER_CODEWORD = 2**13, 16  # vectors among which seeds are drawn
_TRIALS = 4  # vectors drawn for each seed
_FEW = 2**15  # vectors that are always used: few codewords are to be exact


@torch.no_grad()
def kmeans(
    x: Tensor, count: int, *, iterations: int = 25, seed: int = 0, centroids: Tensor | None = None
) -> Tensor:
    """Codewords (K, D) of vectors (N, D).

    Arthur and Vassilvitskii, k-means++: The Advantages of Careful Seeding, 2007; Lloyd, 1982. Deterministic in
    its arguments: random numbers come from ``seed``.

    Parameters
    ----------
    x : float32 (N, D)
        N is at least ``count``; of more than 32,768 and more than 256 a codeword, a sample is used.
    count
        Codewords, K.
    iterations
        Lloyd's iterations; fewer if nothing changes any more.
    seed
        Of the random numbers.
    centroids : float32 (K, D), optional
        Where to start, instead of seeding.

    Raises
    ------
    ValueError
        If there are fewer vectors than codewords.
    """
    checks.enough(x, count)
    generator = torch.Generator().manual_seed(seed)
    x = sample(x, count, generator)
    if centroids is None:
        centroids = _seeds(x, count, generator)
    before: Tensor | None = None
    for _ in range(iterations):
        indices, distances = lookup.top(x, centroids, 1)
        if before is not None and torch.equal(indices, before):
            break
        before = indices
        centroids = means(x, indices[:, 0], centroids)
        centroids = _reseed(x, indices[:, 0], distances[:, 0], centroids, generator)
    return centroids


@torch.no_grad()
def progressive(x: Tensor, count: int, *, steps: int = 10, iterations: int = 25, seed: int = 0) -> Tensor:
    """Codewords (K, D) like `kmeans`, found in a growing number of principal components.

    Few components first leave fewer local minima, as in faiss's progressive-dimension clustering; best for
    residuals, which have no clusters that seeds could find.

    Parameters
    ----------
    x, count, seed
        As for `kmeans`.
    steps
        Numbers of components tried, in equal ratios up to D.
    iterations
        Of `kmeans`; every step has a third of them.
    """
    checks.enough(x, count)
    generator = torch.Generator().manual_seed(seed)
    x = sample(x, count, generator)
    dim = x.shape[1]
    centre = x.mean(0)
    axes = torch.linalg.eigh((x - centre).T @ (x - centre))[1].flip(1)
    y = ((x - centre) @ axes).contiguous()
    numbers = sorted({round(dim ** ((step + 1) / steps)) for step in range(steps)})
    centroids = _seeds(y[:, : numbers[0]].contiguous(), count, generator)
    for number in numbers:
        grown = torch.zeros(count, number, device=x.device)
        grown[:, : centroids.shape[1]] = centroids
        part = y[:, :number].contiguous()
        centroids = kmeans(part, count, iterations=iterations // 3 + 1, seed=seed, centroids=grown)
    return centroids @ axes.T + centre


def sample(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Of more than 32,768 vectors (N, D), and more than 256 a codeword, as many as that; else all."""
    most = max(_FEW, _PER_CODEWORD * count)
    return x if len(x) <= most else x[torch.randperm(len(x), generator=generator)[:most].to(x.device)]


def means(x: Tensor, indices: Tensor, centroids: Tensor) -> Tensor:
    """Mean vector of each codeword's vectors; codewords without any stay."""
    counts, sums = lookup.accumulate(x, indices, len(centroids))
    counts = counts[:, None].to(x.dtype)
    return torch.where(counts > 0, sums / counts.clamp(min=1), centroids)


def _seeds(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if count > _SEEDED:
        return x[torch.randperm(len(x), generator=generator)[:count].to(x.device)].clone()
    most = max(_FEW_SEEDS, _SEEDS_PER_CODEWORD * count)
    if len(x) > most:
        x = x[torch.randperm(len(x), generator=generator)[:most].to(x.device)]
    squares = x.square().sum(1)
    chosen = torch.randint(len(x), (1,), generator=generator).to(x.device)
    distances = _distances(x, squares, chosen)[:, 0]
    found = [chosen]
    draws = torch.rand(count, _TRIALS, generator=generator, dtype=torch.float64).to(x.device)
    for i in range(1, count):
        cumulative = distances.cumsum(0, dtype=torch.float64)
        drawn = torch.searchsorted(cumulative, draws[i] * cumulative[-1]).clamp(max=len(x) - 1)
        # Of several vectors drawn by their error, the one that leaves the least.
        left = torch.minimum(_distances(x, squares, drawn), distances[:, None])
        best = left.sum(0).argmin()
        distances = left[:, best]
        found.append(drawn[best, None])
    return x[torch.cat(found)].clone()


def _distances(x: Tensor, squares: Tensor, chosen: Tensor) -> Tensor:
    """Squared distances of all vectors to some of them, (N, count)."""
    return (squares[:, None] - 2 * (x @ x[chosen].T) + squares[chosen]).clamp_(min=0)


def _reseed(
    x: Tensor, indices: Tensor, distances: Tensor, centroids: Tensor, generator: torch.Generator
) -> Tensor:
    empty = (torch.bincount(indices, minlength=len(centroids)) == 0).nonzero()[:, 0]
    if not len(empty):
        return centroids
    # Where the error is large another codeword helps most; the noise picks without replacement by error.
    noise = -torch.rand(len(x), generator=generator).clamp_(1e-12).log_().to(x.device)
    far = (distances.clamp(min=0) / noise).topk(len(empty)).indices
    centroids[empty] = x[far]
    return centroids
