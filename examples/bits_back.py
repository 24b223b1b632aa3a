"""Lossless coding with a latent variable and bits back (Townsend et al., arXiv 1901.04866), on a photograph.

A mixture of 32 clusters models blocks of 2x2 pixels. To name the cluster of a block costs about 4 bits; but
several clusters would do, and *which* of them was taken can carry data: it is decoded from what was coded
before, with the posterior of the clusters, and costs only log(posterior) less. What is left is -log p(block).
All probabilities are integers, so that every machine decodes the same.

python examples/bits_back.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from siglum.entropy.precise import PreciseTables, Stack
from siglum.entropy.precise_tables import normalise

PHOTO = Path(__file__).resolve().parent.parent / "tests" / "media" / "kodim23.png"
CLUSTERS, LEVELS, BITS = 32, 16, 16


def blocks_of(photo: Path) -> np.ndarray:
    """Blocks of 2x2 grey pixels in 16 levels: (N, 4) int32, 0 to 15."""
    grey = np.asarray(Image.open(photo).convert("L"))[:240, :320] // 16
    return grey.reshape(120, 2, 160, 2).swapaxes(1, 2).reshape(-1, 4).astype(np.int32)


def fit(blocks: np.ndarray, rounds: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """EM: weights (clusters,) and, pixels independent within a cluster, probabilities (clusters, 4, levels)."""
    random = np.random.default_rng(0)
    onehot = np.eye(LEVELS)[blocks]  # (N, 4, levels)
    centres = blocks[random.choice(len(blocks), CLUSTERS)]
    distance = np.abs(blocks[:, None] - centres).sum(axis=2)
    share = np.exp(-distance.astype(np.float64))
    for _ in range(rounds):
        share /= share.sum(axis=1, keepdims=True)  # (N, clusters)
        weights = share.mean(axis=0)
        pixel = np.einsum("nk,npl->kpl", share, onehot) + 0.02
        pixel /= pixel.sum(axis=2, keepdims=True)
        share = np.exp(np.log(weights) + np.einsum("npl,kpl->nk", onehot, np.log(pixel)))
    return weights, pixel


class Model:
    """The mixture as integer tables."""

    def __init__(self, weights: np.ndarray, pixel: np.ndarray) -> None:
        self.prior = PreciseTables.from_pmf([weights], [0], BITS, closed=True)
        self.pixels = PreciseTables.from_pmf(
            list(pixel.reshape(-1, LEVELS)), np.zeros(4 * CLUSTERS, dtype=int), BITS, closed=True
        )
        shape = (CLUSTERS, 4, LEVELS)
        self._prior = self.prior.frequencies[0].astype(object)  # Python's integers, of any length
        self._pixels = np.array(self.pixels.frequencies).reshape(shape).astype(object)

    def tables_of(self, cluster: int) -> np.ndarray:
        """Which tables the 4 pixels of a block use."""
        return np.arange(4 * cluster, 4 * cluster + 4, dtype=np.uint8)

    def posterior(self, block: np.ndarray) -> np.ndarray:
        """p(cluster | block) in integers by Bayes' rule: frequencies that sum to 2**16."""
        weights = self._prior * self._pixels[:, np.arange(4), block].prod(axis=1)
        excess = max(0, int(weights.max()).bit_length() - 50)
        return normalise((weights >> excess).astype(np.uint64), BITS)


def encode(blocks: np.ndarray, model: Model, start: bytes) -> Stack:
    """All blocks on one stack, which begins with some bits to draw the first clusters from."""
    stack = Stack.from_bits(start)
    for block in blocks:
        rows = np.concatenate([[0], np.cumsum(model.posterior(block), dtype=np.int64)])
        cluster = int(stack.pop_direct(rows[None], BITS)[0])  # bits back
        stack.push(block, model.pixels, model.tables_of(cluster))
        stack.push([cluster], model.prior, 0)
    return stack


def decode(data: bytes, count: int, model: Model) -> tuple[np.ndarray, Stack]:
    """The blocks, and the stack as it was before them."""
    stack = Stack(data)
    blocks = np.empty((count, 4), dtype=np.int32)
    for i in reversed(range(count)):
        cluster = int(stack.pop(model.prior, 0, shape=1)[0])
        blocks[i] = stack.pop(model.pixels, model.tables_of(cluster))
        frequencies = model.posterior(blocks[i])
        start = int(frequencies[:cluster].sum())
        stack.push_direct([start], [frequencies[cluster]], BITS)  # the bits go back
    return blocks, stack


def main() -> None:
    """Code the blocks of a photograph with and without bits back."""
    blocks = blocks_of(PHOTO)[::4]
    model = Model(*fit(blocks))
    start = np.random.default_rng(1).bytes(64)
    stack = encode(blocks, model, start)
    data = stack.to_bytes()
    decoded, rest = decode(data, len(blocks), model)
    assert np.array_equal(decoded, blocks)
    assert rest.to_bytes() == Stack.from_bits(start).to_bytes()

    best = np.array([int(np.argmax(model.posterior(block))) for block in blocks], dtype=np.int32)
    plain = Stack()
    for block, cluster in zip(blocks, best, strict=True):
        plain.push(block, model.pixels, model.tables_of(int(cluster)))
    plain.push(best, model.prior, 0)

    prior = model.prior.frequencies[0] / 2**BITS
    pixel = np.array(model.pixels.frequencies).reshape(CLUSTERS, 4, LEVELS) / 2**BITS
    likelihood = np.prod(pixel[:, np.arange(4), blocks], axis=2).T @ prior
    ideal = -np.log2(likelihood).sum() / len(blocks)
    with_bits_back = (stack.bits - 8 * len(start)) / len(blocks)
    print(f"{len(blocks):,} blocks of 4 pixels, {CLUSTERS} clusters")
    print(f"the likeliest cluster named: {plain.bits / len(blocks):.3f} bits a block")
    print(f"bits back:                   {with_bits_back:.3f} bits a block")
    print(f"-log2 p(block):              {ideal:.3f} bits a block, {with_bits_back / ideal - 1:+.3%}")


if __name__ == "__main__":
    main()
