"""CacheGen as LMCache ships it (arXiv 2310.07240): no deltas, tables of each chunk in the file.

Every token of a layer is divided by its largest magnitude and rounded to ``bins - 1`` levels, more of them in the
first layers. A chunk of 256 tokens stores, for each layer and channel, the cumulative frequencies of its own
levels: 33 numbers of 16 bits, and codes by them. Here one coder takes all channels; the original has a stream, and
a length of 32 bits, for each channel of each layer: another 0.125 bits a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.baselines.frame import BASELINES, Arrays, Baseline, Floats, Sections
from siglum.entropy.rans import Decoder, Encoder

PRECISION = 15
ENTRIES = 32
STEP = 16  # tokens coded at once, which bounds the memory of the decoder


@BASELINES.register("cachegen")
@dataclass(frozen=True)
class CacheGen(Baseline):
    """The shipped codec.

    Attributes
    ----------
    level
        0: 32 bins, 16 from layer 10 (keys) or 2 (values) on; each level above halves them.
    chunk
        Tokens that share tables.
    """

    level: int = 0
    chunk: int = 256
    name: ClassVar[str] = "cachegen"

    def pack(self, arrays: Arrays, out: Sections) -> None:  # noqa: D102
        for part, fine in ((arrays.keys, 10), (arrays.values, 2)):
            x = part.swapaxes(1, 2).reshape(part.shape[0], part.shape[2], -1)  # (layers, tokens, channels)
            most = np.abs(x).max(-1, keepdims=True).astype(np.float16)
            half = self._half(len(x), fine)
            levels = np.rint(x / np.maximum(most.astype(np.float32), 1e-8) * half) + half
            symbols = np.clip(levels, 0, 2 * half).astype(np.uint8)
            out.put(most)
            for start in range(0, x.shape[1], self.chunk):
                self._code(symbols[:, start : start + self.chunk], out)

    def unpack(self, shape: Arrays, parts: Sections) -> tuple[Floats, Floats]:  # noqa: D102
        found = []
        for part, fine in ((shape.keys, 10), (shape.values, 2)):
            layers, heads, tokens, dim = part.shape
            most = parts.array("<f2", (layers, tokens, 1)).astype(np.float32)
            half = self._half(layers, fine)
            chunks = [
                self._decode(parts, (layers, min(self.chunk, tokens - start), heads * dim))
                for start in range(0, tokens, self.chunk)
            ]
            x = (np.concatenate(chunks, 1).astype(np.float32) - half) / half * most
            found.append(x.reshape(layers, tokens, heads, dim).swapaxes(1, 2))
        return found[0], found[1]

    def _half(self, layers: int, fine: int) -> Floats:
        bins = np.where(np.arange(layers) < fine, 32, 16) >> self.level
        return (bins // 2 - 1).astype(np.float32)[:, None, None]

    def _code(self, symbols: NDArray[np.uint8], out: Sections) -> None:
        tokens = symbols.shape[1]
        flat = symbols.swapaxes(1, 2).reshape(-1, tokens)  # a row for each layer and channel
        rows = np.arange(len(flat))
        counts = np.zeros((len(flat), ENTRIES), np.int64)
        np.add.at(counts, (np.repeat(rows, tokens), flat.ravel()), 1)
        table = _cumulative(counts)
        encoder = Encoder()
        for start in range(0, tokens, STEP):
            step = flat[:, start : start + STEP]
            low = np.take_along_axis(table, step.astype(np.int64), 1)
            size = np.take_along_axis(table, step.astype(np.int64) + 1, 1) - low
            encoder.push_direct(low.ravel(), size.ravel(), PRECISION)
        out.put(table.astype("<u2"))
        out.put(encoder.finish())

    def _decode(self, parts: Sections, shape: tuple[int, int, int]) -> NDArray[np.int32]:
        layers, tokens, channels = shape
        table = parts.array("<u2", (layers * channels, ENTRIES + 1))
        decoder = Decoder(parts.take())
        found = []
        for start in range(0, tokens, STEP):
            count = min(STEP, tokens - start)
            symbols = decoder.decode_direct(np.repeat(table, count, 0), PRECISION)
            found.append(symbols.reshape(-1, count))
        decoder.finish()
        return np.concatenate(found, 1).reshape(layers, channels, tokens).swapaxes(1, 2)


def _cumulative(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cumulative frequencies of rows of counts, each at least 1, that end at ``2**PRECISION``."""
    room = 2**PRECISION - counts.shape[1]
    edges = np.cumsum(counts, 1) * room // counts.sum(1, keepdims=True) + np.arange(1, counts.shape[1] + 1)
    return np.concatenate([np.zeros((len(counts), 1), np.int64), edges], 1)
