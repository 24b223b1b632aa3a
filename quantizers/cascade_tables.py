"""Tables of a multi-scale cascade."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.kernels import nearest
from siglum.quantizers.chain_tables import Table
from siglum.quantizers.tables import KINDS, Codes, Floats, Tables


@KINDS.register("cascade")
class CascadeTables(Tables):
    """Tiles of side x side positions, coded from coarse to fine; see `siglum.quantizers.cascade`.

    Parameters
    ----------
    side, scales, groups
        As of the quantizer.
    tables
        Codebooks, scale by scale, group by group.
    """

    kind = "cascade"

    def __init__(self, side: int, scales: Sequence[int], groups: int, tables: Sequence[Table]) -> None:
        self.side, self.scales, self.groups, self.tables = side, list(scales), groups, list(tables)
        if len(self.tables) != len(self.scales) * groups:
            raise ValueError(f"tables has {len(self.tables)} codebooks, wanted {len(self.scales) * groups}")
        self.channels = self.tables[0].values.shape[1] * groups
        self.dim = side * side * self.channels
        self.counts = [(side // scale) ** 2 * groups for scale in self.scales]
        self.sizes = tuple(
            len(self.tables[level * groups + code % groups].values)
            for level, count in enumerate(self.counts)
            for code in range(count)
        )
        self._packed = [nearest.Packed(t.values if t.keys is None else t.keys, t.bias) for t in self.tables]

    def _scale_encode(self, rest: Floats, level: int, threads: int | None) -> Codes:
        scale, grid = self.scales[level], self.side // self.scales[level]
        tiles = rest.reshape(-1, grid, scale, grid, scale, self.channels)
        means = (tiles.sum((2, 4)).reshape(-1, self.channels) / np.float32(scale**2)).astype(np.float32)
        codes = []
        for g, part in enumerate(np.split(means, self.groups, 1)):
            number = level * self.groups + g
            project = self.tables[number].project
            y = part if project is None else (part.astype(np.float64) @ project).astype(np.float32)
            codes.append(nearest.search(np.ascontiguousarray(y), self._packed[number], threads=threads))
        return np.stack(codes, 1).astype(np.int64).reshape(len(rest), -1)

    def _scale_values(self, codes: Codes, level: int) -> Floats:
        """What the first codes of a scale add; positions without a code get 0."""
        scale, grid, count = self.scales[level], self.side // self.scales[level], self.counts[level]
        padded = np.pad(codes, ((0, 0), (0, count - codes.shape[1]))).reshape(-1, self.groups)
        known = np.broadcast_to(np.arange(count) < codes.shape[1], (len(codes), count)).reshape(
            -1, self.groups
        )
        tables = self.tables[level * self.groups : (level + 1) * self.groups]
        values = [table.values[padded[:, g]] * known[:, g, None] for g, table in enumerate(tables)]
        shape = (-1, grid, 1, grid, 1, self.channels)
        joined = np.concatenate(values, 1).astype(np.float32).reshape(shape)
        spread = np.broadcast_to(joined, (len(codes), grid, scale, grid, scale, self.channels))
        return spread.reshape(len(codes), self.dim)

    def _encode(self, x: Floats, stages: int, beam: int, threads: int | None) -> Codes:
        used = int(np.searchsorted(np.cumsum(self.counts), stages)) + 1
        rest, codes = x, []
        for level in range(used):
            codes.append(self._scale_encode(rest, level, threads))
            rest = rest - self._scale_values(codes[-1], level)
        greedy = np.concatenate(codes, 1)[:, :stages]
        if beam == 1:
            return greedy
        for _ in range(beam - 1):
            for level in range(used):
                rest = rest + self._scale_values(codes[level], level)
                codes[level] = self._scale_encode(rest, level, threads)
                rest = rest - self._scale_values(codes[level], level)
        found = np.concatenate(codes, 1)[:, :stages]
        errors = [np.square((self._decode(each) - x).astype(np.float64)).sum(1) for each in (greedy, found)]
        return np.where((errors[1] < errors[0])[:, None], found, greedy)

    def _decode(self, codes: Codes) -> Floats:
        value = np.zeros((len(codes), self.dim), np.float32)
        begin = 0
        for level, count in enumerate(self.counts):
            part = codes[:, begin : begin + count]
            if part.shape[1]:
                value = value + self._scale_values(part, level)
            begin += count
        return value

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {
            f"{number}.{name}": array
            for number, table in enumerate(self.tables)
            for name, array in table._asdict().items()
            if array is not None
        }

    def _settings(self) -> dict[str, Any]:
        return {"side": self.side, "scales": self.scales, "groups": self.groups}

    @classmethod
    def _restore(cls, arrays: dict[str, NDArray[Any]], settings: dict[str, Any]) -> CascadeTables:
        count, names = len(settings["scales"]) * settings["groups"], Table._fields
        tables = [Table(*(arrays.get(f"{i}.{name}") for name in names)) for i in range(count)]  # type: ignore[arg-type]
        return cls(tables=tables, **settings)
