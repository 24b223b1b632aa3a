"""What stands around the words of a payload, made by tensor operations: heads with the states, escapes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from siglum.errors import UsageError
from siglum.kernels.gpu.rans_tables import DeviceTables

_LOWEST_BITS = 15  # of a state, beside its leading one
_HEAD_BITS = 8 + 9 * 8 + 31 * 4 + 32 * 30  # the longest head


def running(sizes: torch.Tensor) -> torch.Tensor:
    """Where each part begins, and where the last one ends: shape (n,) to (n + 1,)."""
    return torch.nn.functional.pad(torch.cumsum(sizes, 0), (1, 0))


class BitRows:
    """Bit strings, least significant bit first, each in a row of its own; fields are put in any order.

    Parameters
    ----------
    rows : int
    bits : int
        Of a row, at most.
    device : torch.device
    """

    def __init__(self, rows: int, bits: int, device: torch.device) -> None:
        self.width = (bits + 31) // 32 + 2  # a field touches two words
        self.words = torch.zeros(rows * self.width, dtype=torch.int64, device=device)

    def put(self, row: torch.Tensor | int, bit: torch.Tensor, value: torch.Tensor) -> None:
        """Set fields that are still zero and do not overlap, so that adding them is setting them.

        Parameters
        ----------
        row, bit : int64 tensors
            Where each field begins.
        value : int64 tensor of the same shape, 0 <= value < 2**33
        """
        place = (row * self.width + (bit >> 5)).reshape(-1)
        shift = bit & 31
        low = (value << shift) & 0xFFFFFFFF
        high = value >> (32 - shift)
        self.words.scatter_add_(0, place, low.reshape(-1))
        self.words.scatter_add_(0, place + 1, high.reshape(-1))

    @property
    def row_bytes(self) -> int:
        """Bytes from one row to the next."""
        return 4 * self.width

    def to_bytes(self) -> torch.Tensor:
        """All rows as a flat uint8 tensor."""
        return self.words.view(torch.uint8).view(-1, 8)[:, :4].reshape(-1)


def heads(states: torch.Tensor, side_sizes: torch.Tensor) -> tuple[BitRows, torch.Tensor]:
    """Heads of payloads: the first byte, the size of the side stream, the states.

    Parameters
    ----------
    states : int64 tensor, shape (chunks, lanes), in [2**15, 2**31)
    side_sizes : int64 tensor, shape (chunks,)
        Bytes of the side streams.

    Returns
    -------
    heads : BitRows
        A row for each chunk.
    sizes : int64 tensor, shape (chunks,)
        Bytes of the heads.
    """
    chunks, lanes = states.shape
    rows = BitRows(chunks, _HEAD_BITS, states.device)
    row = torch.arange(chunks, device=states.device)
    exponents = _bit_length(states) - 1 - _LOWEST_BITS
    first = (lanes.bit_length() - 1) | (side_sizes > 0).to(torch.int64) << 3 | exponents[:, 0] << 4
    rows.put(row, torch.zeros_like(row), first)
    bit = torch.full_like(row, 8)
    rest = side_sizes
    for _ in range(9):  # a varint; zeros may be put anywhere
        more = rest >= 128
        rows.put(row, bit, (rest & 127) | more.to(torch.int64) << 7)
        bit = bit + 8 * (rest > 0).to(torch.int64)
        rest = rest >> 7
    lane = torch.arange(1, lanes, device=states.device)
    rows.put(row[:, None], bit[:, None] + 4 * (lane - 1), exponents[:, 1:])
    widths = exponents + _LOWEST_BITS
    ends = bit[:, None] + 4 * (lanes - 1) + torch.cumsum(widths, 1)
    rows.put(row[:, None], ends - widths, states - (torch.ones_like(states) << widths))
    return rows, (ends[:, -1] + 7) >> 3


def side_streams(
    symbols: torch.Tensor, indexes: torch.Tensor | None, index: int, tables: DeviceTables, chunk: int,
    escapes: NDArray[np.int64],
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Payloads of the escapes of every chunk.

    Parameters
    ----------
    symbols : integer tensor, shape (count,)
    indexes : integer tensor, shape (count,), or None
        Valid table numbers; None if all are ``index``.
    index : int
    tables : DeviceTables
    chunk : int
        Symbols of a chunk.
    escapes : int64 array, shape (chunks,)
        How many of each chunk's symbols have no entry.

    Returns
    -------
    streams : uint8 tensor
        One after the other.
    starts : int64 tensor, shape (chunks + 1,)
        Where each begins.

    Raises
    ------
    UsageError
        If a symbol is more than 2**31 beyond its table, or the table is closed.
    """
    chunks = len(escapes)
    if not np.any(escapes):
        empty = torch.zeros(chunks + 1, dtype=torch.int64, device=symbols.device)
        return torch.zeros(1, dtype=torch.uint8, device=symbols.device), empty
    if tables.closed:
        raise UsageError("a symbol has no entry in its table, and the tables have no escape")
    which = index if indexes is None else indexes.to(torch.int32)
    number = symbols.to(torch.int64) - tables.offsets[which]
    places = torch.nonzero((number < 0) | (number >= tables.lasts[which])).reshape(-1)
    number = number[places]
    table = torch.full_like(places, index) if indexes is None else indexes[places].to(torch.int64)
    above = number - tables.lasts[table]
    folded = torch.where(above >= 0, 2 * above, -2 * number - 1)
    if int(folded.max()) >= 1 << 32:
        raise UsageError("a symbol is more than 2^31 beyond its table")
    order = tables.orders[table].to(torch.int64)
    one = torch.ones_like(folded)
    upper = (folded >> order) + 1
    zeros = _bit_length(upper) - 1
    value = 1 | (upper - (one << zeros)) << 1 | (folded & ((one << order) - 1)) << (zeros + 1)
    widths = 2 * zeros + 1 + order
    row = places // chunk
    bits = torch.zeros(chunks, dtype=torch.int64, device=symbols.device).scatter_add_(0, row, widths)
    starts = running((bits + 7) >> 3)
    before = running(bits)[:-1]
    stream = BitRows(1, 8 * int(starts[-1]), symbols.device)
    stream.put(0, 8 * starts[row] + torch.cumsum(widths, 0) - widths - before[row] + zeros, value)
    return stream.to_bytes(), starts


def _bit_length(values: torch.Tensor) -> torch.Tensor:
    """Of integers from 1 to 2**53, which float64 holds exactly."""
    return torch.frexp(values.to(torch.float64))[1].to(torch.int64)
