"""The rANS coder on a GPU: the payloads of `siglum.entropy.rans`, byte for byte, one chunk a warp.

Many chunks make it fast: a GPU of 132 multiprocessors runs 4,224 of them at a time. Symbols, indexes and
payloads stay on the device; what the host reads are three numbers a chunk. Escapes are resolved afterwards, on
the device too: when encoding by tensor operations, when decoding by a second small kernel, which runs only where
there are escapes.

Under ``TRITON_INTERPRET=1`` the same kernels run on CPU tensors: slowly, for tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import triton

from siglum.errors import BitstreamError, MalformedHeader, Truncated, UsageError
from siglum.kernels.gpu import rans_kernels as kernels
from siglum.kernels.gpu.rans_bits import heads, running, side_streams
from siglum.kernels.gpu.rans_tables import DeviceTables, on_device

CHUNK = 1 << 14
"""Symbols of a chunk unless one says otherwise: small enough that a few million symbols fill a GPU."""

MAX_CHUNK = 1 << 28

_BLOCK = 1024
_ONE_WARP = {"num_warps": 1, "enable_fp_fusion": False}  # there are no floats; triton asks for a choice
_FOUR_WARPS = {"num_warps": 4, "enable_fp_fusion": False}
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_INDEX_TYPES = (torch.uint8, torch.int16, torch.int32)


@dataclass(frozen=True)
class Payloads:
    """Coded chunks on a device; the payload of chunk c is ``data[starts[c]:starts[c + 1]]``.

    Attributes
    ----------
    data : uint8 tensor
    starts : int64 tensor, shape (chunks + 1,)
    """

    data: torch.Tensor
    starts: torch.Tensor

    def __len__(self) -> int:
        return len(self.starts) - 1

    def to_bytes(self) -> list[bytes]:
        """The payloads, in the memory of the host."""
        data = self.data.cpu().numpy().tobytes()
        starts = self.starts.tolist()
        return [data[begin:end] for begin, end in pairwise(starts)]

    @staticmethod
    def from_bytes(payloads: Sequence[bytes], device: torch.device | str) -> Payloads:
        """Put payloads on a device."""
        sizes = np.array([0, *map(len, payloads)], dtype=np.int64)
        whole = np.frombuffer(b"".join(payloads), dtype=np.uint8).copy()
        return Payloads(torch.from_numpy(whole).to(device), torch.from_numpy(np.cumsum(sizes)).to(device))


def encode_chunks(
    symbols: torch.Tensor, tables: Any, indexes: torch.Tensor | int = 0, chunk: int = CHUNK, lanes: int = 32
) -> Payloads:
    """Code every ``chunk`` symbols to a payload, equal to that of ``siglum.entropy.rans.Encoder(lanes)``.

    Parameters
    ----------
    symbols : integer tensor, any shape
        On a GPU.
    tables : siglum.entropy.tables.Tables
    indexes : uint8, int16 or int32 tensor of the same shape and device, or int
        Which table each symbol uses.
    chunk : int
        Symbols of each payload but the last.
    lanes : int
        1, 2, 4, 8, 16 or 32; fewer than 32 leave lanes of the warp idle.

    Raises
    ------
    UsageError
        If an index names no table, or a symbol has no entry and there is no escape, or one that reaches it.
    """
    if lanes not in (1, 2, 4, 8, 16, 32):
        raise UsageError(f"lanes must be 1, 2, 4, 8, 16 or 32, not {lanes}")
    values = _flat(symbols, "symbols", _INTEGERS)
    device = values.device
    known = on_device(tables, device)
    which, index = _indexes(indexes, symbols.shape, device, known)
    chunks = _chunks(values.numel(), chunk)
    scratch = torch.empty(values.numel(), dtype=torch.int16, device=device)
    states = torch.empty((chunks, 32), dtype=torch.int64, device=device)
    report = torch.zeros((chunks, 3), dtype=torch.int64, device=device)
    if chunks:
        kernels.encode_kernel[(chunks,)](
            values, which, index, known.entries, known.entry_starts, known.offsets, known.lasts, len(known),
            chunk, values.numel(), lanes, scratch, states, report,
            PRECISION=known.precision, INDEXED=which is not None, CLOSED=known.closed, **_ONE_WARP,
        )  # fmt: skip
    seen = report.cpu().numpy()
    if np.any(seen[:, 0]):
        raise UsageError("an index names no table")
    sides, side_starts = side_streams(values, which, index, known, chunk, seen[:, 1])
    rows, head_sizes = heads(states[:, :lanes], side_starts.diff())
    word_sizes = 2 * report[:, 2]
    ends = (torch.arange(1, chunks + 1, device=device) * chunk).clamp(max=values.numel()) * 2
    starts = running(head_sizes + word_sizes + side_starts.diff())
    out = torch.empty(int(starts[-1]), dtype=torch.uint8, device=device)
    if chunks:
        longest = int(starts.diff().max())
        kernels.gather_kernel[(chunks, triton.cdiv(longest, _BLOCK))](
            rows.to_bytes(), head_sizes, rows.row_bytes, scratch.view(torch.uint8), ends, word_sizes,
            sides, side_starts, out, starts, BLOCK=_BLOCK, **_FOUR_WARPS,
        )  # fmt: skip
    return Payloads(out, starts)


def decode_chunks(
    payloads: Payloads | Sequence[bytes],
    tables: Any,
    indexes: torch.Tensor | int = 0,
    count: int | None = None,
    chunk: int = CHUNK,
    dtype: torch.dtype = torch.int32,
    device: torch.device | str = "cuda",
) -> torch.Tensor:
    """Decode what `encode_chunks`, or ``siglum.entropy.rans`` with a single step a chunk, wrote.

    Parameters
    ----------
    payloads : Payloads or sequence of bytes
        Of any numbers of lanes.
    tables : siglum.entropy.tables.Tables
    indexes : uint8, int16 or int32 tensor, or int
        Which table each symbol uses; a single one for all needs ``count``.
    count : int, optional
        Symbols of all payloads together, ``chunk`` of each but the last.
    chunk : int
    dtype : torch.dtype
        Of the result.
    device : torch.device, optional
        Where to decode, if the payloads are bytes.

    Returns
    -------
    symbols : tensor
        Of the shape of ``indexes``, or ``(count,)``.

    Raises
    ------
    Truncated, MalformedHeader, BitstreamError
        As `siglum.entropy.rans.Decoder` raises them. No damage makes a kernel read beyond its payload.
    UsageError
        If an index names no table, the type does not hold the tables' symbols, or the numbers of payloads and
        symbols do not fit.
    """
    if not isinstance(payloads, Payloads):
        payloads = Payloads.from_bytes(payloads, device)
    shape = (count or 0,) if isinstance(indexes, int) else tuple(indexes.shape)
    if count is not None and not isinstance(indexes, int) and count != indexes.numel():
        raise UsageError(f"{indexes.numel()} indexes do not fit {count} symbols")
    if isinstance(indexes, int) and count is None:
        raise UsageError("one table for all symbols needs a count")
    if dtype not in _INTEGERS:
        raise UsageError(f"symbols are decoded to integers of at most 64 bits, not {dtype}")
    _runnable(payloads.data)
    known = on_device(tables, payloads.data.device)
    which, index = _indexes(indexes, shape, payloads.data.device, known)
    total = int(np.prod(shape, dtype=np.int64))
    if _chunks(total, chunk) != len(payloads):
        raise UsageError(f"{total} symbols in chunks of {chunk} do not fit {len(payloads)} payloads")
    limits, (lowest, highest) = torch.iinfo(dtype), tables.limits
    if lowest < limits.min or highest > limits.max:
        raise UsageError(f"{dtype} does not hold the symbols of these tables, {lowest} to {highest}")
    out = torch.empty(total, dtype=dtype, device=payloads.data.device)
    escaped = _decode(payloads, known, which, index, chunk, out)
    if escaped is not None and dtype != torch.int32:
        # The mark of an escape does not fit a narrow type, and what has escaped may not either.
        out = torch.empty(total, dtype=torch.int32, device=out.device)
        escaped = _decode(payloads, known, which, index, chunk, out)
    if escaped is not None:
        _read_escapes(payloads, known, which, index, chunk, out, *escaped)
    if out.dtype != dtype:
        if not (limits.min <= int(out.min()) and int(out.max()) <= limits.max):
            raise BitstreamError(f"a decoded symbol does not fit {dtype}: the data or the tables are wrong")
        out = out.to(dtype)
    return out.reshape(shape)


def _decode(
    payloads: Payloads, known: DeviceTables, which: Any, index: int, chunk: int, out: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Run the main kernel; escapes and side bytes of each chunk, or None if nothing has escaped."""
    report = torch.zeros((len(payloads), 3), dtype=torch.int64, device=out.device)
    if len(payloads):
        kernels.decode_kernel[(len(payloads),)](
            payloads.data, payloads.starts, known.lookup, known.offsets, which, index, len(known), chunk,
            out.numel(), out, report,
            PRECISION=known.precision, INDEXED=which is not None, CLOSED=known.closed, **_ONE_WARP,
        )  # fmt: skip
    seen = report.cpu().numpy()
    _check(seen[:, 0])
    return (report[:, 1], report[:, 2].contiguous()) if np.any(seen[:, 1]) else None


