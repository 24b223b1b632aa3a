"""Blocks bit for bit: exponents are entropy coded by class of channel, signs and mantissas stand as they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.container_source import Source, append_varint
from siglum.codecs.kv.cache import DTYPES
from siglum.entropy import rans
from siglum.entropy.tables import Tables
from siglum.errors import ChecksumMismatch, MalformedHeader, UsageError
from siglum.kernels.checksum import crc32c

MANTISSA = {"float16": 10, "bfloat16": 7, "float32": 23}
CLASSES = 8  # of channels, by their mean exponent


def encode(rows: NDArray, dtype: str) -> tuple[bytes, int]:
    """Code samples (tokens, width) as they are; returns the payload and their CRC32C."""
    bits = MANTISSA[dtype]
    words = rows.view(f"<u{rows.itemsize}")
    exponents = ((words >> bits) & (2 ** (8 * rows.itemsize - 1 - bits) - 1)).astype(np.uint8)
    channel = _classes(exponents)
    tables = [_counts(exponents[:, channel == c]) for c in range(CLASSES)]
    body = bytearray()
    for low, counts in tables:
        body.append(low)
        body.append(len(counts))
        for count in counts:
            append_varint(body, int(count))
    body += _packed(channel, 3)
    coded = rans.encode(exponents, _tables(tables), _indexes(channel, rows.shape))
    append_varint(body, len(coded))
    body += coded
    rest = (words & (2**bits - 1)) | (words >> (8 * rows.itemsize - 1) << bits)
    body += _packed(rest.reshape(-1), bits + 1)
    return bytes(body), crc32c(np.ascontiguousarray(words).data.cast("B"))


def decode(body: bytes, crc: int, tokens: int, width: int, dtype: str) -> NDArray:
    """The inverse of `encode`.

    Raises
    ------
    BitstreamError
        If the data are damaged.
    """
    source, bits, kind = Source(body), MANTISSA[dtype], DTYPES[dtype].newbyteorder("<")
    tables = []
    for _ in range(CLASSES):
        low, size = source.read(2, "a table of exponents")
        tables.append((low, [source.read_varint("a frequency") for _ in range(size)]))
    channel = _unpacked(source.read(-(-3 * width // 8), "classes of channels"), 3, width).astype(np.uint8)
    coded = source.read(source.read_varint("the size of exponents"), "exponents")
    try:
        exponents = rans.decode(coded, _tables(tables), _indexes(channel, (tokens, width)))
    except UsageError as error:
        raise MalformedHeader(f"a table of exponents is none: {error}") from error
    count = tokens * width
    packed = source.read(-(-(bits + 1) * count // 8), "mantissas")
    if not source.at_end():
        raise MalformedHeader("bytes follow a block: the file is damaged")
    rest = _unpacked(packed, bits + 1, count).reshape(tokens, width)
    words = (rest & (2**bits - 1)) | (exponents.astype(np.uint32) << bits)
    words |= (rest >> bits) << (8 * kind.itemsize - 1)
    out = words.astype(f"<u{kind.itemsize}")
    if crc32c(out.data.cast("B")) != crc:
        raise ChecksumMismatch("a block does not decode to the checksum that the file gives")
    return out.view(kind)


def _classes(exponents: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(width,) class of each channel: eighths of the channels in the order of their mean exponents."""
    rank = np.argsort(np.argsort(exponents.mean(axis=0), kind="stable"), kind="stable")
    return (rank * CLASSES // exponents.shape[1]).astype(np.uint8)


def _counts(exponents: NDArray[np.uint8]) -> tuple[int, list[int]]:
    """Lowest exponent and frequencies from there on, escape last, that sum to 2^12."""
    from siglum.entropy.tables import normalise

    if not exponents.size:
        return 0, [2**12 - 1, 1]
    counts = np.bincount(exponents.ravel())
    low = min(int(np.flatnonzero(counts)[0]), 254)
    counts = counts[low:][:254].tolist()
    return low, normalise([*counts, 0], 12).tolist()


def _tables(described: list[tuple[int, list[int]]]) -> Tables:
    return Tables.from_frequencies(
        [np.asarray(counts, np.int64) for _, counts in described], [low for low, _ in described]
    )


def _indexes(channel: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.broadcast_to(channel, shape))


def _packed(values: NDArray, bits: int) -> bytes:
    """Numbers in so many bits each, from the least significant."""
    if bits == 8:
        return values.astype(np.uint8).tobytes()
    raw = np.ascontiguousarray(values, "<u4").view(np.uint8).reshape(-1, 4)
    return np.packbits(np.unpackbits(raw, axis=1, bitorder="little")[:, :bits], bitorder="little").tobytes()


def _unpacked(data: bytes, bits: int, count: int) -> NDArray[np.uint32]:
    raw = np.frombuffer(data, np.uint8)
    if bits == 8:
        return raw.astype(np.uint32)
    flags = np.unpackbits(raw, count=count * bits, bitorder="little").reshape(count, bits)
    out = np.zeros((count, 32), np.uint8)
    out[:, :bits] = flags
    return np.packbits(out, axis=1, bitorder="little").view("<u4")[:, 0].astype(np.uint32)
