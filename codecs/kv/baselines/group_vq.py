"""Vector quantization of channel groups, as in CQ (arXiv 2405.03917), weighted by queries, as in A2ATS (2502.12665).

Eight channels of a head share a code of 8 bits, and each further stage codes what is left. Keys are coded before
their rotary embedding, each channel times the root of the energy that queries have in it over a calibration set:
the codeword nearest there is the one whose attention scores are nearest. Codebooks are trained on the same set,
belong to the model and are not in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.baselines.fitting import middle
from siglum.codecs.kv.baselines.frame import BASELINES, Arrays, Baseline, Floats, Sections
from siglum.codecs.kv.cache import KVCache

GROUP, WORDS, STAGES = 8, 256, 3
SAMPLES, ROUNDS = 6144, 6


@BASELINES.register("group-vq")
@dataclass(frozen=True)
class GroupVQ(Baseline):
    """A code of 8 bits for every 8 channels and stage.

    Attributes
    ----------
    stages
        1 to 3: about so many bits a number.
    fitted
        Of `fit`.
    """

    stages: int = 2
    fitted: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)
    name: ClassVar[str] = "group-vq"
    needs_fit: ClassVar[bool] = True

    def pack(self, arrays: Arrays, out: Sections) -> None:  # noqa: D102
        for part, which in ((arrays.still(), "keys"), (arrays.values, "values")):
            rest = _groups(part * self.fitted[f"{which}.weight"])
            for stage in range(self.stages):
                books = self.fitted[f"{which}.{stage}"]
                codes = np.stack([nearest(x, book) for x, book in zip(rest, books, strict=True)])
                out.put(codes)
                rest = rest - np.take_along_axis(books, codes[..., None].astype(np.int64), 1)

    def unpack(self, shape: Arrays, parts: Sections) -> tuple[Floats, Floats]:  # noqa: D102
        found = []
        for part, which in ((shape.keys, "keys"), (shape.values, "values")):
            layers, heads, tokens, dim = part.shape
            x = np.zeros((layers * heads * dim // GROUP, tokens, GROUP), np.float32)
            for stage in range(self.stages):
                codes = parts.array("u1", x.shape[:2]).astype(np.int64)
                x += np.take_along_axis(self.fitted[f"{which}.{stage}"], codes[..., None], 1)
            whole = x.reshape(layers, heads, -1, tokens, GROUP).swapaxes(2, 3).reshape(part.shape)
            found.append(whole / self.fitted[f"{which}.weight"])
        return shape.turned(found[0]), found[1]


def fit(caches: Iterable[KVCache], queries: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Weights of channels, and codebooks (groups, 256, 8) of three stages, by k-means."""
    rng = np.random.default_rng(0)
    arrays = [middle(cache) for cache in caches]
    chosen = max(1, SAMPLES // len(arrays))
    fitted: dict[str, NDArray[Any]] = {}
    for which in ("keys", "values"):
        parts = [each.still() if which == "keys" else each.values for each in arrays]
        x = np.concatenate([p[:, :, rng.permutation(p.shape[2])[:chosen]] for p in parts], 2)
        energy = np.asarray(queries["energy"] if which == "keys" else queries["output"], np.float32)
        weight = np.sqrt(energy / energy.mean(-1, keepdims=True))[:, :, None]
        fitted[f"{which}.weight"] = weight
        rest = _groups(x * weight)
        for stage in range(STAGES):
            books = []
            for group in rest:
                book = group[rng.permutation(len(group))[:WORDS]]
                for _ in range(ROUNDS):
                    codes = nearest(group, book)
                    counts = np.bincount(codes, minlength=WORDS)
                    sums = np.stack([np.bincount(codes, column, WORDS) for column in group.T], 1)
                    fresh = group[rng.integers(0, len(group), WORDS)]  # for words that nobody chose
                    book = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], fresh)
                    book = book.astype(np.float32)
                books.append(book)
            fitted[f"{which}.{stage}"] = np.stack(books)
            codes = np.stack([nearest(group, book) for group, book in zip(rest, books, strict=True)])
            rest = rest - np.take_along_axis(fitted[f"{which}.{stage}"], codes[..., None].astype(np.int64), 1)
    return fitted


def nearest(x: Floats, book: Floats) -> NDArray[np.uint8]:
    """The number of the codeword nearest to each vector: (N, D) and (K, D), K at most 256 -> (N,)."""
    return (np.square(book).sum(1) / 2 - x @ book.T).argmin(1).astype(np.uint8)


def _groups(part: Floats) -> Floats:
    """(layers, heads, tokens, channels) -> (groups of channels, tokens, channels of a group)."""
    layers, heads, tokens, dim = part.shape
    cut = part.reshape(layers, heads, tokens, dim // GROUP, GROUP).swapaxes(2, 3)
    return np.ascontiguousarray(cut.reshape(-1, tokens, GROUP))
