"""Tables of scalar, finite scalar and binary quantizers: thresholds and values of each component."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.quantizers.tables import KINDS, Codes, Floats, Tables


@KINDS.register("levels")
class LevelTables(Tables):
    """A component's level is how many of its thresholds are at most its value.

    Parameters
    ----------
    thresholds
        Of each component, float32 (L - 1,), rising.
    values
        Of each component, float32 (L,).
    separate
        One code a component; else one of all, the first component's level counting 1.
    upper
        Whether a value equal to a threshold belongs above it.
    """

    kind = "levels"

    def __init__(
        self, thresholds: Sequence[Floats], values: Sequence[Floats], *, separate: bool, upper: bool = True
    ) -> None:
        self.thresholds, self.values = list(thresholds), list(values)
        self.separate, self.upper, self.dim = separate, upper, len(self.values)
        if len(self.thresholds) != self.dim:
            raise ValueError(
                f"thresholds has {len(self.thresholds)} components, wanted {self.dim} as values has"
            )
        for i, (edges, levels) in enumerate(zip(self.thresholds, self.values, strict=True)):
            if edges.shape != (len(levels) - 1,):
                raise ValueError(
                    f"thresholds of component {i} have shape {edges.shape}, wanted ({len(levels) - 1},)"
                )
        self.radix = tuple(len(levels) for levels in self.values)
        self.sizes = self.radix if separate else (math.prod(self.radix),)

    def _encode(self, x: Floats, stages: int, beam: int, threads: int | None) -> Codes:
        side = "right" if self.upper else "left"
        levels = [np.searchsorted(edges, x[:, i], side) for i, edges in enumerate(self.thresholds)]  # type: ignore[call-overload]
        if self.separate:
            return np.stack(levels[:stages], 1).astype(np.int64)
        code = np.zeros(len(x), np.int64)
        for level, size in zip(reversed(levels), reversed(self.radix), strict=True):
            code = code * size + level
        return code[:, None]

    def _decode(self, codes: Codes) -> Floats:
        result = np.zeros((len(codes), self.dim), np.float32)
        rest = codes[:, 0]
        for i, levels in enumerate(self.values):
            if self.separate and i == codes.shape[1]:
                break
            result[:, i] = levels[codes[:, i] if self.separate else rest % len(levels)]
            rest = rest // len(levels)
        return result

    def _arrays(self) -> dict[str, NDArray[Any]]:
        named = {f"{i}.thresholds": edges for i, edges in enumerate(self.thresholds)}
        return named | {f"{i}.values": levels for i, levels in enumerate(self.values)}

    def _settings(self) -> dict[str, Any]:
        return {"separate": self.separate, "upper": self.upper}

    @classmethod
    def _restore(cls, arrays: dict[str, NDArray[Any]], settings: dict[str, Any]) -> LevelTables:
        count = len(arrays) // 2
        thresholds = [arrays[f"{i}.thresholds"] for i in range(count)]
        return cls(thresholds, [arrays[f"{i}.values"] for i in range(count)], **settings)
