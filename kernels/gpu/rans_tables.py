"""Frequency tables as torch tensors, for the coder's kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

ESCAPE_NUMBER = 255
"""The entry number that stands for the escape in the decoder's lookup, in every table."""


@dataclass(frozen=True)
class DeviceTables:
    """What the kernels look up, on one device.

    Attributes
    ----------
    lookup : int32 tensor, shape (tables << precision,)
        At ``table << precision | slot``, bits from the top: slot - start of its entry (12), frequency (12),
        number of the entry (8).
    entries : int64 tensor
        Of all tables in a row, bits from the top: reciprocal (32), shift (6), bias (14), frequency (12), with
        ``x // frequency = (x * reciprocal >> 32) >> shift`` for every x < 2**31.
    entry_starts, offsets, lasts, orders : int32 tensors, shape (tables,)
        Place of entry 0 in ``entries``; symbol of entry 0; number of the last entry; order of the escapes'
        exp-Golomb code.
    precision : int
    closed : bool
        There is no escape.
    """

    lookup: torch.Tensor
    entries: torch.Tensor
    entry_starts: torch.Tensor
    offsets: torch.Tensor
    lasts: torch.Tensor
    orders: torch.Tensor
    precision: int
    closed: bool

    def __len__(self) -> int:
        return len(self.offsets)


_built: WeakKeyDictionary[Any, dict[torch.device, DeviceTables]] = WeakKeyDictionary()


def on_device(tables: Any, device: torch.device) -> DeviceTables:
    """Tables in the form of the kernels, built once for each device.

    Parameters
    ----------
    tables : siglum.entropy.tables.Tables
    device : torch.device
    """
    built = _built.setdefault(tables, {})
    if device not in built:
        built[device] = _build(tables, device)
    return built[device]


def _build(tables: Any, device: torch.device) -> DeviceTables:
    closed = bool(getattr(tables, "closed", False))
    sizes = np.array([len(table) for table in tables.frequencies], dtype=np.int64)
    frequencies = np.concatenate(tables.frequencies).astype(np.int64)
    entry_starts = np.cumsum(sizes) - sizes
    # Every table sums to 2**precision, so that one running sum gives all places of the lookup.
    starts = np.cumsum(frequencies) - frequencies
    numbers = np.arange(len(frequencies)) - np.repeat(entry_starts, sizes)
    if not closed:
        numbers[entry_starts + sizes - 1] = ESCAPE_NUMBER
    entry = np.repeat(np.arange(len(frequencies)), frequencies)
    beyond = np.arange(len(entry)) - starts[entry]
    lookup = (beyond << 20 | frequencies[entry] << 8 | numbers[entry]).astype(np.uint32)
    orders = np.array([max(0, int(size).bit_length() - 4) for size in sizes])

    def put(values: NDArray[Any], kind: type[np.generic]) -> torch.Tensor:
        return torch.from_numpy(values.astype(kind)).to(device)

    return DeviceTables(
        lookup=torch.from_numpy(lookup.view(np.int32)).to(device),
        entries=torch.from_numpy(_entries(frequencies, starts, tables.precision)).to(device),
        entry_starts=put(entry_starts, np.int32),
        offsets=put(np.asarray(tables.offsets), np.int32),
        lasts=put(sizes - 1, np.int32),
        orders=put(orders, np.int32),
        precision=int(tables.precision),
        closed=closed,
    )


def _entries(frequencies: NDArray[Any], starts: NDArray[Any], precision: int) -> NDArray[np.int64]:
    """Division by a rounded-up reciprocal (Granlund & Montgomery 1994), exact for every x < 2**31."""
    length = np.frexp((frequencies - 1).astype(np.float64))[1].astype(np.uint64)
    shift = np.where(frequencies > 1, length - np.uint64(1), np.uint64(0)).astype(np.uint64)
    f = frequencies.astype(np.uint64)
    # The reciprocal of 1 needs 33 bits: one less gives x - 1, and the bias makes up for it.
    rounded_up = ((np.uint64(1) << (shift + np.uint64(32))) + f - np.uint64(1)) // f
    reciprocal = np.where(frequencies > 1, rounded_up, np.uint64(2**32 - 1))
    whole = (1 << precision) - 1
    bias = (starts & whole) + np.where(frequencies == 1, whole, 0)
    packed = (
        reciprocal << np.uint64(32) | shift << np.uint64(26) | bias.astype(np.uint64) << np.uint64(12) | f
    )
    return packed.view(np.int64)
