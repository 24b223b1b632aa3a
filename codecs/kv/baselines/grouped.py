"""Uniform levels in groups along tokens or channels: int8, int4, KIVI (arXiv 2402.02750), HF's QuantizedCache.

Every group has a least value and a step, float16 both. KIVI groups 32 tokens of each key channel and 32 channels
of each token's values; the tokens after the last whole group of 32 stay as they are, as in its residual.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from siglum.codecs.kv.baselines import bits
from siglum.codecs.kv.baselines.frame import BASELINES, Arrays, Baseline, Floats, Sections


@dataclass(frozen=True)
class Grouped(Baseline):
    """Uniform levels.

    Attributes
    ----------
    key_bits, value_bits
        1 to 8.
    key_axis, value_axis
        "token": groups are of channels of one token; "channel": of tokens of one channel.
    group
        Numbers that share a scale; 0: all channels of a head, or all tokens.
    """

    key_bits: int = 4
    value_bits: int = 4
    key_axis: str = "token"
    value_axis: str = "token"
    group: int = 0

    def __post_init__(self) -> None:
        bits.check(self.key_bits, self.value_bits)

    def pack(self, arrays: Arrays, out: Sections) -> None:  # noqa: D102
        self._pack(arrays.keys, self.key_bits, self.key_axis, out)
        self._pack(arrays.values, self.value_bits, self.value_axis, out)

    def unpack(self, shape: Arrays, parts: Sections) -> tuple[Floats, Floats]:  # noqa: D102
        keys = self._unpack(shape.keys.shape, self.key_bits, self.key_axis, parts)
        return keys, self._unpack(shape.values.shape, self.value_bits, self.value_axis, parts)

    def _pack(self, x: Floats, width: int, axis: str, out: Sections) -> None:
        rows = x.swapaxes(2, 3) if axis == "channel" else x  # (layers, heads, rows, what groups are cut from)
        size = self.group or rows.shape[-1]
        whole = rows.shape[-1] // size * size
        cut = rows[..., :whole].reshape(*rows.shape[:3], -1, size)
        codes, scale, low = bits.to_levels(cut, width) if whole else (np.zeros(0, np.uint8),) * 3
        out.put(bits.pack(codes, width))
        out.put(scale)
        out.put(low)
        out.put(rows[..., whole:].astype("<f2"))

    def _unpack(self, shape: tuple[int, ...], width: int, axis: str, parts: Sections) -> Floats:
        layers, heads, tokens, dim = shape
        rows, length = (dim, tokens) if axis == "channel" else (tokens, dim)
        size = self.group or length
        whole = length // size * size
        groups = (layers, heads, rows, whole // size)
        codes = bits.unpack(parts.take(), width, (*groups, size))
        if whole:
            scale, low = parts.array("<f2", groups), parts.array("<f2", groups)
            cut = bits.from_levels(codes, scale, low).reshape(layers, heads, rows, whole)
        else:
            parts.take(), parts.take()
            cut = np.zeros((layers, heads, rows, 0), np.float32)
        rest = parts.array("<f2", (layers, heads, rows, length - whole)).astype(np.float32)
        found = np.concatenate([cut, rest], -1)
        return np.ascontiguousarray(found.swapaxes(2, 3)) if axis == "channel" else found


def _preset(key: str, **usual: object) -> None:
    @BASELINES.register(key)
    class Preset(Grouped):
        name: ClassVar[str] = key

        def __init__(self, **given: object) -> None:
            make: Callable[..., None] = super().__init__
            make(**{**usual, **given})


for _bits in (8, 4):
    _preset(f"int{_bits}-token", key_bits=_bits, value_bits=_bits)
    _preset(f"int{_bits}-channel", key_bits=_bits, value_bits=_bits, key_axis="channel", value_axis="channel")
_preset("kivi-4", key_axis="channel", group=32)
_preset("kivi-2", key_axis="channel", group=32, key_bits=2, value_bits=2)
_preset("kivi-k4v2", key_axis="channel", group=32, value_bits=2)
_preset("hf-int4", group=64)
