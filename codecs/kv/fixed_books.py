"""Codebooks of the fixed-rate mode: eight stages of 256 codewords for eight components, from `fixed_books.safetensors`.

`siglum.benchmarks.kv_fixed_books` fits them and writes the file.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.kernels import nearest

SIZE, STAGES, CODEWORDS = 8, 8, 256
FILE = Path(__file__).parent / "fixed_books.safetensors"


@lru_cache(1)
def books() -> NDArray[np.float32]:
    """(stages, 256, 8) codewords; components have variance one."""
    tensors = _tensors()
    made: NDArray[np.float32] = tensors["codewords"].astype(np.float32) * tensors["unit"][:, None, None]
    made.flags.writeable = False
    return made


@lru_cache(1)
def packed() -> list[nearest.Packed]:
    """The same, packed for the search."""
    return [nearest.Packed(book) for book in books()]


@lru_cache(1)
def worth() -> NDArray[np.int64]:
    """(stages,) logarithm in units of the squared error that each takes off a component; strictly decreasing."""
    return _tensors()["worth"].astype(np.int64)


@lru_cache(1)
def _tensors() -> dict[str, NDArray[Any]]:
    from safetensors.numpy import load_file

    return dict(load_file(FILE))
