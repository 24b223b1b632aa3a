"""A codec in the manner of KVTC (arXiv 2511.01815): PCA over all layers, whole bits a component, DEFLATE.

Keys before their rotary embedding, and values, of all layers and heads of a token are one vector; its principal
components over a calibration set get 0 to 8 bits each by what every bit saves, as a budget allows. A component's
levels are uniform, their step the best one for a Gaussian of the deviation that the component has in this file.
No code of the authors' is published: grouping and scales are our reading of the paper, on the generous side.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.baselines import bits
from siglum.codecs.kv.baselines.fitting import middle
from siglum.codecs.kv.baselines.frame import BASELINES, Arrays, Baseline, Floats, Sections
from siglum.codecs.kv.cache import KVCache

RANK = 3072
# Of a standard Gaussian in 2^b uniform levels: the best step, and the mean squared error that it leaves.
STEPS = np.array([0, 1.5956, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308], np.float32)
ERRORS = np.array([1, 0.36338, 0.11885, 0.037440, 0.011543, 0.0034952, 0.0010400, 0.00030433, 0.000087686])


@BASELINES.register("kvtc")
@dataclass(frozen=True)
class KVTC(Baseline):
    """PCA across layers and a budget.

    Attributes
    ----------
    budget
        Bits a number, before DEFLATE.
    fitted
        Of `fit`.
    """

    budget: float = 2.0
    fitted: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)
    name: ClassVar[str] = "kvtc"
    needs_fit: ClassVar[bool] = True

    def pack(self, arrays: Arrays, out: Sections) -> None:  # noqa: D102
        widths = self._widths(arrays.keys.size + arrays.values.size, arrays.keys.shape[2])
        for part, which, used in ((arrays.still(), "keys", widths[0]), (arrays.values, "values", widths[1])):
            basis = self.fitted[f"{which}.basis"][:, : len(used)].astype(np.float32)
            y = (_joined(part) - self.fitted[f"{which}.mean"]) @ basis
            deviation = np.sqrt(np.square(y).mean(0)).astype(np.float16)
            out.put(used.astype(np.uint8))
            out.put(deviation)
            packed = []
            for width in range(1, 9):
                chosen = used == width
                step = np.maximum(deviation[chosen].astype(np.float32) * STEPS[width], 1e-8)
                codes = np.clip(np.floor(y[:, chosen] / step) + 2 ** (width - 1), 0, 2**width - 1)
                packed.append(bits.pack(np.ascontiguousarray(codes.T), width))
            out.put(zlib.compress(b"".join(packed), 9))

    def unpack(self, shape: Arrays, parts: Sections) -> tuple[Floats, Floats]:  # noqa: D102
        found = []
        for part, which in ((shape.keys, "keys"), (shape.values, "values")):
            layers, heads, tokens, dim = part.shape
            used = np.frombuffer(parts.take(), np.uint8)
            deviation = parts.array("<f2", (len(used),)).astype(np.float32)
            raw, at = zlib.decompress(parts.take()), 0
            y = np.zeros((tokens, len(used)), np.float32)
            for width in range(1, 9):
                chosen = used == width
                size = bits.size_of(int(chosen.sum()) * tokens, width)
                codes = bits.unpack(raw[at : at + size], width, (int(chosen.sum()), tokens)).T
                at += size
                y[:, chosen] = (
                    (codes.astype(np.float32) - 2 ** (width - 1) + 0.5) * deviation[chosen] * STEPS[width]
                )
            basis = self.fitted[f"{which}.basis"][:, : len(used)].astype(np.float32)
            x = y @ basis.T + self.fitted[f"{which}.mean"]
            found.append(x.reshape(tokens, layers, heads, dim).transpose(1, 2, 0, 3))
        return shape.turned(found[0]), found[1]

    def _widths(self, elements: int, tokens: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bits of each component of keys and of values, without the trailing ones that have none."""
        power = [self.fitted[f"{which}.variance"].astype(np.float64) for which in ("keys", "values")]
        # Relative to the whole of their kind: a unit of keys and one of values are not the same.
        shares = [each / total for each, total in zip(power, (p.sum() for p in power), strict=True)]
        budget, low, high = self.budget * elements / tokens, 1e-12, 1.0
        for _ in range(60):
            price = (low * high) ** 0.5
            spent = sum(int(_choose(each, price).sum()) for each in shares)
            low, high = (price, high) if spent > budget else (low, price)
        chosen = [_choose(each, high) for each in shares]
        used = [np.trim_zeros(each, "b") if each.any() else each[:1] for each in chosen]
        return used[0], used[1]


def fit(caches: Iterable[KVCache], queries: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Means and principal components of keys and values, from the tokens of caches."""
    sums: dict[str, Any] = {}
    count = 0
    for cache in caches:
        arrays = middle(cache)
        for which, part in (("keys", arrays.still()), ("values", arrays.values)):
            x = _joined(part)
            sums[f"{which}.mean"] = sums.get(f"{which}.mean", 0) + x.sum(0, dtype=np.float64)
            sums[f"{which}.square"] = sums.get(f"{which}.square", 0) + x.T @ x
        count += arrays.keys.shape[2]
    fitted = {}
    for which in ("keys", "values"):
        mean = (sums[f"{which}.mean"] / count).astype(np.float32)
        variance, vectors = np.linalg.eigh(sums.pop(f"{which}.square") / count - np.outer(mean, mean))
        fitted[f"{which}.mean"] = mean
        fitted[f"{which}.variance"] = np.maximum(variance[::-1][:RANK], 0)
        fitted[f"{which}.basis"] = np.ascontiguousarray(vectors[:, ::-1][:, :RANK]).astype(np.float16)
    return fitted


def _choose(power: NDArray[np.float64], price: float) -> NDArray[np.int64]:
    return np.asarray((power[:, None] * ERRORS + price * np.arange(9)).argmin(1))


def _joined(part: Floats) -> Floats:
    return part.transpose(2, 0, 1, 3).reshape(part.shape[2], -1)
