"""Reading a cache onto a GPU: entropy decoding on the CPU, all else there; needs torch and triton."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import torch

from siglum.codecs import container
from siglum.codecs.kv import coding, device_blocks, fixed_blocks
from siglum.codecs.kv.blocks import FIXED, TRANSFORM, Block, Part, name_of
from siglum.codecs.kv.cache import from_float, torch_of
from siglum.codecs.kv.decoding import RUN, Decoder
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

    def _decoded(self, group: int, which: int, blocks: list[Block], start: int, stop: int) -> Any:
        """A `DeviceArray` (heads, tokens, channels) of each layer of a group."""
        kind, layers = self.layout.kind(group), len(self.layout.groups[group])
        first = max(start, kind.start)
        dim = kind.value_dim if which else kind.key_dim
        shape = (layers, kind.heads, max(stop - first, 0), dim)
        out = torch.zeros(shape, dtype=getattr(torch, self.layout.dtype), device=self.device)
        run: list[tuple[Part, torch.Tensor]] = []

        def flush() -> None:
            """One product for blocks that follow each other."""
            if not run:
                return
            low = run[0][0].first
            values = torch.cat([part for _, part in run])[max(first - low, 0) : stop - low]
            run.clear()
            low, rope = max(first, low), None if which else kind.rope
            matrices = device_blocks.matrices_of(self.plan[group, which], dim, rope, self.device)
            angles = device_blocks.angles_of(rope, self.layout.position + low, len(values), self.device)
            to = out[:, :, low - first : low - first + len(values)]
            gpu.synthesise(values, matrices, angles, list(to))

        for block in blocks:
            part = block.part
            if run and (run[-1][0].stop != part.first or len(run) == RUN):
                flush()
            try:
                if block.method in (TRANSFORM, FIXED):
                    run.append((part, self._components(block)))
                    continue
                rows: Any = self._decode(block)
            except BitstreamError as error:
                if not self.partial:
                    raise type(error)(f"{name_of(part, self.layout)}: {error}") from error
                self.missing.append(name_of(part, self.layout))
                continue
            low = max(part.first, first)
            rows = rows[low - part.first : stop - part.first]
            made = rows.reshape(len(rows), layers, kind.heads, dim).transpose(1, 2, 0, 3)
            if made.dtype == np.float32 and self.layout.dtype != "float32":
                made = from_float(made, self.layout.dtype)
            out[:, :, low - first : low - first + len(rows)] = torch_of(made, self.layout.dtype).to(self.device)
        flush()
        return [DeviceArray(layer) for layer in out]

    def _components(self, block: Block) -> torch.Tensor:
        """(tokens, count) on the device: symbols, or floats of a fixed rate."""
        components = self.plan[block.part.group, block.part.which]
        if isinstance(components, FixedPart):
            records = np.array(fixed_blocks.records_of(components, block))
            return device_blocks.values_of(components, torch.from_numpy(records).to(self.device))
        symbols = coding.decode(components, block.body, block.crc, block.part.tokens)
        return torch.from_numpy(symbols).to(self.device)
