"""CacheGen as in its paper (arXiv 2310.07240): anchors, deltas, steps that grow with the layer, static tables.

Every tenth token is an anchor of 8 bits a number, the nine after it are deltas to it. Steps of deltas are 0.5, 1
and 1.5 units in the first, second and last third of the layers, a unit being a share of the deltas' deviation over
a calibration set, which also gives each channel of each layer a table of its own. Tables belong to the model and
are not in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.baselines.fitting import middle
from siglum.codecs.kv.baselines.frame import BASELINES, Arrays, Baseline, Floats, Sections
from siglum.codecs.kv.cache import KVCache
from siglum.entropy.rans import Decoder, Encoder

PRECISION = 15
GROUP = 10
MOST = 63  # deltas are clipped to so many steps
SIZES = (0.5, 1.0, 1.5)
STEP = 16  # groups coded at once
DOCUMENTS = 8  # at most, for the tables


@BASELINES.register("cachegen-paper")
@dataclass(frozen=True)
class CacheGenPaper(Baseline):
    """Anchors and deltas.

    Attributes
    ----------
    step
        Of `SIZES`: deviations of the deltas in a unit.
    fitted
        Of `fit`.
    """

    step: float = 0.5
    fitted: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)
    name: ClassVar[str] = "cachegen-paper"
    needs_fit: ClassVar[bool] = True

    def pack(self, arrays: Arrays, out: Sections) -> None:  # noqa: D102
        place = SIZES.index(self.step)
        for part, which in ((arrays.keys, "keys"), (arrays.values, "values")):
            anchors, deltas = _split(part)
            most = np.abs(anchors).max(-1, keepdims=True).astype(np.float16)
            scale = np.maximum(most.astype(np.float32), 1e-8) / 127
            coarse = np.clip(np.rint(anchors / scale), -127, 127).astype(np.int8)
            step = _units(self.fitted[f"{which}.deviation"]) * self.step
            deltas = deltas + (anchors - coarse * scale)[:, :, None]  # to the anchor that the decoder has
            out.put(most)
            encoder = Encoder()
            _push(encoder, coarse.astype(np.int64) + 128, self.fitted[f"{which}.anchors"])
            levels = np.clip(np.rint(deltas / step), -MOST, MOST).astype(np.int64) + MOST
            _push(
                encoder,
                levels.reshape(len(levels), -1, levels.shape[-1]),
                self.fitted[f"{which}.deltas"][place],
            )
            out.put(encoder.finish())

    def unpack(self, shape: Arrays, parts: Sections) -> tuple[Floats, Floats]:  # noqa: D102
        place = SIZES.index(self.step)
        found = []
        for part, which in ((shape.keys, "keys"), (shape.values, "values")):
            layers, heads, tokens, dim = part.shape
            count, channels = -(-tokens // GROUP), heads * dim
            scale = np.maximum(parts.array("<f2", (layers, count, 1)).astype(np.float32), 1e-8) / 127
            decoder = Decoder(parts.take())
            anchors = (_pull(decoder, layers, count, self.fitted[f"{which}.anchors"]) - 128) * scale
            step = _units(self.fitted[f"{which}.deviation"]) * self.step
            levels = _pull(decoder, layers, count * (GROUP - 1), self.fitted[f"{which}.deltas"][place]) - MOST
            decoder.finish()
            deltas = levels.reshape(layers, count, GROUP - 1, channels) * step
            whole = np.concatenate([anchors[:, :, None], anchors[:, :, None] + deltas], 2)
            x = whole.reshape(layers, -1, heads, dim)[:, :tokens].swapaxes(1, 2)
            found.append(np.ascontiguousarray(x, np.float32))
        return found[0], found[1]


def fit(caches: Iterable[KVCache], queries: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Deviations of deltas by layer, and cumulative frequencies of all channels of all layers."""
    arrays = [middle(cache) for cache in islice(caches, DOCUMENTS)]
    fitted: dict[str, NDArray[Any]] = {}
    for which in ("keys", "values"):
        parts = [_split(each.keys if which == "keys" else each.values) for each in arrays]
        deviation = np.sqrt(np.mean([np.square(deltas).mean((1, 2, 3)) for _, deltas in parts], 0))
        fitted[f"{which}.deviation"] = deviation.astype(np.float32)
        layers, _, channels = parts[0][0].shape
        coarse = np.zeros((layers * channels, 256), np.float32)
        fine = np.zeros((len(SIZES), layers * channels, 2 * MOST + 1), np.float32)
        for anchors, deltas in parts:
            scale = np.maximum(np.abs(anchors).max(-1, keepdims=True), 1e-8) / 127
            _count(coarse, np.rint(anchors / scale).astype(np.int64) + 128)
            for place, size in enumerate(SIZES):
                levels = (
                    np.clip(np.rint(deltas / (_units(deviation) * size)), -MOST, MOST).astype(np.int64) + MOST
                )
                _count(fine[place], levels.reshape(layers, -1, channels))
        fitted[f"{which}.anchors"] = _cumulative(coarse)
        fitted[f"{which}.deltas"] = np.stack([_cumulative(counts) for counts in fine])
    return fitted


