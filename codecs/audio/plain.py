"""Codes with as many bits as their codebooks need: what a model without a prior uses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.audio.presets import Preset
from siglum.errors import MalformedHeader, Truncated

Integers = NDArray[np.integer[Any]]


class PlainCodes:
    """Stage counts, then codes, as fixed-length numbers, most significant bit first."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self._count_bits = preset.stages.bit_length()
        self._code_bits = (preset.codewords - 1).bit_length()

    def encode(self, codes: Integers, counts: Integers) -> bytes:
        """Pack codes (T, S) of which frame t has the first ``counts[t] * G``."""
        used = np.arange(codes.shape[1])[None] // self.preset.groups < counts[:, None]
        bits = [_bits(counts, self._count_bits), _bits(codes[used], self._code_bits)]
        return np.packbits(np.concatenate(bits)).tobytes()

    def bits(self, codes: Integers) -> NDArray[np.float32]:
        """Bits of each code of frames that use all stages, (T, S)."""
        return np.full(codes.shape, self._code_bits, np.float32)

    def decode(self, payload: bytes, frames: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Codes (T, S), 0 where there are none, and counts (T,).

        Raises
        ------
        Truncated, MalformedHeader
            If the payload is of another length, or a number is out of range.
        """
        p = self.preset
        bits = np.unpackbits(np.frombuffer(payload, np.uint8))
        if len(bits) < frames * self._count_bits:
            raise Truncated("codes of a chunk are cut off")
        counts = _numbers(bits[: frames * self._count_bits], self._count_bits).astype(np.uint8)
        if counts.max(initial=0) > p.stages:
            raise MalformedHeader("a frame has more stages than the model")
        used = np.arange(p.codes)[None] // p.groups < counts[:, None]
        rest = bits[frames * self._count_bits :]
        wanted = int(used.sum()) * self._code_bits
        if not wanted <= len(rest) < wanted + 8:
            raise Truncated(f"codes of a chunk have {len(rest)} bits, not {wanted}")
        codes = np.zeros(used.shape, np.int32)
        codes[used] = _numbers(rest[:wanted], self._code_bits)
        if codes.max(initial=0) >= p.codewords:
            raise MalformedHeader("a code is beyond its codebook")
        return codes, counts


def _bits(values: Integers, width: int) -> NDArray[np.uint8]:
    shifts = np.arange(width - 1, -1, -1)
    return ((values.reshape(-1, 1).astype(np.int64) >> shifts) & 1).astype(np.uint8).reshape(-1)


def _numbers(bits: NDArray[np.uint8], width: int) -> NDArray[np.int32]:
    weights = 1 << np.arange(width - 1, -1, -1)
    return np.asarray(bits.reshape(-1, width).astype(np.int64) @ weights, np.int32)
