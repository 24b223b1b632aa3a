"""Training of the context networks: float twins whose clamps are those of the integer networks they become."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from siglum.codecs.image.transform import fake_quantise
from siglum.codecs.image_vq import blocks, cascade
from siglum.codecs.image_vq.books import Book
from siglum.codecs.image_vq.constants import DIMENSION, GRID, REFINED, SCALES
from siglum.codecs.image_vq.context import INPUT_BOUND, SHIFT_UNIT, Context, features
from siglum.codecs.image_vq.gather import Latents
from siglum.codecs.image_vq.weights import VqWeights
from siglum.entropy.codebook_fit import ENERGY_BITS
from siglum.entropy.integer_network import IntegerNetwork, Layer, Pointwise, quantize_pointwise

WIDTH = 96
LIMIT = 16.0  # saturation of the activations
UNIT = 1.0 / 1024  # of an activation's integer
INPUT_UNIT = 1.0 / 16  # of an input's integer


class Twin(nn.Module):
    """The float twin of one range's network."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.enter, self.middle = nn.Linear(inputs, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.leave = nn.Linear(WIDTH, outputs)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) integers -> (..., outputs) shifts in tables."""
        x = torch.clamp(
            F.linear(x * INPUT_UNIT, fake_quantise(self.enter.weight), self.enter.bias), 0.0, LIMIT
        )
        x = torch.clamp(F.linear(x, fake_quantise(self.middle.weight), self.middle.bias), 0.0, LIMIT)
        return F.linear(x, fake_quantise(self.leave.weight), self.leave.bias)

    def integers(self) -> IntegerNetwork:
        """The exact network."""

        def layer(linear: nn.Linear, unit: float, out: float, low: int, high: int) -> Pointwise:
            arrays = linear.weight.detach().double().numpy(), linear.bias.detach().double().numpy()
            return quantize_pointwise(*arrays, unit, out, low, high)

        top = int(LIMIT / UNIT)
        layers: list[Layer] = [
            layer(self.enter, INPUT_UNIT, UNIT, 0, top),
            layer(self.middle, UNIT, UNIT, 0, top),
            layer(self.leave, UNIT, 1.0 / SHIFT_UNIT, -(2**15), 2**15 - 1),
        ]
        return IntegerNetwork(layers, INPUT_BOUND)


@dataclass(frozen=True)
class Samples:
    """Blocks of crops: what was coded (crops, blocks, C, 4) int32, tables (uint8), classes and codewords.

    Classes (uint8) and codeword numbers (int64) are (crops, blocks, C).
    """

    spent: NDArray[np.int32]
    index: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    codes: NDArray[np.int64]


def samples(weights: VqWeights, data: Latents) -> Samples:
    """Put latents through the cascade."""
    parts: list[tuple[NDArray[Any], ...]] = []
    worth = weights.worth[weights.order]
    for y, mean, table in zip(data.y, data.mean, data.index, strict=True):
        tile = cascade.Tile(weights, table, 1)
        x = tile.vectors(y.astype(np.float32) - mean.astype(np.float32))
        for layer in blocks.layers(weights.ranges):
            tile.encode(layer, 0, x, 1)
        index = blocks.split(table, weights.order)
        kinds = blocks.kinds_of(index)
        codes = np.zeros(kinds.shape, np.int64)
        for kind, book in enumerate(weights.books):
            block, channel = np.nonzero(kinds == kind)
            if kind != REFINED and block.size:
                some = x.reshape(index.shape)[block, channel]
                codes[block, channel] = book.search(some, index[block, channel], worth[channel], 1)
        parts.append((tile.spent, index, kinds, codes))
    return Samples(*(np.stack(kind) for kind in zip(*parts, strict=True)))


