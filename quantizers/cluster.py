"""Smaller codebooks from a learned one, so that one trained model has several rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from siglum.quantizers import checks, lookup
from siglum.quantizers.kmeans import kmeans
from siglum.quantizers.staged import Staged


class Clustered(NamedTuple):
    """A smaller codebook (n, D), and the codeword of it that each of the K larger ones became: int64 (K,)."""

    codewords: Tensor
    replaced_by: Tensor


@torch.no_grad()
def cluster(
    codewords: Tensor, count: int, counts: Tensor | None = None, *, iterations: int = 25, seed: int = 0
) -> Clustered:
    """Cluster K codewords to fewer: k-means on the codewords, weighted by how often each is used.

    Mao et al., Extreme Image Compression Using Fine-tuned VQGANs, 2023: 16,384 codewords to as few as 8.

    Parameters
    ----------
    codewords : float32 (K, D)
    count
        Codewords wanted, 1 to K.
    counts : (K,), optional
        Uses of each codeword, such as ``Usage.counts``; without them all weigh the same.

    Raises
    ------
    ValueError
        If more are wanted than there are, or ``counts`` has another shape or negative values.
    """
    codewords = checks.vectors(codewords.detach(), codewords.shape[-1], "codewords")
    checks.integer(count, 1, len(codewords), "count")
    weights = torch.ones(len(codewords), device=codewords.device) if counts is None else counts.float()
    if weights.shape != (len(codewords),) or bool((weights < 0).any()):
        raise ValueError(
            f"counts has shape {checks.shape_of(weights)}, wanted ({len(codewords)},) of 0 or more"
        )
    weights = (weights + 1e-3 * weights.mean().clamp(min=1e-6))[:, None]  # unused ones have a place, too
    centroids = kmeans(codewords, count, iterations=5, seed=seed)
    for _ in range(iterations):
        nearest = lookup.search(codewords, centroids)
        sums = lookup.accumulate(codewords * weights, nearest, count)[1]
        mass = torch.zeros(count, 1, device=codewords.device).index_add_(0, nearest, weights)
        centroids = torch.where(mass > 0, sums / mass.clamp(min=1e-30), centroids)
    return Clustered(centroids, lookup.search(codewords, centroids))


@torch.no_grad()
def smaller(
    quantizer: Staged, codewords: int, counts: Sequence[Tensor] | None = None
) -> tuple[Staged, list[Tensor]]:
    """The same structure with at most ``codewords`` in every codebook, and each stage's map of codes.

    ``maps[s][codes[..., s]]`` are codes of the smaller quantizer, without the vectors: a stream can be thinned out
    after it was made. (Codes searched for anew are better, above all in residual stages.)

    Parameters
    ----------
    quantizer
        Vector, residual, product, group-residual or additive.
    codewords
        Most codewords of a codebook.
    counts
        Uses of every codeword, one tensor a stage.

    Examples
    --------
    >>> from siglum import quantizers
    >>> x = torch.randn(4000, 4, generator=torch.Generator().manual_seed(0))
    >>> large = quantizers.get("vector", dim=4, codewords=256)
    >>> large.start(x)
    >>> small, maps = smaller(large, 16, [large(x).usage.counts(0)])
    >>> thinned = maps[0][large.encode(x)[:, 0]][:, None]
    >>> small.sizes, bool((small.decode(thinned).detach() - x).square().mean() < 0.4)
    ((16,), True)
    """
    config = quantizer.config()
    sizes = [min(codewords, size) for size in quantizer.sizes]
    layers = sizes if quantizer.name == "product" else sizes[:: quantizer.step]
    same = len(set(layers)) == 1 or quantizer.name == "vector"
    config |= {"codewords": layers[0] if same else layers, "codebook": "gradient"}
    result = type(quantizer).from_config(config)
    assert isinstance(result, Staged)
    result.to(next(iter(quantizer.codebooks)).vectors().device)
    if quantizer.rotation is not None and result.rotation is not None:
        result.rotation.load_state_dict(quantizer.rotation.state_dict())
    maps = []
    for stage, (old, new) in enumerate(zip(quantizer.codebooks, result.codebooks, strict=True)):
        found = cluster(old.vectors(), new.size, None if counts is None else counts[stage])
        new.assign(found.codewords)
        maps.append(found.replaced_by)
    return result, maps
