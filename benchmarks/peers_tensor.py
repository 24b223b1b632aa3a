"""What arrays are compressed with elsewhere: zstd and LZ4 without loss, zfp with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.benchmarks.coder import Coder, Dial, needs
from siglum.errors import BitstreamError

Array = NDArray[Any]


def zstd(name: str, threads: int) -> Coder:
    """Zstandard over the bytes of all elements, the first of each, then the second, …; its dial is the level."""
    module = needs("zstandard", "zstandard", name)

    def compress(data: bytes, level: int) -> bytes:
        return bytes(module.ZstdCompressor(level=level).compress(data))

    def decompress(data: bytes) -> bytes:
        return bytes(module.ZstdDecompressor().decompress(data))

    version = f"zstd {'.'.join(map(str, module.ZSTD_VERSION))}, zstandard {module.__version__}"
    return _lossless(name, ".zst", (1, 3, 9, 19), version, compress, decompress)


def lz4(name: str, threads: int) -> Coder:
    """LZ4 frames over the bytes in the same order; its dial is the level."""
    frame = needs("lz4", "lz4.frame", name)
    version = f"lz4 {needs('lz4', 'lz4', name).library_version_string()}"

    def compress(data: bytes, level: int) -> bytes:
        return bytes(frame.compress(data, compression_level=level))

    return _lossless(
        name, ".lz4", (0, 3, 9, 12), version, compress, lambda data: bytes(frame.decompress(data))
    )


def zfp(name: str, threads: int) -> Coder:
    """Zfp at a fixed rate; its dial is that rate in bits an element. Half precision is coded as single."""
    module = needs("zfpy", "zfpy", name)

    def encode(array: Array, dial: Dial) -> bytes:
        kinds = {"f": np.float64 if array.dtype.itemsize == 8 else np.float32}
        wide = kinds.get(array.dtype.kind, np.int64 if array.dtype.itemsize > 2 else np.int32)
        # Blocks of one axis have no room for their head at low rates, where zfpy 1.0 writes beyond its buffer.
        if array.ndim < 2:
            flat = array.reshape(-1)
            array_of_rows = np.pad(flat, (0, -flat.size % 4), mode="edge").reshape(-1, 4)
        else:
            array_of_rows = array.reshape(-1, *array.shape[-3:]) if array.ndim > 4 else array
        body = module.compress_numpy(np.ascontiguousarray(array_of_rows.astype(wide)), rate=dial)
        return _head(array) + bytes(body)

    def decode(data: bytes) -> Array:
        dtype, shape, body = _split(data)
        values = module.decompress_numpy(body).reshape(-1)
        if dtype.kind != "f":  # what is off by a little must not wrap around
            values = values.clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
        values = values.astype(dtype)
        array: Array = values[: math.prod(shape)].reshape(shape)
        return array

    dials = (2, 3, 4, 6, 8, 10, 12, 16)
    version = f"zfpy {module.__version__}"
    return Coder(
        name,
        "tensor",
        ".zfp",
        dials,
        quick=(3, 6, 10),
        version=version,
        encode=encode,
        decode=decode,
        settings=lambda dial: {"rate": dial},
    )


def _lossless(
    name: str,
    suffix: str,
    levels: tuple[int, ...],
    version: str,
    compress: Callable[[bytes, int], bytes],
    decompress: Callable[[bytes], bytes],
) -> Coder:
    def encode(array: Array, dial: Dial) -> bytes:
        planes = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(-1, array.dtype.itemsize).T
        return _head(array) + compress(planes.tobytes(), round(dial or 0))

    def decode(data: bytes) -> Array:
        dtype, shape, body = _split(data)
        planes = np.frombuffer(decompress(body), np.uint8).reshape(dtype.itemsize, -1)
        return np.ascontiguousarray(planes.T).reshape(-1).view(dtype).reshape(shape)

    return Coder(
        name,
        "tensor",
        suffix,
        levels,
        quick=levels[:3],
        version=version,
        encode=encode,
        decode=decode,
        settings=lambda dial: {"level": dial, "byte_planes": True},
    )


def _head(array: Array) -> bytes:
    """Type and shape: the least that a file of an array must tell."""
    text = array.dtype.str.encode()
    return bytes([len(text), array.ndim]) + text + np.array(array.shape, "<u4").tobytes()


def _split(data: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bytes]:
    if len(data) < 2 or len(data) < 2 + data[0] + 4 * data[1]:
        raise BitstreamError("the stream ends within its head")
    start = 2 + data[0]
    end = start + 4 * data[1]
    shape = tuple(int(side) for side in np.frombuffer(data[start:end], "<u4"))
    return np.dtype(data[2:start].decode()), shape, data[end:]
