"""Exported quantizers: plain tables in NumPy, searched by siglum's kernel; no torch, no projections left over.

>>> import numpy as np
>>> from siglum.quantizers.chain_tables import ChainTables
>>> tables = ChainTables(2, [np.float32([[0, 0], [1, 1]]), np.float32([[0, 0], [0.25, 0]])], which=[0, 1])
>>> codes = tables.encode(np.float32([[1.2, 1.0], [0.1, 0.0]]))
>>> codes.tolist(), tables.decode(codes).tolist()
([[1, 1], [0, 0]], [[1.25, 1.0], [0.0, 0.0]])
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from siglum.registry import Registry

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]

_HERE = "siglum.quantizers"
KINDS: Registry[Tables] = Registry(
    "kind of tables",
    None,
    {
        "cascade": f"{_HERE}.cascade_tables",
        "chains": f"{_HERE}.chain_tables",
        "levels": f"{_HERE}.level_tables",
    },
)


class Tables(ABC):
    """Vectors (..., dim) <-> codes (..., stages), as the module that was exported.

    Attributes
    ----------
    dim
        Components of a vector.
    sizes
        Codewords of each code.
    """

    kind: ClassVar[str]
    dim: int
    sizes: tuple[int, ...]

    @property
    def stages(self) -> int:
        """Number of codes of a vector."""
        return len(self.sizes)

    def encode(
        self, x: ArrayLike, *, stages: int | None = None, beam: int = 1, threads: int | None = None
    ) -> Codes:
        """Codes of vectors.

        Parameters
        ----------
        x : float array, shape (..., D)
        stages
            Number of codes, a prefix of all; None: all.
        beam
            Partial solutions of the search.
        threads
            As `siglum.kernels.dispatch.threads`.

        Returns
        -------
        int64 array, shape (..., stages)

        Raises
        ------
        ValueError
            If ``x`` has another last dimension, no vectors, NaN or infinities; if stages or beam are out of range.
        """
        values = np.asarray(x)
        wanted = f"(..., {self.dim})"
        if values.dtype.kind != "f" or values.ndim == 0 or values.shape[-1] != self.dim or values.size == 0:
            raise ValueError(
                f"x is {values.dtype} of shape {values.shape}, wanted floats {wanted}, at least one vector"
            )
        flat = np.ascontiguousarray(values.reshape(-1, self.dim), np.float32)
        if not np.isfinite(flat).all():
            raise ValueError(f"x of shape {values.shape} has NaN or infinite values, wanted finite {wanted}")
        count = self.stages if stages is None else stages
        if not 1 <= count <= self.stages:
            raise ValueError(f"stages is {stages!r}, wanted an integer from 1 to {self.stages}")
        if beam < 1:
            raise ValueError(f"beam is {beam!r}, wanted an integer from 1")
        return self._encode(flat, count, beam, threads).reshape(*values.shape[:-1], count)

    def decode(self, codes: ArrayLike) -> Floats:
        """Vectors (..., D) of codes (..., S'), any prefix of the stages.

        Raises
        ------
        ValueError
            If codes are no integers, of more stages than there are, or out of range.
        """
        given = np.asarray(codes)
        wanted = f"(..., 1 to {self.stages})"
        if given.dtype.kind not in "iu" or given.ndim == 0 or not 1 <= given.shape[-1] <= self.stages:
            raise ValueError(
                f"codes are {given.dtype} of shape {given.shape}, wanted integers of shape {wanted}"
            )
        flat = given.reshape(-1, given.shape[-1]).astype(np.int64)
        if flat.size == 0:
            raise ValueError(f"codes have shape {given.shape}, wanted {wanted} with at least one")
        wrong = ((flat < 0) | (flat >= np.array(self.sizes[: flat.shape[1]]))).any(0)
        if wrong.any():
            stage = int(wrong.argmax())
            raise ValueError(
                f"codes of shape {given.shape} are out of range in stage {stage}, wanted 0 to {self.sizes[stage] - 1}"
            )
        return self._decode(flat).reshape(*given.shape[:-1], self.dim)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file: the arrays, and the settings as JSON in its metadata."""
        header = {"siglum.quantizers.tables": json.dumps({"kind": self.kind, **self._settings()})}
        save_file({name: np.ascontiguousarray(array) for name, array in self._arrays().items()}, path, header)

    @staticmethod
    def load(path: str | Path) -> Tables:
        """Read what `save` wrote.

        Raises
        ------
        ValueError
            If the file is none of those, or what it holds does not fit together.
        """
        try:
            with safe_open(path, "np") as file:
                header = json.loads((file.metadata() or {})["siglum.quantizers.tables"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            kind: Any = KINDS.find(header.pop("kind"))
            tables = kind._restore(arrays, header)
        except (SafetensorError, LookupError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} holds no tables of a quantizer: {error}") from None
        assert isinstance(tables, Tables)
        return tables

    @abstractmethod
    def _encode(self, x: Floats, stages: int, beam: int, threads: int | None) -> Codes: ...

    @abstractmethod
    def _decode(self, codes: Codes) -> Floats: ...

    @abstractmethod
    def _arrays(self) -> dict[str, NDArray[Any]]: ...

    @abstractmethod
    def _settings(self) -> dict[str, Any]: ...

    @classmethod
    @abstractmethod
    def _restore(cls, arrays: dict[str, NDArray[Any]], settings: dict[str, Any]) -> Tables: ...
