"""Numbers of few bits, side by side in bytes; and block-wise minima and scales as float16."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.errors import UsageError

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]


def check(*widths: int) -> None:
    """Raise `UsageError` unless all are 1 to 8 bits."""
    for width in widths:
        if not 1 <= width <= 8:
            raise UsageError(f"codes have 1 to 8 bits, not {width}")


def pack(codes: NDArray[Any], bits: int) -> bytes:
    """Codes below ``2**bits``, 1 to 8 bits each, lowest bit first; the last byte is filled with zeros.

    Examples
    --------
    >>> unpack(pack(np.array([5, 1, 7], np.uint8), 3), 3, (3,)).tolist()
    [5, 1, 7]
    """
    flat = np.ascontiguousarray(codes, np.uint8).reshape(-1)
    if bits == 8:
        return flat.tobytes()
    if bits == 4 and flat.size % 2 == 0:
        return (flat[::2] | flat[1::2] << 4).tobytes()
    planes = np.unpackbits(flat[:, None], axis=1, count=bits, bitorder="little")
    return np.packbits(planes, bitorder="little").tobytes()


def unpack(data: bytes, bits: int, shape: tuple[int, ...]) -> Codes:
    """The inverse of `pack`."""
    raw = np.frombuffer(data, np.uint8)
    count = int(np.prod(shape))
    if bits == 8:
        return raw.reshape(shape)
    if bits == 4 and count % 2 == 0:
        return np.stack([raw & 15, raw >> 4], 1).reshape(shape)
    planes = np.unpackbits(raw, count=count * bits, bitorder="little").reshape(count, bits)
    return np.packbits(planes, axis=1, bitorder="little").reshape(shape)


def size_of(count: int, bits: int) -> int:
    """Bytes of `pack`."""
    return (count * bits + 7) // 8


def to_levels(x: Floats, bits: int) -> tuple[Codes, NDArray[np.float16], NDArray[np.float16]]:
    """Uniform levels between the least and the largest of the last axis: codes, scales and minima as float16."""
    low = x.min(-1)
    scale = ((x.max(-1) - low) / (2**bits - 1)).astype(np.float16)
    half = low.astype(np.float16)
    step = np.maximum(scale.astype(np.float32), 1e-8)[..., None]
    codes = np.clip(np.rint((x - half.astype(np.float32)[..., None]) / step), 0, 2**bits - 1)
    return codes.astype(np.uint8), scale, half


def from_levels(codes: Codes, scale: NDArray[Any], low: NDArray[Any]) -> Floats:
    """The inverse of `to_levels`."""
    step = np.maximum(scale.astype(np.float32), 1e-8)[..., None]
    return codes.astype(np.float32) * step + low.astype(np.float32)[..., None]
