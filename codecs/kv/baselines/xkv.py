"""xKV (arXiv 2503.18893): a truncated SVD over the layers of a group, of keys before their rotary embedding.

``[X_1 … X_G] ~ A [B_1 … B_G]``: A (tokens, rank) is shared by the group, both factors are computed for each prompt
and stored as float16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from siglum.codecs.kv.baselines.frame import BASELINES, Arrays, Baseline, Floats, Sections


@BASELINES.register("xkv")
@dataclass(frozen=True)
class XKV(Baseline):
    """Low rank across layers.

    Attributes
    ----------
    rank
        Of keys; values have 1.5 times as much, as in the paper's settings.
    group
        Layers that share A.
    """

    rank: int = 192
    group: int = 4
    name: ClassVar[str] = "xkv"

    def pack(self, arrays: Arrays, out: Sections) -> None:  # noqa: D102
        for part, rank in ((arrays.still(), self.rank), (arrays.values, self.rank * 3 // 2)):
            for start in range(0, len(part), self.group):
                x = _joined(part[start : start + self.group])  # (tokens, layers * heads * channels)
                used = min(rank, *x.shape)
                # The right singular vectors, from the smaller Gram matrix that they belong to.
                _, vectors = np.linalg.eigh((x.T @ x).astype(np.float64))
                basis = vectors[:, ::-1][:, :used].astype(np.float16)
                # Least squares against the rounded basis.
                exact = basis.astype(np.float32)
                out.put((x @ exact @ np.linalg.inv(exact.T @ exact)).astype("<f2"))
                out.put(basis)

    def unpack(self, shape: Arrays, parts: Sections) -> tuple[Floats, Floats]:  # noqa: D102
        found = []
        for part, rank in ((shape.keys, self.rank), (shape.values, self.rank * 3 // 2)):
            layers, heads, tokens, dim = part.shape
            decoded = np.empty((layers, heads, tokens, dim), np.float32)
            for start in range(0, layers, self.group):
                count = min(self.group, layers - start)
                width = count * heads * dim
                used = min(rank, tokens, width)
                left = parts.array("<f2", (tokens, used)).astype(np.float32)
                x = left @ parts.array("<f2", (width, used)).astype(np.float32).T
                decoded[start : start + count] = x.reshape(tokens, count, heads, dim).transpose(1, 2, 0, 3)
            found.append(decoded)
        return shape.turned(found[0]), found[1]


def _joined(part: Floats) -> Floats:
    return part.transpose(2, 0, 1, 3).reshape(part.shape[2], -1)
