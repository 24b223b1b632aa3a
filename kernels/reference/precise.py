"""Oracle of the precise coder in Python integers: the same bytes as the compiled kernel, both ways.

The format is described in `siglum.entropy.precise`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.errors import BitstreamError, MalformedHeader, Truncated
from siglum.kernels.reference.rans import BitReader, BitWriter

LOWEST = 1 << 31


def put(state: int, start: int, frequency: int, precision: int, words: list[int]) -> int:
    """State after one symbol; a word that is due goes to the end of ``words``."""
    if state >= frequency << (63 - precision):
        words.append(state & 0xFFFFFFFF)
        state >>= 32
    return (state // frequency << precision) + state % frequency + start


def encode(steps: Sequence[tuple[NDArray[np.int32], Any, Any]], lanes: int) -> bytes:
    """Code steps of (symbols, tables, indexes)."""
    escapes = BitWriter()
    prepared: list[list[tuple[int, int, int]]] = []
    for symbols, tables, indexes in steps:
        starts = [np.cumsum(f, dtype=np.int64) - f for f in tables.frequencies]
        which = np.broadcast_to(indexes, np.shape(symbols)).ravel().tolist()
        entries = []
        for symbol, t in zip(np.asarray(symbols).ravel().tolist(), which, strict=True):
            size, offset = len(tables.frequencies[t]), int(tables.offsets[t])
            number = symbol - offset
            if not tables.closed and not 0 <= number < size - 1:
                escapes.put_escape(symbol, offset, size)
                number = size - 1
            entries.append((int(starts[t][number]), int(tables.frequencies[t][number]), tables.precision))
        prepared.append(entries)
    if not any(prepared):
        return b"\0"

    states = [LOWEST] * lanes
    words: list[int] = []  # last first
    for entries in reversed(prepared):
        for i in range(len(entries) - 1, -1, -1):
            states[i % lanes] = put(states[i % lanes], *entries[i], words)

    exponents = [state.bit_length() - 32 for state in states]
    packed = BitWriter()
    for exponent in exponents[1:]:
        packed.put(exponent, 5)
    for state, exponent in zip(states, exponents, strict=True):
        packed.put(state - (1 << (31 + exponent)), 31 + exponent)
    side = escapes.to_bytes()
    head = bytearray([lanes.bit_length() - 1 | (4 if side else 0) | exponents[0] << 3])
    if side:
        rest = len(side)
        while rest >= 128:
            head.append(rest & 127 | 128)
            rest >>= 7
        head.append(rest)
    body = b"".join(word.to_bytes(4, "little") for word in reversed(words))
    return bytes(head) + packed.to_bytes() + body + side


class Decoder:
    """Decodes a well-formed payload step by step, as `siglum.entropy.precise.Decoder` does."""

    def __init__(self, data: bytes) -> None:
        self.states = [LOWEST]
        self.words: list[int] = []  # the next one last
        self.escapes = BitReader(b"")
        if data == b"\0":
            return
        if not data or data[0] & 3 == 3:
            raise MalformedHeader("the coded chunk does not begin as one: the file is damaged")
        side, position = 0, 1
        if data[0] & 4:
            shift = 0
            while True:
                side |= (data[position] & 127) << shift
                shift += 7
                position += 1
                if data[position - 1] < 128:
                    break
        end = len(data) - side
        lanes = 1 << (data[0] & 3)
        packed = BitReader(data[position:end])
        exponents = [data[0] >> 3] + [packed.take(5) for _ in range(lanes - 1)]
        self.states = [(1 << (31 + e)) + packed.take(31 + e) for e in exponents]
        position += (5 * (lanes - 1) + sum(31 + e for e in exponents) + 7) // 8
        self.words = np.frombuffer(data[position:end], dtype="<u4")[::-1].tolist()
        self.escapes = BitReader(data[end:])

    def decode(self, tables: Any, indexes: Any, shape: Any = None) -> NDArray[np.int32]:
        """Decode one step."""
        which = np.broadcast_to(indexes, np.shape(indexes) if shape is None else shape)
        starts = [(np.cumsum(f, dtype=np.int64) - f).tolist() for f in tables.frequencies]
        symbols = []
        for i, t in enumerate(which.ravel().tolist()):
            x = self.states[i % len(self.states)]
            slot = x & ((1 << tables.precision) - 1)
            number = bisect_right(starts[t], slot) - 1
            x = int(tables.frequencies[t][number]) * (x >> tables.precision) + slot - starts[t][number]
            if x < LOWEST:
                if not self.words:
                    raise Truncated("the coded chunk ends too early: the file is cut off or damaged")
                x = x << 32 | self.words.pop()
            self.states[i % len(self.states)] = x
            size, offset = len(tables.frequencies[t]), int(tables.offsets[t])
            escaped = not tables.closed and number == size - 1
            symbols.append(self.escapes.take_escape(offset, size) if escaped else offset + number)
        return np.array(symbols, dtype=np.int32).reshape(which.shape)

    def finish(self) -> None:
        """Check that the chunk ends here."""
        if self.words or any(state != LOWEST for state in self.states):
            raise BitstreamError("the coded chunk is damaged: it does not end where its symbols do")
        self.escapes.finish()
