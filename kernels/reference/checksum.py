"""CRC32C one bit at a time, then one byte at a time: the definition that the kernels must equal."""

from __future__ import annotations

import numpy as np

__all__ = ["crc32c"]

POLYNOMIAL = 0x82F63B78  # Castagnoli's, with the bits reflected


def _byte_table() -> list[int]:
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = (crc >> np.uint32(1)) ^ np.where(crc & np.uint32(1), np.uint32(POLYNOMIAL), np.uint32(0))
    return [int(entry) for entry in crc]


_TABLE = _byte_table()


def crc32c(data: bytes | bytearray | memoryview, value: int = 0) -> int:
    """Return the CRC32C of ``data``, continued from ``value``; see :func:`siglum.kernels.checksum.crc32c`."""
    crc = value ^ 0xFFFFFFFF
    for byte in memoryview(data).cast("B"):
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