def train(
    weights: VqWeights,
    data: Samples,
    held_out: Samples,
    steps: int,
    log: Callable[[str], None],
    *,
    rate: float = 2e-3,
    crops: int = 6,
    seed: int = 0,
) -> Context:
    """Train one network a range to least bits of the codewords that were chosen without them."""
    ranges, books = weights.ranges, [Words(book) for book in weights.books]
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    spans = list(pairwise(ranges))
    twins = [Twin(3 * low + ranges[-1], high - low) for low, high in spans]
    optimizer = torch.optim.Adam([p for twin in twins for p in twin.parameters()], lr=rate, betas=(0.9, 0.98))
    began = time.perf_counter()
    for step in range(steps):
        if step % 250 == 0:
            log(
                f"context step {step}  {time.perf_counter() - began:.0f} s  {_report(twins, books, spans, held_out)}"
            )
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, 2.0 * (1 - step / steps))
        which = random.integers(0, len(data.kinds), crops)
        loss = torch.zeros(())
        for twin, (low, high) in zip(twins, spans, strict=True):
            bits, _ = _bits(twin, books, low, high, data, which)
            loss = loss + bits
        optimizer.zero_grad()
        (loss / (crops * data.kinds.shape[1])).backward()
        optimizer.step()
    log(f"context step {steps}  {time.perf_counter() - began:.0f} s  {_report(twins, books, spans, held_out)}")
    return Context([twin.integers() for twin in twins], ranges)


class Words:
    """A codebook as training needs it."""

    def __init__(self, book: Book) -> None:
        words = torch.from_numpy(book.steps.astype(np.float32) * np.float32(GRID))
        self.squares = (words**2).T
        self.bias = torch.from_numpy((book.bias / 2.0**ENERGY_BITS).astype(np.float32))
        self.log_precision = torch.from_numpy(np.log(book.precision))

    def bits(self, index: Tensor, codes: Tensor) -> Tensor:
        """Bits of codewords (N,) under deviations between tables, (N, 4) real."""
        at = index.clamp(0, SCALES - 1.001)
        low = at.floor()
        part = at - low
        logs = self.log_precision
        precision = torch.exp(logs[low.long()] * (1 - part) + logs[low.long() + 1] * part)
        energy = precision @ self.squares - self.bias
        chosen = energy.gather(1, codes[:, None])[:, 0]
        return chosen + torch.logsumexp(-energy * math.log(2.0), 1) / math.log(2.0)


def _bits(
    twin: Twin, books: list[Words], low: int, high: int, data: Samples, which: NDArray[Any]
) -> tuple[Tensor, Tensor]:
    """Bits of a range's codewords with the network's tables, and with the hyperprior's."""
    channels = data.kinds.shape[2]
    spent, index = (array[which].reshape(-1, channels, DIMENSION) for array in (data.spent, data.index))
    kinds = data.kinds[which].reshape(-1, channels)[:, low:high]
    codes = data.codes[which].reshape(-1, channels)[:, low:high]
    shift = twin(torch.from_numpy(features(spent, index, low).astype(np.float32))).transpose(1, 2)
    before = torch.from_numpy(index[:, low:high].astype(np.float32))
    after = before + shift
    new, old = torch.zeros(()), torch.zeros(())
    for kind, words in enumerate(books):
        chosen = np.nonzero(kinds == kind)
        if kind == REFINED or not len(chosen[0]):
            continue
        numbers = torch.from_numpy(codes[chosen])
        new = new + words.bits(after[chosen], numbers).sum()
        with torch.no_grad():
            old = old + words.bits(before[chosen], numbers).sum()
    return new, old


@torch.no_grad()
def _report(twins: list[Twin], books: list[Words], spans: list[tuple[int, int]], data: Samples) -> str:
    parts, total = [], np.zeros(2)
    for twin, (low, high) in zip(twins, spans, strict=True):
        found = np.zeros(2)
        for start in range(0, len(data.kinds), 8):
            which = np.arange(start, min(start + 8, len(data.kinds)))
            found += [float(bits) for bits in _bits(twin, books, low, high, data, which)]
        total += found
        parts.append(f"{100 * (found[0] / found[1] - 1):+.2f}%")
    return "  ".join([*parts, f"all {100 * (total[0] / total[1] - 1):+.2f}%"])
