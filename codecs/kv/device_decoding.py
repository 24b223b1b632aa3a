"""Reading a cache onto a GPU: entropy decoding on the CPU, all else there; needs torch and triton."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import torch

from siglum.codecs import container
from siglum.codecs.kv import coding, device_blocks, fixed_blocks
from siglum.codecs.kv.blocks import FIXED, TRANSFORM, Block, Part
from siglum.codecs.kv.cache import from_float, torch_of
from siglum.codecs.kv.decoding import Decoder, Wanted, runs
from siglum.codecs.kv.device import DeviceArray
from siglum.codecs.kv.fixed import FixedPart
from siglum.errors import BitstreamError
from siglum.kernels.gpu import kv as gpu


class DeviceDecoder(Decoder):
    """As `Decoder`, with the cache on a device.

    Parameters
    ----------
    device
        As torch names it.
    """

    def __init__(
        self,
        file: BinaryIO,
        calibration: Any = None,
        partial: bool = False,
        limits: container.Limits | None = None,
        threads: int | None = None,
        *,
        device: Any,
    ) -> None:
        super().__init__(file, calibration, partial, limits, threads)
        self.device = torch.device(device)

    def _decoded(self, group: int, which: int, blocks: list[Block], wanted: Wanted) -> Any:
        """A `DeviceArray` (heads, tokens, channels) of each layer of a group."""
        first, stop = max(wanted.start, self.layout.kind(group).start), wanted.stop
        shape = layers, heads, _, dim = self._shape(group, which, wanted)
        kind: torch.dtype = getattr(torch, self.layout.dtype)
        out = torch.zeros(shape, dtype=kind, device=self.device)
        for block in (b for b in blocks if b.method not in (TRANSFORM, FIXED)):
            try:
                rows: Any = self._decode(block)
            except BitstreamError as error:
                self._note_damage(block.part, error)
                continue
            low, high = max(block.part.first, first), min(block.part.stop, stop)
            rows = rows[low - block.part.first : high - block.part.first]
            made = rows.reshape(len(rows), layers, heads, dim).transpose(1, 2, 0, 3)
            if made.dtype == np.float32 and self.layout.dtype != "float32":
                made = from_float(made, self.layout.dtype)
            out[:, :, low - first : high - first] = torch_of(made, self.layout.dtype).to(self.device)
        rope = None if which else self.layout.kind(group).rope
        for run in runs(block for block in blocks if block.method in (TRANSFORM, FIXED)):
            values, bad = self._components(run)
            begin = run[0].part.first
            low, high = max(begin, first), min(run[-1].part.stop, stop)
            matrices = device_blocks.matrices_of(self.plan[group, which], dim, rope, self.device)
            angles = device_blocks.angles_of(rope, self.layout.position + low, high - low, self.device)
            to = out[:, :, low - first : high - first]
            gpu.synthesise(values[low - begin : high - begin], matrices, angles, list(to))
            for part in bad:
                to[:, :, max(part.first - low, 0) : max(part.stop - low, 0)] = 0
        return [DeviceArray(layer) for layer in out]

    def _components(self, run: list[Block]) -> tuple[torch.Tensor, list[Part]]:
        """(tokens, count) on the device: symbols, or floats of a fixed rate; and what is damaged."""
        components = self.plan[run[0].part.group, run[0].part.which]
        bad = []
        if isinstance(components, FixedPart):
            records = np.zeros((sum(block.part.tokens for block in run), components.record), np.uint8)
            for block in run:
                place = block.part.first - run[0].part.first
                try:
                    found = fixed_blocks.records_of(components, block)
                except BitstreamError as error:
                    self._note_damage(block.part, error)
                    bad.append(block.part)
                    continue
                records[place : place + block.part.tokens] = found
            return device_blocks.values_of(components, torch.from_numpy(records).to(self.device)), bad
        symbols, errors = coding.decode(components, run)
        for block, damage in zip(run, errors, strict=True):
            if damage is not None:
                self._note_damage(block.part, damage)
                bad.append(block.part)
        return torch.from_numpy(symbols).to(self.device), bad