def _read_escapes(
    payloads: Payloads,
    known: DeviceTables,
    which: Any,
    index: int,
    chunk: int,
    out: torch.Tensor,
    escapes: torch.Tensor,
    side_sizes: torch.Tensor,
) -> None:
    places = torch.nonzero(out == kernels.ESCAPED.value).reshape(-1)
    status = torch.zeros_like(side_sizes)
    kernels.escape_kernel[(len(payloads),)](
        payloads.data, payloads.starts, side_sizes, places, running(escapes), known.offsets, known.lasts,
        known.orders, which, index, out, status, INDEXED=which is not None, **_ONE_WARP,
    )  # fmt: skip
    _check(status.cpu().numpy())


def _check(statuses: np.ndarray[Any, Any]) -> None:
    """Raise the error of the first chunk that has one."""
    wrong = np.flatnonzero(statuses)
    if not len(wrong):
        return
    where = f"coded chunk {wrong[0]}"
    status = int(statuses[wrong[0]])
    if status == 4:
        raise UsageError("an index names no table")
    if status == 1:
        raise Truncated(f"{where} ends too early: the file is cut off or damaged")
    if status == 2:
        raise MalformedHeader(f"{where} does not begin as one: the file is damaged")
    raise BitstreamError(f"{where} is damaged: it does not end where its symbols do")


