"""Frames of `siglum.entropy.rans.compress`, coded and decoded on a GPU: symbols never leave the device.

Not imported by `siglum.entropy`, since it needs torch and triton (``pip install "siglum[gpu]"``):
``from siglum.entropy import rans_gpu``. What one side writes, the other reads; equal chunks and lanes give equal
bytes.
"""

from __future__ import annotations

from typing import Any

import torch

from siglum.entropy import frames
from siglum.entropy.arrays import as_bytes
from siglum.entropy.tables import Tables
from siglum.errors import ChecksumMismatch, LimitExceeded, UsageError
from siglum.kernels.checksum import crc32c
from siglum.kernels.gpu.rans import CHUNK, Payloads, decode_chunks, encode_chunks

__all__ = ["CHUNK", "Payloads", "compress", "decode_chunks", "decompress", "encode_chunks"]


def compress(
    symbols: torch.Tensor,
    tables: Tables,
    indexes: torch.Tensor | int = 0,
    *,
    chunk: int = CHUNK,
    lanes: int = 32,
) -> bytes:
    """Code a tensor; the bytes of ``rans.compress`` with the same chunk and lanes.

    Parameters
    ----------
    symbols : integer tensor, any shape
        On a GPU.
    tables : Tables
    indexes : uint8, int16 or int32 tensor of the same shape, or int
        Which table each symbol uses.
    chunk : int
        Symbols that one warp codes.
    lanes : int
        Of each chunk.

    Raises
    ------
    UsageError
        If an index names no table or a symbol cannot be coded.
    """
    payloads = encode_chunks(symbols, tables, indexes, chunk, lanes).to_bytes()
    head = bytearray(_varint(symbols.numel()) + _varint(chunk) + tables.fingerprint.to_bytes(4, "little"))
    for payload in payloads:
        head += _varint(len(payload)) + crc32c(payload).to_bytes(4, "little")
    head += crc32c(head).to_bytes(4, "little")
    return b"".join([bytes(head), *payloads])


def decompress(
    data: Any,
    tables: Tables,
    indexes: torch.Tensor | int = 0,
    *,
    dtype: torch.dtype = torch.int32,
    device: torch.device | str = "cuda",
    start: int = 0,
    stop: int | None = None,
    max_symbols: int = frames.MAX_SYMBOLS,
) -> torch.Tensor:
    """Decode a frame, or a part of it, to a tensor.

    Parameters
    ----------
    data : bytes-like
    tables : Tables
        Those of the encoder; others are refused by their fingerprint.
    indexes : uint8, int16 or int32 tensor, or int
        As for the encoder: for all symbols of the frame, even if only a part is decoded.
    dtype : torch.dtype
        Of the result.
    device : torch.device
        Where to decode, if there is no tensor of indexes.
    start, stop : int
        Part of the flattened symbols, as of a slice; only the chunks that hold it are read.
    max_symbols : int
        The most that may be decoded.

    Returns
    -------
    symbols : tensor
        Of the shape of `indexes` if that is a tensor and no part is asked for, else flat.

    Raises
    ------
    ChecksumMismatch, MalformedHeader, Truncated, BitstreamError, LimitExceeded, UsageError
        As `siglum.entropy.rans.decompress`.
    """
    info = frames.inspect(data)
    if info.fingerprint != tables.fingerprint:
        raise UsageError("the data were coded with other tables")
    shape: tuple[int, ...] = (info.symbols,)
    if isinstance(indexes, torch.Tensor):
        shape, device = tuple(indexes.shape), indexes.device
        if indexes.numel() != info.symbols:
            raise UsageError(f"the frame has {info.symbols} symbols, but there are indexes of shape {shape}")
        indexes = indexes.reshape(-1)
    begin, end, _ = slice(start, stop).indices(info.symbols)
    if end - begin > max_symbols:
        raise LimitExceeded(f"the frame has {end - begin} symbols, more than the limit of {max_symbols}")
    if end <= begin:
        return torch.empty(0, dtype=dtype, device=device)
    first, last = begin // info.chunk, -(-end // info.chunk)
    view = as_bytes(data)
    for number in range(first, last):
        if crc32c(view[info.starts[number] : info.starts[number + 1]]) != info.checksums[number]:
            raise ChecksumMismatch(f"the checksum of coded chunk {number} is wrong: the data are damaged")
    starts = torch.tensor(info.starts[first : last + 1], dtype=torch.int64)
    part = view[info.starts[first] : info.starts[last]].copy()  # torch takes no memory that is read-only
    payloads = Payloads(torch.from_numpy(part).to(device), (starts - starts[0]).to(device))
    origin, limit = first * info.chunk, min(last * info.chunk, info.symbols)
    which = indexes[origin:limit] if isinstance(indexes, torch.Tensor) else indexes
    symbols = decode_chunks(payloads, tables, which, limit - origin, info.chunk, dtype)
    symbols = symbols[begin - origin : end - origin]
    return symbols.reshape(shape) if end - begin == info.symbols else symbols


def _varint(value: int) -> bytes:
    result = bytearray()
    while value >= 128:
        result.append(value & 127 | 128)
        value >>= 7
    return bytes([*result, value])
