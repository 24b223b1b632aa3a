"""Truncated PCA of each head in the manner of MatryoshkaKV (arXiv 2410.14731), without its training.

Keys before their rotary embedding, and values, are projected on the first principal components of their head over a
calibration set; as many as hold a share of the variance. Coefficients are float16.
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


@BASELINES.register("matryoshka")
@dataclass(frozen=True)
class Matryoshka(Baseline):
    """Fewer coefficients.

    Attributes
    ----------
    energy
        Share of the variance about the mean that each head keeps, 0 to 1.
    fitted
        Of `fit`.
    """

    energy: float = 0.97
    fitted: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)
    name: ClassVar[str] = "matryoshka"
    needs_fit: ClassVar[bool] = True

    def pack(self, arrays: Arrays, out: Sections) -> None:  # noqa: D102
        for part, which in ((arrays.still(), "keys"), (arrays.values, "values")):
            basis = self.fitted[f"{which}.basis"]
            y = (part - self.fitted[f"{which}.mean"]) @ basis
            for place, rank in np.ndenumerate(self._ranks(which)):
                out.put(y[place][:, :rank].astype("<f2"))

    def unpack(self, shape: Arrays, parts: Sections) -> tuple[Floats, Floats]:  # noqa: D102
        found = []
        for part, which in ((shape.keys, "keys"), (shape.values, "values")):
            y = np.zeros(part.shape, np.float32)
            for place, rank in np.ndenumerate(self._ranks(which)):
                y[place][:, :rank] = parts.array("<f2", (part.shape[2], int(rank)))
            found.append(y @ self.fitted[f"{which}.basis"].swapaxes(2, 3) + self.fitted[f"{which}.mean"])
        return shape.turned(found[0]), found[1]

    def _ranks(self, which: str) -> NDArray[np.int64]:
        held = np.cumsum(self.fitted[f"{which}.variance"], -1)
        return np.asarray((held < self.energy * held[..., -1:]).sum(-1) + 1)


def fit(caches: Iterable[KVCache], queries: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Means and principal components of each head, from the tokens of caches."""
    sums: dict[str, Any] = {}
    count = 0
    for cache in caches:
        arrays = middle(cache)
        for which, part in (("keys", arrays.still()), ("values", arrays.values)):
            sums[f"{which}.mean"] = sums.get(f"{which}.mean", 0) + part.sum(
                2, keepdims=True, dtype=np.float64
            )
            sums[f"{which}.square"] = sums.get(f"{which}.square", 0) + part.swapaxes(2, 3) @ part
        count += arrays.keys.shape[2]
    fitted = {}
    for which in ("keys", "values"):
        mean = sums[f"{which}.mean"] / count
        variance, vectors = np.linalg.eigh(sums[f"{which}.square"] / count - mean.swapaxes(2, 3) @ mean)
        fitted[f"{which}.mean"] = mean.astype(np.float32)
        fitted[f"{which}.variance"] = np.maximum(variance[..., ::-1], 0).astype(np.float32)
        fitted[f"{which}.basis"] = np.ascontiguousarray(vectors[..., ::-1]).astype(np.float32)
    return fitted
