"""Transforms as bytes: bases rounded as finely as their components are strong, and entropy coded."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.container_source import Source, append_varint
from siglum.codecs.kv.scales import LOWEST, MAX_UNITS, UNITS_A_TABLE, units_of, value_of
from siglum.entropy import rans
from siglum.entropy.gaussian import gaussian_tables
from siglum.entropy.gaussian_bank import LEVELS
from siglum.errors import BitstreamError, MalformedHeader

FINEST = 1094  # logarithm of 1000 steps in the root mean square of a column
MAX_RANK = 2**14


def column_steps(scale: NDArray[np.int32], width: int, fineness: int) -> NDArray[np.int32]:
    """Logarithm in units of the step of each column of a basis.

    An error in a strong column leaks into every other component, in proportion to its strength; so the step is
    `fineness` less the column's scale, and never finer than a thousandth of its size.
    """
    return np.maximum(fineness - scale, -_half_log(width) - FINEST).astype(np.int32)


def pack_basis(basis: NDArray[Any], scale: NDArray[np.int32], fineness: int) -> bytes:
    """A basis (width, rank) as one string; scales are packed apart."""
    width, _ = basis.shape
    steps = column_steps(scale, width, fineness)
    symbols = np.rint(basis / value_of(steps)).astype(np.int32).T
    return rans.compress(np.ascontiguousarray(symbols), gaussian_tables(), _indexes(steps, width))


def unpack_basis(data: bytes, scale: NDArray[np.int32], width: int, fineness: int) -> NDArray[np.float32]:
    """The inverse of `pack_basis`.

    Raises
    ------
    BitstreamError
        If the data are damaged.
    """
    steps = column_steps(scale, width, fineness)
    symbols = rans.decompress(data, gaussian_tables(), _indexes(steps, width))
    rows = symbols.astype(np.float32)
    rows *= value_of(steps).astype(np.float32)[:, None]
    return np.ascontiguousarray(rows.T)


def pack_numbers(out: bytearray, values: NDArray[Any]) -> None:
    """Append a table's number, the varint of the bytes that follow, and a frame of integers."""
    numbers = np.ascontiguousarray(values, np.int32)
    spread = sqrt(float(np.mean(np.square(numbers, dtype=np.float64)))) if numbers.size else 0.0
    table = int(np.clip((int(units_of(max(spread, 0.1))) - LOWEST + 8) >> 4, 0, LEVELS - 1))
    packed = rans.compress(numbers, gaussian_tables(), table)
    out.append(table)
    append_varint(out, len(packed))
    out += packed


def unpack_numbers(source: Source, count: int) -> NDArray[np.int32]:
    """The inverse of `pack_numbers`, for a count that is known."""
    table = source.read(1, "a table of numbers")[0]
    data = source.read(source.read_varint("the size of numbers"), "numbers")
    if table >= LEVELS or rans_count(data) != count:
        raise MalformedHeader("a list of numbers has another length than is due: the file is damaged")
    numbers: NDArray[np.int32] = rans.decompress(data, gaussian_tables(), int(table))
    return numbers


def rans_count(data: bytes) -> int:
    """How many symbols a frame says that it has."""
    from siglum.entropy.frames import inspect

    return inspect(data).symbols


def _half_log(width: int) -> int:
    """Logarithm of the square root of a width in units, in integers: an octave is 110 units."""
    eighths = (width**8).bit_length() * 2 - 1
    return eighths * 110 // 32


def _indexes(steps: NDArray[np.int32], width: int) -> NDArray[np.uint8]:
    # A column of length one has the root mean square 1 / sqrt(width).
    spread = -_half_log(width) - np.clip(steps, -MAX_UNITS, MAX_UNITS)
    table = (spread - LOWEST + UNITS_A_TABLE // 2) >> 4
    return np.repeat(np.clip(table, 0, LEVELS - 1).astype(np.uint8)[:, None], width, axis=1)


def check_rank(rank: int, width: int) -> None:
    """Refuse a number of components that a width cannot have."""
    if not 0 <= rank <= min(width, MAX_RANK):
        raise BitstreamError(f"{rank} components of {width} numbers cannot be: the file is damaged")
