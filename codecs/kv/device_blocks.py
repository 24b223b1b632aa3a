"""Blocks of caches on a GPU: transform and rounding there; needs torch and triton (``pip install "siglum[gpu]"``)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from siglum.codecs.kv import coding, fixed_blocks
from siglum.codecs.kv.blocks import TRANSFORM, Block, Part
from siglum.codecs.kv.cache import KVCache
from siglum.codecs.kv.coding import Components
from siglum.codecs.kv.device import DeviceArray
from siglum.codecs.kv.fixed import FixedPart, gain_values
from siglum.codecs.kv.fixed_books import SIZE, books
from siglum.codecs.kv.layout import Layout
from siglum.codecs.kv.rope import Rope
from siglum.kernels.gpu import kv as gpu

AnyPart = Components | FixedPart


def encode(
    part: AnyPart, cache: KVCache, layout: Layout, origin: int, parts: Sequence[Part], effort: int
) -> list[Block] | None:
    """Code blocks of a group's keys or values that follow each other.

    Parameters
    ----------
    cache
        Of `DeviceArray`; its token 0 is number `origin` in the file.
    effort
        As in `KVConfig`.

    Returns
    -------
    The blocks; or None if a number is not finite or beyond all symbols, which is for the CPU's path to say.
    """
    group, which = parts[0].group, parts[0].which
    first, stop = parts[0].first, parts[-1].stop
    tensors = []
    for number in layout.groups[group]:
        layer = cache.layers[number]
        array: Any = layer.values if which else layer.keys
        if not isinstance(array, DeviceArray):
            return None
        tensors.append(array.tensor[:, first - origin - layer.start : stop - origin - layer.start])
    if any(tensor.stride() != tensors[0].stride() for tensor in tensors):
        tensors = [tensor.contiguous() for tensor in tensors]
    device = tensors[0].device
    kind = layout.kind(group)
    rope = None if which else kind.rope
    matrices = matrices_of(part, kind.value_dim if which else kind.key_dim, rope, device)
    angles = angles_of(rope, layout.position + first, stop - first, device)
    # Factors are taken off before rounding, which is then the CPU's.
    rounds = not isinstance(part, FixedPart) and part.loads is None
    found = gpu.analyse(tensors, matrices, angles, quantise=rounds)
    if isinstance(part, FixedPart):
        if not bool(torch.isfinite(found).all()):
            return None
        return fixed_blocks.blocks_of(part.encode(found.cpu().numpy(), effort), parts)
    symbols = found.cpu().numpy()
    if symbols.size and (symbols.min() == gpu.BAD if rounds else not np.isfinite(symbols).all()):
        return None
    coded = coding.encode(part, symbols.astype(np.float32), [it.tokens for it in parts], effort)
    return [Block(it, TRANSFORM, *one) for it, one in zip(parts, coded, strict=True) if one is not None]


def values_of(part: FixedPart, records: torch.Tensor) -> torch.Tensor:
    """Components (tokens, count) of records (tokens, record), uint8, as `FixedPart.decode`."""
    known = _books(records.device)
    out = torch.empty((len(records), part.count), dtype=torch.float32, device=records.device)
    for first, stop, stages, place in part.runs():
        codes = records[:, place : place + (stop - first) * stages].long().reshape(len(records), -1, stages)
        values = known[0][codes[..., 0]]
        for stage in range(1, stages):
            values += known[stage][codes[..., stage]]
        out[:, first * SIZE : stop * SIZE] = values.reshape(len(records), -1)
    gains = torch.from_numpy(gain_values(np.arange(256, dtype=np.uint8))).to(records.device)
    return out * gains[records[:, 0].long()][:, None]


def matrices_of(part: AnyPart, channels: int, rope: Rope | None, device: Any) -> gpu.Matrices:
    """The transform on a device, made once for each."""
    kept: dict[Any, gpu.Matrices] = part.__dict__.setdefault("_on_devices", {})
    key = (str(device), channels, rope)
    if key not in kept:
        if isinstance(part, FixedPart):
            (analysis, offset), (synthesis, bias) = part.analysis_matrix, part.synthesis_matrix
            mean = part.components.transform.mean
        else:
            mean = part.transform.mean
            analysis = part.transform.analysis[:, part.coded] / np.float32(part.step)
            synthesis = part.transform.synthesis[part.coded] * np.float32(part.step)
            half = (
                np.zeros(part.count, np.float32)
                if part.shift is None
                else part.shift[part.coded] / np.float32(2)
            )
            centre = part.centre
            offset, bias = -part.taken, (centre + half @ synthesis).astype(np.float32)
        turned = (0, False) if rope is None else (rope.dim, rope.layout == "interleaved")
        pairs = gpu.Pairs.of(channels, *turned)
        kept[key] = gpu.Matrices(analysis, offset, synthesis, mean, bias, pairs, channels, device)
    return kept[key]


@lru_cache(16)
def angles_of(rope: Rope | None, start: int, tokens: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines (tokens, angles) of an embedding on a device; of none, no angles."""
    if rope is None:
        none = torch.zeros((tokens, 0), device=device)
        return none, none
    cos, sin = rope.tables(start, tokens)
    return torch.from_numpy(np.array(cos)).to(device), torch.from_numpy(np.array(sin)).to(device)


@lru_cache(4)
def _books(device: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(books())).to(device)
