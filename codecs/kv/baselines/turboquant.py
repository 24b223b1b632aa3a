"""TurboQuant for mean squared error (arXiv 2504.19874): random rotation, Lloyd-Max levels of a Gaussian, a norm.

The rotation is a Hadamard matrix times random signs. The decoded unit vector is brought back to norm 1 ("norm
correction"), which the paper's later ports all do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import erf, exp, pi, sqrt
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.baselines import bits
from siglum.codecs.kv.baselines.frame import BASELINES, Arrays, Baseline, Floats, Sections
from siglum.codecs.kv.baselines.llama import hadamard


@cache
def lloyd_max(width: int) -> NDArray[np.float32]:
    """Levels of least mean squared error for a standard Gaussian, ascending, ``2**width`` of them."""
    count = 2**width
    levels = np.linspace(-3, 3, count)
    for _ in range(2000):
        edges = [-np.inf, *((levels[1:] + levels[:-1]) / 2), np.inf]
        density = [exp(-min(edge * edge, 700) / 2) / sqrt(2 * pi) for edge in edges]
        mass = [(1 + erf(edge / sqrt(2))) / 2 for edge in edges]
        levels = np.array([(density[i] - density[i + 1]) / (mass[i + 1] - mass[i]) for i in range(count)])
    return levels.astype(np.float32)


@BASELINES.register("turboquant")
@dataclass(frozen=True)
class TurboQuant(Baseline):
    """Codes of `key_bits` and `value_bits`, and a float16 norm for each token of each head.

    Attributes
    ----------
    key_bits, value_bits
        1 to 8.
    """

    key_bits: int = 4
    value_bits: int = 4
    name: ClassVar[str] = "turboquant"

    def __post_init__(self) -> None:
        bits.check(self.key_bits, self.value_bits)

    def pack(self, arrays: Arrays, out: Sections) -> None:  # noqa: D102
        for part, width in ((arrays.keys, self.key_bits), (arrays.values, self.value_bits)):
            norm = np.linalg.norm(part, axis=-1, keepdims=True)
            dim = part.shape[-1]
            unit = part / np.maximum(norm, 1e-12) * np.float32(sqrt(dim))
            levels = lloyd_max(width)
            codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, hadamard(unit * _signs(dim)))
            out.put(norm.astype("<f2"))
            out.put(bits.pack(codes.astype(np.uint8), width))

    def unpack(self, shape: Arrays, parts: Sections) -> tuple[Floats, Floats]:  # noqa: D102
        found = []
        for part, width in ((shape.keys, self.key_bits), (shape.values, self.value_bits)):
            norm = parts.array("<f2", (*part.shape[:-1], 1)).astype(np.float32)
            y = lloyd_max(width)[bits.unpack(parts.take(), width, part.shape)]
            y = y / np.linalg.norm(y, axis=-1, keepdims=True)
            found.append(hadamard(y) * _signs(part.shape[-1]) * norm)
        return found[0], found[1]


@cache
def _signs(dim: int) -> NDArray[np.float32]:
    return np.random.default_rng(42).choice(np.array([-1, 1], np.float32), dim)
