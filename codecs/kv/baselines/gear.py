"""GEAR (arXiv 2403.05527): levels of few bits, the outliers apart, and a low-rank estimate of what the levels miss.

``X ~ Q(X - S) + L + S``: S holds the largest and the least of each vector at full precision, replaced by the
vector's mean before rounding; L is of rank ``rank`` for each head. Vectors are key channels and value tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from siglum.codecs.kv.baselines import bits as packing
from siglum.codecs.kv.baselines.frame import BASELINES, Arrays, Baseline, Floats, Sections

ROUNDS = 2  # of power iteration


@BASELINES.register("gear")
@dataclass(frozen=True)
class Gear(Baseline):
    """Levels, outliers and a low rank.

    Attributes
    ----------
    bits
        Of a level.
    group
        Channels of a value token that share a scale; of keys, as many tokens.
    outliers
        Share of a vector that is stored apart, half of it at each end.
    rank
        Of the estimate of the rest, for each head; 0: none.
    """

    bits: int = 4
    group: int = 64
    outliers: float = 0.02
    rank: int = 4
    name: ClassVar[str] = "gear"

    def __post_init__(self) -> None:
        packing.check(self.bits)

    def pack(self, arrays: Arrays, out: Sections) -> None:  # noqa: D102
        for part, turned in ((arrays.keys, True), (arrays.values, False)):
            rows = _rows(part, turned)
            count = self._outliers(rows.shape[-1])
            order = np.argsort(rows, -1)
            places = np.concatenate([order[..., :count], order[..., rows.shape[-1] - count :]], -1)
            inner = rows.copy()
            np.put_along_axis(inner, places, rows.mean(-1, keepdims=True), -1)
            size = self._group(rows.shape[-1])
            whole = rows.shape[-1] // size * size
            cut = inner[..., :whole].reshape(*rows.shape[:3], -1, size)
            levels, scale, low = packing.to_levels(cut, self.bits)
            decoded = inner.astype(np.float16).astype(np.float32)
            decoded[..., :whole] = packing.from_levels(levels, scale, low).reshape(*rows.shape[:3], whole)
            out.put(packing.pack(levels, self.bits))
            for section in (scale, low, inner[..., whole:].astype("<f2")):
                out.put(section)
            out.put(places.astype("<u2" if rows.shape[-1] > 256 else "u1"))
            out.put(np.take_along_axis(rows, places, -1).astype("<f2"))
            for factor in _low_rank(inner - decoded, self.rank):
                out.put(factor.astype("<f2"))

    def unpack(self, shape: Arrays, parts: Sections) -> tuple[Floats, Floats]:  # noqa: D102
        found = []
        for part, turned in ((shape.keys, True), (shape.values, False)):
            rows = _rows(part, turned)
            layers, heads, count, length = rows.shape
            size = self._group(length)
            groups = (layers, heads, count, length // size)
            levels = packing.unpack(parts.take(), self.bits, (*groups, size))
            scale, low = parts.array("<f2", groups), parts.array("<f2", groups)
            inner = packing.from_levels(levels, scale, low).reshape(layers, heads, count, -1)
            rest = parts.array("<f2", (layers, heads, count, length % size)).astype(np.float32)
            outliers = (layers, heads, count, 2 * self._outliers(length))
            places = parts.array("<u2" if length > 256 else "u1", outliers)
            kept = parts.array("<f2", outliers).astype(np.float32)
            rank = min(self.rank, count, length)
            left = parts.array("<f2", (layers, heads, count, rank)).astype(np.float32)
            right = parts.array("<f2", (layers, heads, rank, length)).astype(np.float32)
            whole = np.concatenate([inner, rest], -1) + left @ right
            np.put_along_axis(whole, places.astype(np.int64), kept, -1)
            found.append(np.ascontiguousarray(_rows(whole, turned)))
        return found[0], found[1]

    def _outliers(self, length: int) -> int:
        return round(self.outliers / 2 * length)

    def _group(self, length: int) -> int:
        return min(self.group, length)


def _rows(part: Floats, turned: bool) -> Floats:
    return part.swapaxes(2, 3) if turned else part


def _low_rank(x: Floats, rank: int) -> tuple[Floats, Floats]:
    """Factors (…, rows, rank) and (…, rank, columns), by power iteration from a fixed start."""
    rank = min(rank, x.shape[-1], x.shape[-2])
    right = np.random.default_rng(0).standard_normal((*x.shape[:2], x.shape[3], rank)).astype(np.float32)
    left = x @ right
    for _ in range(ROUNDS if rank else 0):
        left = np.linalg.qr(x @ right)[0]
        right = x.swapaxes(2, 3) @ left
    return left, right.swapaxes(2, 3)
