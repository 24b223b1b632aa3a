"""NumPy oracle of the rANS coder: the same bytes as the compiled kernel, both ways, a row of lanes at a time.

The format is described in `siglum.entropy.rans`. Tables come as `siglum.entropy.tables.Tables` or anything
with ``precision``, ``frequencies`` and ``offsets``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.errors import BitstreamError, MalformedHeader, Truncated, UsageError

LOWEST = 1 << 15
STATE_BITS = 31
EXPONENT_BITS = 4


class BitWriter:
    """Bits from the least significant; holds escape payloads."""

    def __init__(self) -> None:
        self.value = 0
        self.count = 0

    def put(self, value: int, count: int) -> None:
        """Append ``count`` bits."""
        self.value |= value << self.count
        self.count += count

    def put_escape(self, symbol: int, offset: int, entries: int) -> None:
        """Append the payload of one escape."""
        above = symbol - offset - (entries - 1)
        folded = 2 * above if above >= 0 else 2 * (offset - 1 - symbol) + 1
        if folded >> 32:
            raise UsageError("a symbol is more than 2^31 beyond its table")
        order = max(0, entries.bit_length() - 4)
        high = (folded >> order) + 1
        length = high.bit_length() - 1
        self.put(1 << length, length + 1)
        self.put(high - (1 << length), length)
        self.put(folded & ((1 << order) - 1), order)

    def to_bytes(self) -> bytes:
        """Everything so far, the last byte filled with zeros."""
        return self.value.to_bytes((self.count + 7) // 8, "little")


class BitReader:
    """Reads what `BitWriter` wrote."""

    def __init__(self, data: bytes) -> None:
        self.value = int.from_bytes(data, "little")
        self.left = 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next ``count`` bits."""
        if count > self.left:
            raise Truncated("the coded chunk ends too early: the file is cut off or damaged")
        bits = self.value & ((1 << count) - 1)
        self.value >>= count
        self.left -= count
        return bits

    def take_escape(self, offset: int, entries: int) -> int:
        """Return the symbol of the next escape."""
        order = max(0, entries.bit_length() - 4)
        length = 0
        while not self.take(1):
            length += 1
            if length + order > 32:
                raise BitstreamError("an escape is longer than 32 bits: the file is damaged")
        high = (1 << length) + self.take(length) - 1
        folded = high << order | self.take(order)
        symbol = offset - 1 - (folded >> 1) if folded & 1 else offset + entries - 1 + (folded >> 1)
        if folded >> 32 or not -(2**31) <= symbol < 2**31:
            raise BitstreamError("an escape leaves 32 bits: the file is damaged")
        return symbol

    def finish(self) -> None:
        """Check that only the filling of the last byte is left."""
        if self.left >= 8 or self.value:
            raise BitstreamError("escapes are left over: the file is damaged")


