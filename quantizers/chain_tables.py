"""Tables of vector, residual, product, group-residual, additive and lattice quantizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from siglum.kernels import nearest
from siglum.quantizers.tables import KINDS, Codes, Floats, Tables

SWEEPS = 2  # over all codes after a beam search
_ROWS = 4096  # vectors of a beam search at a time


class Table(NamedTuple):
    """A codebook: what is decoded (K, d), what is searched (K, d'), for what of x (d, d'), and biases (K,)."""

    values: Floats
    keys: Floats | None = None
    project: Floats | None = None
    bias: Floats | None = None


@KINDS.register("chains")
class ChainTables(Tables):
    """Chains of codebooks over equal slices of a vector, which may be rotated before.

    Parameters
    ----------
    width
        Components of a slice.
    tables
        Codebooks, each `Table` or its values (K, width).
    which
        The codebook of every code; codes stand layer by layer, one of every slice.
    chains
        Slices.
    rotation : float64 (D, D), optional
        ``y = (x - centre) rotation`` is what is split.
    centre : float32 (D,), optional
    sweeps
        After the search each code in turn becomes the best for what the others leave, so many times; at least twice
        after a beam search.
    """

    kind = "chains"

    def __init__(
        self,
        width: int,
        tables: Sequence[Table | Floats],
        which: Sequence[int],
        *,
        chains: int = 1,
        rotation: NDArray[np.float64] | None = None,
        centre: Floats | None = None,
        sweeps: int = 0,
    ) -> None:
        self.tables = [table if isinstance(table, Table) else Table(table) for table in tables]
        self.width, self.which, self.chains, self.sweeps = width, list(which), chains, sweeps
        self.dim = width * chains
        for number, table in enumerate(self.tables):
            if table.values.ndim != 2 or table.values.shape[1] != width:
                raise ValueError(
                    f"table {number} has shape {table.values.shape}, wanted (codewords, {width})"
                )
        if not self.which or not all(0 <= number < len(self.tables) for number in self.which):
            raise ValueError(f"which is {self.which}, wanted numbers of the {len(self.tables)} tables")
        if rotation is not None and rotation.shape != (self.dim, self.dim):
            raise ValueError(f"rotation has shape {rotation.shape}, wanted ({self.dim}, {self.dim})")
        self.rotation = rotation
        self.centre = np.zeros(self.dim, np.float32) if centre is None else centre
        self.sizes = tuple(len(self.tables[number].values) for number in self.which)
        self._packed = [nearest.Packed(t.values if t.keys is None else t.keys, t.bias) for t in self.tables]

    def _encode(self, x: Floats, stages: int, beam: int, threads: int | None) -> Codes:
        y = x
        if self.rotation is not None:
            y = ((x.astype(np.float64) - self.centre) @ self.rotation).astype(np.float32)
        codes = np.empty((len(x), stages), np.int64)
        for chain in range(min(self.chains, stages)):
            members = list(range(chain, stages, self.chains))
            part = np.ascontiguousarray(y[:, chain * self.width : (chain + 1) * self.width])
            codes[:, members] = self._chain(part, [self.which[stage] for stage in members], beam, threads)
        return codes

    def _chain(self, y: Floats, books: list[int], beam: int, threads: int | None) -> Codes:
        best = self._swept(y, books, self._greedy(y, books, threads), self.sweeps, threads)
        if beam > 1 and len(books) > 1:
            parts = range(0, len(y), _ROWS)
            if beam <= nearest.MAX_WIDTH and all(self.tables[book].keys is None for book in books):
                packed = [self._packed[book] for book in books]
                found = nearest.beam(y, packed, beam, threads=threads).astype(np.int64)
            else:
                found = np.concatenate([self._beam(y[i : i + _ROWS], books, beam, threads) for i in parts])
            found = self._swept(y, books, found, max(self.sweeps, SWEEPS), threads)
            better = self._cost(y, books, found) < self._cost(y, books, best)
            best = np.where(better[:, None], found, best)
        return best

    def _search(self, book: int, y: Floats, threads: int | None) -> NDArray[np.int32]:
        return nearest.search(self._projected(book, y), self._packed[book], threads=threads)

    def _projected(self, book: int, y: Floats) -> Floats:
        project = self.tables[book].project
        return y if project is None else (y.astype(np.float64) @ project).astype(np.float32)

    def _greedy(self, y: Floats, books: list[int], threads: int | None) -> Codes:
        codes = []
        for book in books:
            codes.append(self._search(book, y, threads))
            y = y - self.tables[book].values[codes[-1]]
        return np.stack(codes, 1).astype(np.int64)

    def _beam(self, y: Floats, books: list[int], beam: int, threads: int | None) -> Codes:
        rest, paid = y[:, None], np.zeros((len(y), 1), np.float32)
        paths = np.zeros((len(y), 1, 0), np.int64)
        for book in books:
            table, (n, width, dim) = self.tables[book], rest.shape
            flat, count = np.ascontiguousarray(rest.reshape(-1, dim)), min(beam, len(table.values))
            index, costs = nearest.top(
                self._projected(book, flat), self._packed[book], count, threads=threads
            )
            if table.keys is not None:
                costs = np.square(flat[:, None] - table.values[index]).sum(2)
                costs = costs if table.bias is None else costs + table.bias[index]
            total = (costs.reshape(n, width, count) + paid[:, :, None]).reshape(n, -1)
            best = np.argsort(total, 1, kind="stable")[:, :beam]
            parent, code = best // count, np.take_along_axis(index.reshape(n, -1), best, 1)
            rest = np.take_along_axis(rest, parent[:, :, None], 1) - table.values[code]
            paths = np.concatenate([np.take_along_axis(paths, parent[:, :, None], 1), code[:, :, None]], 2)
            paid = np.take_along_axis(paid, parent, 1)
            if table.bias is not None:
                paid = paid + table.bias[code]
        final = np.square(rest).sum(2) + paid
        chosen: Codes = paths[np.arange(len(y)), final.argmin(1)]
        return chosen

    def _swept(self, y: Floats, books: list[int], codes: Codes, sweeps: int, threads: int | None) -> Codes:
        if sweeps == 0:
            return codes
        rest, best, codes = y - self._sum(books, codes), codes, codes.copy()
        for _ in range(sweeps):
            before = codes.copy()
            for s, book in enumerate(books):
                rest = rest + self.tables[book].values[codes[:, s]]
                codes[:, s] = self._search(book, rest, threads)
                rest = rest - self.tables[book].values[codes[:, s]]
            if np.array_equal(before, codes):
                break
        better = self._cost(y, books, codes) < self._cost(y, books, best)
        return np.where(better[:, None], codes, best)

    def _sum(self, books: list[int], codes: Codes) -> Floats:
        values = np.zeros((len(codes), self.width), np.float32)
        for s, book in enumerate(books):
            values += self.tables[book].values[codes[:, s]]
        return values

    def _cost(self, y: Floats, books: list[int], codes: Codes) -> NDArray[np.float64]:
        cost: NDArray[np.float64] = np.square((y - self._sum(books, codes)).astype(np.float64)).sum(1)
        for s, book in enumerate(books):
            bias = self.tables[book].bias
            if bias is not None:
                cost += bias[codes[:, s]]
        return cost

    def _decode(self, codes: Codes) -> Floats:
        y = np.zeros((len(codes), self.dim), np.float32)
        for chain in range(min(self.chains, codes.shape[1])):
            members = list(range(chain, codes.shape[1], self.chains))
            books = [self.which[stage] for stage in members]
            y[:, chain * self.width : (chain + 1) * self.width] = self._sum(books, codes[:, members])
        if self.rotation is None:
            return y
        return (y.astype(np.float64) @ self.rotation.T + self.centre).astype(np.float32)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {"centre": self.centre}
        if self.rotation is not None:
            arrays["rotation"] = self.rotation
        for number, table in enumerate(self.tables):
            for name, array in table._asdict().items():
                if array is not None:
                    arrays[f"{number}.{name}"] = array
        return arrays

    def _settings(self) -> dict[str, Any]:
        return {"width": self.width, "which": self.which, "chains": self.chains, "sweeps": self.sweeps}

    @classmethod
    def _restore(cls, arrays: dict[str, NDArray[Any]], settings: dict[str, Any]) -> ChainTables:
        rotation, centre = arrays.get("rotation"), arrays["centre"]
        count = len({name.split(".")[0] for name in arrays if "." in name})
        names = Table._fields
        tables = [Table(*(arrays.get(f"{i}.{name}") for name in names)) for i in range(count)]  # type: ignore[arg-type]
        return cls(tables=tables, rotation=rotation, centre=centre, **settings)
