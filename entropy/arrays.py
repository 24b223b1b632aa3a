"""Arrays as the compiled coders want them: NumPy, or torch tensors on the CPU, copied only where they must be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.entropy.tables import Tables
from siglum.errors import UsageError

MAX_DIRECT_PRECISION = 15

_INDEX_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.int32))
_SYMBOL_TYPES = tuple(np.dtype(t) for t in (np.int8, np.uint8, np.int16, np.uint16, np.int32))
_INT32 = np.iinfo(np.int32)


def native() -> Any:
    """The compiled kernels."""
    from siglum.kernels import _native

    return _native


def check_lanes(lanes: int | None) -> None:
    """Raise `UsageError` unless this is None or a number of lanes."""
    if lanes is not None and lanes not in (1, 2, 4, 8, 16, 32):
        raise UsageError(f"lanes must be 1, 2, 4, 8, 16 or 32, not {lanes}")


def as_symbols(symbols: ArrayLike) -> NDArray[Any]:
    """C-ordered view of symbols in a type that the kernels know, or a copy of a wider type that fits."""
    values = np.asarray(symbols)
    if values.dtype in _SYMBOL_TYPES:
        return np.asarray(values, order="C")
    if values.dtype.kind not in "iub":
        raise UsageError(f"symbols must be integers, not {values.dtype}")
    if (
        values.size
        and values.dtype.kind != "b"
        and not _INT32.min <= values.min() <= values.max() <= _INT32.max
    ):
        raise UsageError("a symbol does not fit into 32 bits")
    return np.asarray(values, dtype=np.int32, order="C")


def as_entries(
    starts: ArrayLike, frequencies: ArrayLike, precision: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Flat uint32 arrays of the bounds of entries; the kernels check their values."""
    if not 1 <= precision <= MAX_DIRECT_PRECISION:
        raise UsageError(f"precision must be 1 to {MAX_DIRECT_PRECISION} bits, not {precision}")
    bounds = []
    for values in (np.asarray(starts), np.asarray(frequencies)):
        if values.dtype.kind not in "iu":
            raise UsageError(f"starts and frequencies must be integers, not {values.dtype}")
        if values.dtype.itemsize > 4 and values.size and not 0 <= values.min() <= values.max() < 2**32:
            raise UsageError("an entry is empty or leaves 2^precision")
        bounds.append(np.ascontiguousarray(values, dtype=np.uint32).ravel())
    return bounds[0], bounds[1]


def as_indexes(indexes: ArrayLike, shape: tuple[int, ...], tables: Tables) -> Any:
    """An int, or a flat C-ordered array of a type that the kernels know."""
    which = np.asarray(indexes)
    if which.ndim == 0 and which.dtype.kind in "iu":
        if not 0 <= int(which) < len(tables):
            raise UsageError(f"index {int(which)} names no table: there are {len(tables)}")
        return int(which)
    if which.shape != shape:
        raise UsageError(f"indexes of shape {which.shape} do not fit symbols of shape {shape}")
    if which.dtype not in _INDEX_TYPES:
        raise UsageError(f"indexes must be uint8, uint16 or int32, not {which.dtype}")
    return np.ascontiguousarray(which).ravel()


def result_array(
    indexes: ArrayLike, shape: int | tuple[int, ...] | None, out: Any, tables: Tables
) -> NDArray[Any]:
    """The array that a step is decoded into."""
    if out is not None:
        return as_output(out, tables)
    if shape is None:
        shape = np.shape(indexes)
        if shape == () and not isinstance(indexes, np.ndarray):
            raise UsageError("one table for all symbols needs a shape")
    return np.empty(shape, dtype=np.int32)


def as_output(out: Any, tables: Tables) -> NDArray[Any]:
    """The memory of a C-ordered array or CPU tensor of a type that holds every symbol with an entry."""
    view = out if isinstance(out, np.ndarray) else np.asarray(out)
    if not hasattr(out, "__array__") or view.dtype not in _SYMBOL_TYPES or not view.flags.c_contiguous:
        raise UsageError("out must be a C-ordered array of int8, uint8, int16, uint16 or int32")
    if not view.flags.writeable:
        raise UsageError("out cannot be written to")
    if view.dtype != np.int32:
        limits, (lowest, highest) = np.iinfo(view.dtype), tables.limits
        if lowest < limits.min or highest > limits.max:
            raise UsageError(f"{view.dtype} does not hold the symbols of these tables, {lowest} to {highest}")
    return view


def as_bytes(data: Any) -> NDArray[np.uint8]:
    """Flat view of a bytes-like object."""
    return np.frombuffer(data, dtype=np.uint8)