def encode(steps: Sequence[tuple[NDArray[np.int32], Any, Any]], lanes: int) -> bytes:
    """Code steps of (symbols, tables, indexes)."""
    escapes = BitWriter()
    prepared = []
    for symbols, tables, indexes in steps:
        flat = np.asarray(symbols, dtype=np.int64).ravel()
        which = np.broadcast_to(indexes, np.shape(symbols)).ravel().astype(np.int64)
        last = np.array([len(f) - 1 for f in tables.frequencies], dtype=np.int64)[which]
        number = flat - tables.offsets[which]
        number = np.where((number < 0) | (number >= last), last, number)
        for i in np.flatnonzero(number == last):
            escapes.put_escape(int(flat[i]), int(tables.offsets[which[i]]), int(last[i]) + 1)
        starts = [np.cumsum(f, dtype=np.int64) - f for f in tables.frequencies]
        pairs = list(zip(which.tolist(), number.tolist(), strict=True))
        frequency = np.array([tables.frequencies[t][j] for t, j in pairs], dtype=np.uint64)
        start = np.array([starts[t][j] for t, j in pairs], dtype=np.uint64)
        prepared.append((frequency, start, tables.precision))
    if not any(len(frequency) for frequency, _, _ in prepared):
        return b"\0"

    states = np.full(lanes, LOWEST, dtype=np.uint64)
    pieces: list[bytes] = []  # last first
    for frequency, start, precision in reversed(prepared):
        for row in range((len(frequency) - 1) // lanes * lanes, -1, -lanes) if len(frequency) else ():
            f, c = frequency[row : row + lanes], start[row : row + lanes]
            x = states[: len(f)]
            due = x >= f << np.uint64(STATE_BITS - precision)
            pieces.append((x[due] & np.uint64(0xFFFF)).astype("<u2").tobytes())
            x = np.where(due, x >> np.uint64(16), x)
            states[: len(f)] = (x // f << np.uint64(precision)) + x % f + c

    packed = BitWriter()
    exponents = [state.bit_length() - 16 for state in states.tolist()]
    for exponent in exponents[1:]:
        packed.put(exponent, EXPONENT_BITS)
    for state, exponent in zip(states.tolist(), exponents, strict=True):
        packed.put(state - (LOWEST << exponent), 15 + exponent)
    side = escapes.to_bytes()
    head = bytearray([lanes.bit_length() - 1 | (8 if side else 0) | exponents[0] << 4])
    if side:
        rest = len(side)
        while rest >= 128:
            head.append(rest & 127 | 128)
            rest >>= 7
        head.append(rest)
    return bytes(head) + packed.to_bytes() + b"".join(reversed(pieces)) + side


class Decoder:
    """Decodes a payload step by step, as `siglum.entropy.rans.Decoder` does."""

    def __init__(self, data: bytes) -> None:
        if not data:
            raise Truncated("the coded chunk is empty: the file is cut off or damaged")
        if data[0] & 7 > 5:
            raise MalformedHeader("the coded chunk does not begin as one: the file is damaged")
        self.empty = data == b"\0"
        lanes = 1 << (data[0] & 7)
        side, position = 0, 1
        if data[0] & 8:
            side, position = _varint(data)
        states = [LOWEST] * lanes
        stop = position
        if not self.empty:
            packed = BitReader(data[position : max(position, len(data) - side)])
            exponents = [data[0] >> 4] + [packed.take(EXPONENT_BITS) for _ in range(lanes - 1)]
            states = [(LOWEST << exponent) + packed.take(15 + exponent) for exponent in exponents]
            padding = packed.take(packed.left % 8)
            stop = len(data) - side - packed.left // 8
            if padding or packed.left // 8 % 2:
                raise MalformedHeader("the coded chunk does not begin as one: the file is damaged")
        self.states = np.array(states, dtype=np.uint64)
        self.words = np.frombuffer(data[stop : len(data) - side], dtype="<u2").astype(np.uint64)
        self.position = 0
        self.escapes = BitReader(data[len(data) - side :])

    def decode(self, tables: Any, indexes: Any, shape: Any = None) -> NDArray[np.int32]:
        """Decode one step."""
        which = np.broadcast_to(indexes, np.shape(indexes) if shape is None else shape)
        flat = which.ravel().astype(np.int64)
        precision = np.uint64(tables.precision)
        starts = [np.cumsum(f, dtype=np.int64) - f for f in tables.frequencies]
        symbols = np.empty(len(flat), dtype=np.int64)
        if self.empty and len(flat):
            raise Truncated("the coded chunk has no symbols: the file is damaged")
        lanes = len(self.states)
        for row in range(0, len(flat), lanes):
            tables_of_row = flat[row : row + lanes]
            x = self.states[: len(tables_of_row)]
            slots = (x & ((np.uint64(1) << precision) - np.uint64(1))).astype(np.int64)
            numbers = [
                int(np.searchsorted(starts[t], slot, side="right")) - 1
                for t, slot in zip(tables_of_row, slots, strict=True)
            ]
            f = np.array([tables.frequencies[t][j] for t, j in zip(tables_of_row, numbers, strict=True)])
            c = np.array([starts[t][j] for t, j in zip(tables_of_row, numbers, strict=True)])
            x = f.astype(np.uint64) * (x >> precision) + (slots - c).astype(np.uint64)
            due = x < LOWEST
            count = int(due.sum())
            words = self.words[self.position : self.position + count]
            if len(words) < count:
                raise Truncated("the coded chunk ends too early: the file is cut off or damaged")
            self.position += count
            x[due] = x[due] << np.uint64(16) | words
            self.states[: len(x)] = x
            for i, (t, j) in enumerate(zip(tables_of_row, numbers, strict=True)):
                entries, offset = len(tables.frequencies[t]), int(tables.offsets[t])
                escaped = j == entries - 1
                symbols[row + i] = self.escapes.take_escape(offset, entries) if escaped else offset + j
        return symbols.astype(np.int32).reshape(which.shape)

    def finish(self) -> None:
        """Check that the chunk ends here."""
        if self.empty:
            return
        if np.any(self.states != LOWEST) or self.position != len(self.words):
            raise BitstreamError("the coded chunk is damaged: it does not end where its symbols do")
        self.escapes.finish()


def _varint(data: bytes) -> tuple[int, int]:
    value = 0
    for i in range(9):
        if 1 + i >= len(data):
            raise Truncated("the coded chunk ends too early: the file is cut off or damaged")
        byte = data[1 + i]
        value |= (byte & 127) << (7 * i)
        if byte < 128:
            if byte == 0:
                break
            return value, 2 + i
    raise MalformedHeader("the coded chunk does not begin as one: the file is damaged")
