"""The cache as it is: what an uncompressed file costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from siglum.codecs.kv.baselines.frame import BASELINES, Arrays, Baseline, Floats, Sections


@BASELINES.register("none")
@dataclass(frozen=True)
class Plain(Baseline):
    """Samples as float16."""

    name: ClassVar[str] = "none"

    def pack(self, arrays: Arrays, out: Sections) -> None:  # noqa: D102
        out.put(arrays.keys.astype("<f2"))
        out.put(arrays.values.astype("<f2"))

    def unpack(self, shape: Arrays, parts: Sections) -> tuple[Floats, Floats]:  # noqa: D102
        keys, values = (parts.array("<f2", part.shape) for part in (shape.keys, shape.values))
        return keys.astype(np.float32), values.astype(np.float32)
