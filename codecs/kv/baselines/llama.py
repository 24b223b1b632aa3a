"""q8_0 and q4_0 of llama.cpp: blocks of 32 channels with a float16 step; with or without a Hadamard rotation.

The rotation, on by default there for quantized caches since 2026, spreads each head's channels over all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from siglum.codecs.kv.baselines import bits
from siglum.codecs.kv.baselines.frame import BASELINES, Arrays, Baseline, Floats, Sections
from siglum.errors import UsageError

BLOCK = 32


def hadamard(x: Floats) -> Floats:
    """Orthonormal Walsh-Hadamard transform of the last axis, a power of two; its own inverse."""
    size = x.shape[-1]
    if size & (size - 1):
        raise UsageError(f"a Hadamard rotation needs a power of two of channels, not {size}")
    out = x.astype(np.float32)
    half = 1
    while half < size:
        pairs = out.reshape(*x.shape[:-1], size // (2 * half), 2, half)
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        out = np.stack([first + second, first - second], -2).reshape(x.shape)
        half *= 2
    return out / np.float32(np.sqrt(size))


@dataclass(frozen=True)
class Llama(Baseline):
    """Blocks of 32 with one step.

    Attributes
    ----------
    width
        8: codes -127 to 127, the largest magnitude is 127 steps. 4: codes -8 to 7, the number of largest
        magnitude is -8 steps, whose sign is the step's.
    rotate
        Rotate the channels of each head by a Hadamard matrix first.
    """

    width: int = 4
    rotate: bool = False

    def pack(self, arrays: Arrays, out: Sections) -> None:  # noqa: D102
        for part in (arrays.keys, arrays.values):
            if part.shape[-1] % BLOCK:
                raise UsageError(f"blocks of {BLOCK} do not fit {part.shape[-1]} channels")
            blocks = (hadamard(part) if self.rotate else part).reshape(-1, BLOCK)
            place = np.abs(blocks).argmax(-1, keepdims=True)
            extreme = np.take_along_axis(blocks, place, -1)
            step = (extreme / -8 if self.width == 4 else np.abs(extreme) / 127).astype(np.float16)
            inverse = np.divide(
                1, step, out=np.zeros_like(step, np.float32), where=step != 0, dtype=np.float32
            )
            if self.width == 4:
                codes = np.clip(np.floor(blocks * inverse + 8.5), 0, 15)
            else:
                codes = np.rint(blocks * inverse) + 128
            out.put(step)
            out.put(bits.pack(np.clip(codes, 0, 255).astype(np.uint8), self.width))

    def unpack(self, shape: Arrays, parts: Sections) -> tuple[Floats, Floats]:  # noqa: D102
        found = []
        for part in (shape.keys, shape.values):
            step = parts.array("<f2", (part.size // BLOCK, 1)).astype(np.float32)
            codes = bits.unpack(parts.take(), self.width, (part.size // BLOCK, BLOCK)).astype(np.float32)
            decoded = ((codes - (8 if self.width == 4 else 128)) * step).reshape(part.shape)
            found.append(hadamard(decoded) if self.rotate else decoded)
        return found[0], found[1]


@BASELINES.register("q8_0")
@dataclass(frozen=True)
class Q8(Llama):
    """8.5 bits a number."""

    width: int = 8
    name: ClassVar[str] = "q8_0"


@BASELINES.register("q4_0")
@dataclass(frozen=True)
class Q4(Llama):
    """4.5 bits a number."""

    name: ClassVar[str] = "q4_0"


@BASELINES.register("q4_0-hadamard")
@dataclass(frozen=True)
class Q4Rotated(Llama):
    """4.5 bits a number, rotated."""

    rotate: bool = True
    name: ClassVar[str] = "q4_0-hadamard"