def _flat(values: torch.Tensor, what: str, types: tuple[torch.dtype, ...]) -> torch.Tensor:
    if not isinstance(values, torch.Tensor) or values.dtype not in types:
        raise UsageError(f"{what} must be a tensor of {', '.join(map(str, types))}")
    _runnable(values)
    return values.contiguous().view(-1)


def _runnable(values: torch.Tensor) -> None:
    if values.device.type != "cuda" and isinstance(kernels.decode_kernel, triton.JITFunction):
        raise UsageError("the GPU coder takes tensors on a GPU; siglum.entropy.rans codes on the CPU")


def _indexes(
    indexes: torch.Tensor | int, shape: tuple[int, ...], device: torch.device, tables: DeviceTables
) -> tuple[torch.Tensor | None, int]:
    """The flat indexes, or None and the index of all."""
    if isinstance(indexes, int):
        if not 0 <= indexes < len(tables):
            raise UsageError(f"index {indexes} names no table: there are {len(tables)}")
        return None, indexes
    which = _flat(indexes, "indexes", _INDEX_TYPES)
    if tuple(indexes.shape) != tuple(shape) or which.device != device:
        raise UsageError("indexes must have the shape of the symbols and lie on the same device")
    return which, 0


def _chunks(count: int, chunk: int) -> int:
    if not 1 <= chunk <= MAX_CHUNK:
        raise UsageError(f"a chunk has 1 to {MAX_CHUNK} symbols, not {chunk}")
    return -(-count // chunk)
