"""Floats within an error: whole multiples of a step, each group of 64 coded by a Gaussian table of its own."""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.container_source import Source
from siglum.codecs.tensor.planes import decode_bytes, encode_bytes
from siglum.codecs.tensor.tensors import rounded
from siglum.entropy import rans
from siglum.entropy.frames import inspect
from siglum.entropy.gaussian import gaussian_tables
from siglum.entropy.gaussian_bank import LEVELS
from siglum.errors import MalformedHeader

GROUP = 64  # elements that share a table
MAX_SYMBOL = 2**30
_STEP = struct.Struct("<d")
_ROUNDING = {"F16": 2**-11, "BF16": 2**-9, "F32": 2**-24, "F64": 2**-53}  # of a number to a type, at most


def step_within(values: NDArray, kind: str, bound: float) -> float:
    """The largest step whose multiples, rounded to a type, are within a bound of all values; 0 if there is none."""
    largest = float(np.abs(values).max(initial=0.0))
    left = bound - (largest + bound) * _ROUNDING[kind]
    # Below that by a hair, for the roundings of the quotient and the product.
    return max(0.0, 2 * left * (1 - 2**-20)) if math.isfinite(left) else 0.0


def encode(values: NDArray, kind: str, step: float, bound: float) -> tuple[bytes, NDArray] | None:
    """Code flat floats as multiples of a step.

    Parameters
    ----------
    values
        float32 or float64.
    step
        Positive.
    bound
        Largest error of any element, or infinity.

    Returns
    -------
    The bytes and the decoded elements; None if a value is not finite, too large, or rounds beyond the bound.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        multiples = np.rint(values.astype(np.float64) / step)
    if not np.all(np.abs(multiples) < MAX_SYMBOL):
        return None
    symbols = multiples.astype(np.int32)
    decoded = _decoded(symbols, step, kind)
    if math.isfinite(bound):
        back = (decoded.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else decoded
        if not np.all(np.abs(back.astype(np.float64) - values) <= bound):
            return None
    tables = _tables_of(symbols)
    out = bytearray(_STEP.pack(step))
    encode_bytes(out, tables)
    out += rans.compress(symbols, gaussian_tables(), _indexes(tables, symbols.size))
    return bytes(out), decoded


def decode(source: Source, rest: int, count: int, kind: str) -> NDArray:
    """The inverse of `encode`.

    Parameters
    ----------
    rest
        Bytes of the whole.

    Raises
    ------
    BitstreamError
        If the data are damaged.
    """
    begin = source.offset
    (step,) = _STEP.unpack(source.read(_STEP.size, "a step"))
    if not (math.isfinite(step) and step > 0):
        raise MalformedHeader("the step of a tensor is none: the file is damaged")
    tables = decode_bytes(source, -(-count // GROUP))
    if tables.size and int(tables.max()) >= LEVELS:
        raise MalformedHeader("a tensor names a table that there is not: the file is damaged")
    payload = source.read(rest - (source.offset - begin), "multiples of a step")
    if inspect(payload).symbols != count:
        raise MalformedHeader("a tensor has another number of elements than is due: the file is damaged")
    symbols = rans.decompress(payload, gaussian_tables(), _indexes(tables, count))
    return _decoded(symbols, step, kind)


def _decoded(symbols: NDArray[np.int32], step: float, kind: str) -> NDArray:
    # A product of doubles and a rounding to the type: the same on every machine.
    return rounded(symbols.astype(np.float64) * step, kind)


def _tables_of(symbols: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Table of each group, by the root mean square of its symbols."""
    whole = np.zeros(-(-symbols.size // GROUP) * GROUP)
    whole[: symbols.size] = symbols
    energy = np.square(whole).reshape(-1, GROUP).mean(axis=1)
    scale = np.log(np.maximum(np.sqrt(energy), 0.01) / 0.11) / math.log(64 / 0.11)
    return np.clip(np.rint(scale * (LEVELS - 1)), 0, LEVELS - 1).astype(np.uint8)


def _indexes(tables: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    return np.repeat(tables, GROUP)[:count]
