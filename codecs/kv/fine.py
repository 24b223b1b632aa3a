"""Tokens that matter most (sinks, a recent window) with eight bits: a step for each token and head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.scales import LOWEST, units_of, value_of
from siglum.entropy import rans
from siglum.entropy.gaussian import gaussian_tables
from siglum.entropy.gaussian_bank import LEVELS
from siglum.errors import ChecksumMismatch, MalformedHeader, Truncated
from siglum.kernels.checksum import crc32c

LARGEST = 127
SMALLEST_UNITS, LARGEST_UNITS = -12000, 14000  # of a step: 10^-33 to 10^38


def encode(rows: NDArray[np.float32], dim: int) -> tuple[bytes, int]:
    """Code numbers (tokens, width) in stretches of `dim`; returns the payload and the CRC32C of its symbols."""
    heads = rows.reshape(-1, dim).astype(np.float64)
    steps = units_of(np.abs(heads).max(axis=1) / LARGEST)
    steps = np.clip(steps + 1, SMALLEST_UNITS, LARGEST_UNITS).astype("<i2")
    symbols = np.rint(heads / value_of(steps)[:, None]).astype(np.int32)
    spread = np.sqrt(np.mean(np.square(symbols, dtype=np.float64), axis=1))
    table = np.clip((units_of(np.maximum(spread, 0.1)) - LOWEST + 8) >> 4, 0, LEVELS - 1).astype(np.uint8)
    index = np.ascontiguousarray(np.repeat(table[:, None], dim, axis=1))
    head = steps.tobytes() + table.tobytes()
    return head + rans.encode(symbols, gaussian_tables(), index), crc32c(_bytes(symbols), crc32c(head))


def decode(body: bytes, crc: int, tokens: int, width: int, dim: int) -> NDArray[np.float32]:
    """The inverse of `encode`.

    Raises
    ------
    BitstreamError
        If the data are damaged.
    """
    count = tokens * width // dim
    if len(body) <= 3 * count:
        raise Truncated("a block ends before its steps")
    steps = np.frombuffer(body, "<i2", count).astype(np.int32)
    table = np.frombuffer(body, np.uint8, count, 2 * count)
    if steps.min() < SMALLEST_UNITS or steps.max() > LARGEST_UNITS or table.max() >= LEVELS:
        raise MalformedHeader("a block has steps or tables out of range: the file is damaged")
    index = np.ascontiguousarray(np.repeat(table[:, None], dim, axis=1))
    symbols = rans.decode(memoryview(body)[3 * count :], gaussian_tables(), index)
    if crc32c(_bytes(symbols), crc32c(body[: 3 * count])) != crc:
        raise ChecksumMismatch("a block does not decode to the checksum that the file gives")
    return (symbols * value_of(steps)[:, None]).astype(np.float32).reshape(tokens, width)


def _bytes(symbols: NDArray[np.int32]) -> memoryview:
    return np.ascontiguousarray(symbols, "<i4").data.cast("B")
