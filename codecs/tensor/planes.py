"""Elements bit for bit: the first byte of all, then the second, …, each plane entropy coded where that pays.

The sign of a float is moved below its mantissa, so that one byte holds nothing but exponent (Hershcovitch et al.,
ZipNN: lossless compression for AI models, arXiv 2411.05239). Integers may be coded as differences.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.container_source import Source, append_varint
from siglum.entropy import rans
from siglum.entropy.frames import inspect
from siglum.entropy.tables import Tables, normalise
from siglum.errors import MalformedHeader, UsageError

RAW, CONSTANT, CODED = range(3)
LITTLE = 2**14  # elements on which differences are tried
_PRECISION = 12


def encode(data: NDArray, kind: str) -> bytes:
    """Code flat elements of a type of `.safetensors`."""
    words = np.ascontiguousarray(data).view(f"<u{data.itemsize}")
    by_steps = kind[0] in "IU" and _bits(_steps(words[:LITTLE])) < _bits(words[:LITTLE])
    if by_steps:
        words = _steps(words)
    elif kind in ("F16", "BF16", "F32", "F64"):
        words = words << 1 | words >> (8 * words.itemsize - 1)
    out = bytearray([by_steps])
    for plane in _planes(words):
        encode_bytes(out, plane)
    return bytes(out)


def decode(source: Source, count: int, kind: str, dtype: np.dtype) -> NDArray:
    """The inverse of `encode` for a count that is known.

    Raises
    ------
    BitstreamError
        If the data are damaged.
    """
    by_steps = source.read(1, "how integers are coded")[0]
    if by_steps > (kind[0] in "IU"):
        raise MalformedHeader("the data of a tensor are coded in no way that there is: the file is damaged")
    planes = [decode_bytes(source, count) for _ in range(dtype.itemsize)]
    words = np.ascontiguousarray(np.stack(planes, axis=-1)).view(f"<u{dtype.itemsize}").reshape(count)
    if by_steps:
        words = np.cumsum(_unfolded(words), dtype=words.dtype)
    elif kind in ("F16", "BF16", "F32", "F64"):
        words = words >> 1 | words << (8 * words.itemsize - 1)
    return words.view(dtype)


def encode_bytes(out: bytearray, plane: NDArray[np.uint8]) -> None:
    """Append bytes by the shortest of three methods."""
    counts = np.bincount(plane, minlength=256)
    if plane.size and counts.max() == plane.size:
        out += bytes([CONSTANT, plane[0]])
        return
    coded = bytearray()
    if 8 * plane.size - _entropy(counts) > 8 * 64:  # else a table does not pay
        low, high = (int(place) for place in np.flatnonzero(counts)[[0, -1]])
        frequencies = normalise(counts[low : high + 1].tolist(), _PRECISION)
        coded += bytes([low, high])
        for frequency in frequencies:
            append_varint(coded, int(frequency))
        payload = rans.compress(plane, _tables(frequencies, low))
        append_varint(coded, len(payload))
        coded += payload
    if coded and len(coded) < plane.size:
        out.append(CODED)
        out += coded
    else:
        out.append(RAW)
        out += plane.tobytes()


def decode_bytes(source: Source, count: int) -> NDArray[np.uint8]:
    """The inverse of `encode_bytes`.

    Raises
    ------
    BitstreamError
        If the data are damaged.
    """
    method = source.read(1, "how bytes are coded")[0]
    if method == RAW:
        return np.frombuffer(source.read(count, "bytes of a tensor"), np.uint8)
    if method == CONSTANT:
        return np.full(count, source.read(1, "a byte of a tensor")[0], np.uint8)
    if method != CODED:
        raise MalformedHeader("bytes are coded in no way that there is: the file is damaged")
    low, high = source.read(2, "the range of a table")
    frequencies = [source.read_varint("a frequency") for _ in range(high - low + 1)]
    try:
        tables = _tables(frequencies, low)
    except (UsageError, OverflowError) as error:
        raise MalformedHeader(f"a table is none: {error}") from error
    payload = source.read(source.read_varint("the size of bytes"), "coded bytes")
    if inspect(payload).symbols != count:
        raise MalformedHeader("a tensor has another number of bytes than is due: the file is damaged")
    return rans.decompress(payload, tables, dtype=np.uint8)


def _tables(frequencies: NDArray | list[int], low: int) -> Tables:
    return Tables.from_frequencies([np.asarray(frequencies, np.int64)], [low], _PRECISION, closed=True)


def _planes(words: NDArray) -> list[NDArray[np.uint8]]:
    columns = words.view(np.uint8).reshape(-1, words.itemsize)
    return [np.ascontiguousarray(columns[:, k]) for k in range(words.itemsize)]


def _steps(words: NDArray) -> NDArray:
    """Differences from the one before, their signs folded into the lowest bit."""
    steps = np.diff(words, prepend=words.dtype.type(0))
    return steps << 1 ^ -(steps >> (8 * words.itemsize - 1))


def _unfolded(words: NDArray) -> NDArray:
    return words >> 1 ^ -(words & 1)


def _bits(words: NDArray) -> float:
    return sum(_entropy(np.bincount(plane, minlength=256)) for plane in _planes(words))


def _entropy(counts: NDArray) -> float:
    """Bits of so many symbols of each kind, under their own frequencies."""
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / counts.sum())).sum()) if counts.size else 0.0
