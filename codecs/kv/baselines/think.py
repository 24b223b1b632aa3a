"""ThinK (arXiv 2407.21018): the key channels that queries care least about are left out; values stay as they are.

A channel counts as much as the norm of the queries in it times that of the keys. The original takes the queries of
the last tokens; a cache has none, so their energy over a calibration set stands in, averaged over the two channels
that turn together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.baselines.frame import BASELINES, Arrays, Baseline, Floats, Sections
from siglum.codecs.kv.cache import KVCache


@BASELINES.register("think")
@dataclass(frozen=True)
class Think(Baseline):
    """Fewer key channels.

    Attributes
    ----------
    share
        Of the channels of a head that are left out.
    fitted
        Of `fit`.
    """

    share: float = 0.4
    fitted: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)
    name: ClassVar[str] = "think"
    needs_fit: ClassVar[bool] = True

    def pack(self, arrays: Arrays, out: Sections) -> None:  # noqa: D102
        score = np.linalg.norm(arrays.keys, axis=2) * np.sqrt(self.fitted["energy"])
        kept = np.sort(np.argsort(-score, -1)[..., : self._count(score.shape[-1])], -1)
        out.put(kept.astype("<u2"))
        out.put(np.take_along_axis(arrays.keys, kept[:, :, None], -1).astype("<f2"))
        out.put(arrays.values.astype("<f2"))

    def unpack(self, shape: Arrays, parts: Sections) -> tuple[Floats, Floats]:  # noqa: D102
        layers, heads, tokens, dim = shape.keys.shape
        kept = parts.array("<u2", (layers, heads, self._count(dim))).astype(np.int64)
        keys = np.zeros(shape.keys.shape, np.float32)
        given = parts.array("<f2", (layers, heads, tokens, kept.shape[-1])).astype(np.float32)
        np.put_along_axis(keys, np.broadcast_to(kept[:, :, None], given.shape), given, -1)
        return keys, parts.array("<f2", shape.values.shape).astype(np.float32)

    def _count(self, dim: int) -> int:
        return max(1, round((1 - self.share) * dim))


def fit(caches: Iterable[KVCache], queries: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The energy of queries: (layers, heads, channels) under "energy"."""
    return {"energy": np.asarray(queries["energy"], np.float32)}