def _split(part: Floats) -> tuple[Floats, Floats]:
    """Anchors (layers, groups, channels) and deltas (layers, groups, 9, channels); the last token is repeated."""
    x = part.swapaxes(1, 2).reshape(part.shape[0], part.shape[2], -1)
    x = np.concatenate([x, np.repeat(x[:, -1:], -x.shape[1] % GROUP, 1)], 1)
    groups = x.reshape(len(x), -1, GROUP, x.shape[-1])
    return groups[:, :, 0], groups[:, :, 1:] - groups[:, :, :1]


def _units(deviation: NDArray[Any]) -> Floats:
    third = np.arange(len(deviation)) * 3 // len(deviation)
    return (deviation * np.array([0.5, 1, 1.5])[third]).astype(np.float32)[:, None, None, None]


def _count(counts: NDArray[np.float32], symbols: NDArray[np.int64]) -> None:
    flat = symbols.swapaxes(1, 2).reshape(len(counts), -1)
    numbers = flat + np.arange(len(counts))[:, None] * counts.shape[1]
    counts += np.bincount(numbers.ravel(), minlength=counts.size).reshape(counts.shape)


def _cumulative(counts: NDArray[np.float32]) -> NDArray[np.uint16]:
    smooth = counts + 0.5 * (np.roll(counts, 1, 1) + np.roll(counts, -1, 1)) + 0.02
    room = 2**PRECISION - counts.shape[1]
    edges = np.floor(np.cumsum(smooth, 1, np.float64) / smooth.sum(1, keepdims=True, dtype=np.float64) * room)
    edges[:, -1] = room
    edges += np.arange(1, counts.shape[1] + 1)
    return np.concatenate([np.zeros((len(counts), 1)), edges], 1).astype(np.uint16)


def _push(encoder: Encoder, symbols: NDArray[np.int64], table: NDArray[np.uint16]) -> None:
    flat = symbols.swapaxes(1, 2).reshape(len(table), -1)
    wide = table.astype(np.int64)
    for start in range(0, flat.shape[1], STEP):
        step = flat[:, start : start + STEP]
        low = np.take_along_axis(wide, step, 1)
        encoder.push_direct(low.ravel(), (np.take_along_axis(wide, step + 1, 1) - low).ravel(), PRECISION)


def _pull(decoder: Decoder, layers: int, count: int, table: NDArray[np.uint16]) -> NDArray[np.int64]:
    found = []
    for start in range(0, count, STEP):
        here = min(STEP, count - start)
        found.append(decoder.decode_direct(np.repeat(table, here, 0), PRECISION).reshape(-1, here))
    return np.concatenate(found, 1).astype(np.int64).reshape(layers, -1, count).swapaxes(1, 2)
