"""A serde for LMCache: chunks travel and are stored as `.sgl` files.

`register()` makes it known to a process in which LMCache runs; an adapter then asks for it by
``"serde": {"type": "siglum", "head_dim": 128, "quality": 60}``. Works on the CPU, without pickle.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from siglum.codecs.kv.cache import DTYPES, KVCache, Layer, numpy_of, torch_of
from siglum.codecs.kv.codec import KVCodec, decompress
from siglum.codecs.kv.rope import Rope
from siglum.errors import BitstreamError, SiglumError, UnsupportedInputError

__all__ = ["NAME", "SiglumDeserializer", "SiglumSerializer", "make", "register"]

NAME = "siglum"
LENGTH = 8  # bytes of the length that stands before a file: buffers may be longer than what they hold
HEAD = 4096  # bytes of a file besides its blocks, at most, and for each layer as many more
SHARE = 64  # blocks of numbers without any pattern grow by less than this part


class SiglumSerializer:
    """LMCache's `Serializer`: KV tensors (2, layers, tokens, heads * channels) to bytes.

    Parameters
    ----------
    head_dim
        Channels of a head.
    rope
        How keys were turned, if all layers turn them alike; None: they are coded as they are, which costs bits.
    settings
        Of `KVConfig`. By default no calibration is used: LMCache does not always tell where a chunk stands in its
        prompt, and a calibration is worth its bits only where keys are turned back by the right angles.
    """

    def __init__(self, head_dim: int, rope: Rope | None = None, **settings: Any) -> None:
        self.head_dim, self.rope = head_dim, rope
        self._codec = KVCodec(**({"calibration": None, "sinks": 0} | settings))
        self._exact = KVCodec(lossless=True)

    def serialize(self, src: Any, dst: Any, key: Any) -> int:
        """Write the file of `src` into `dst`; return how many bytes it has.

        Raises
        ------
        UnsupportedInputError
            If `src` has no tensor of the shape above, or its samples are neither 16-bit nor float32.
        SiglumError
            If `dst` is smaller than `estimate_serialized_size` says.
        """
        cache = self._cache(_tensor(src, "src"), _position(src))
        target = _tensor(dst, "dst").view(torch.uint8).flatten()
        raw = cache.nbytes
        data = self._codec.encode(cache)
        if len(data) > raw:  # a very short chunk, whose transform is larger than it is
            data = min(data, self._exact.encode(cache), key=len)
        size = LENGTH + len(data)
        if size > target.numel():
            raise SiglumError(f"the buffer has {target.numel()} bytes, {size} are needed")
        framed = len(data).to_bytes(LENGTH, "little") + data
        target[:size].copy_(torch.frombuffer(bytearray(framed), dtype=torch.uint8))
        return size

    def estimate_serialized_size(self, layout_desc: Any) -> int:
        """Bytes that are never exceeded; what LMCache keeps is what `serialize` returns, far less."""
        total = LENGTH
        for shape, dtype in zip(layout_desc.shapes, layout_desc.dtypes, strict=True):
            raw = prod(int(extent) for extent in shape) * dtype.itemsize
            blocks = 2 * int(shape[1]) * (int(shape[2]) // 64 + 2) if len(shape) == 4 else 1
            total += raw + raw // SHARE + HEAD * (1 + blocks)
        return total

    def _cache(self, tensor: Any, position: int) -> KVCache:
        if tensor.ndim != 4 or tensor.shape[0] != 2 or tensor.shape[3] % self.head_dim:
            raise UnsupportedInputError(
                f"a chunk is (2, layers, tokens, heads * {self.head_dim}), not {tuple(tensor.shape)}"
            )
        _, count, tokens, width = tensor.shape
        heads = tensor.reshape(2, count, tokens, width // self.head_dim, self.head_dim).transpose(2, 3)
        kind, array = numpy_of(heads)
        if kind not in DTYPES:
            raise UnsupportedInputError(f"a chunk has samples of {', '.join(DTYPES)}, not {kind}")
        layers = [Layer(array[0, number], array[1, number], self.rope) for number in range(count)]
        return KVCache(layers, kind, "", position)


class SiglumDeserializer:
    """LMCache's `Deserializer`: the inverse of `SiglumSerializer`."""

    def deserialize(self, src: Any, dst: Any, key: Any) -> None:
        """Decode the file in `src` into the tensor of `dst`.

        Raises
        ------
        BitstreamError
            If the bytes are damaged, or hold another chunk than `dst` has room for.
        """
        source, target = _tensor(src, "src").view(torch.uint8).flatten(), _tensor(dst, "dst")
        size = int.from_bytes(source[:LENGTH].cpu().numpy().tobytes(), "little")
        if not 0 < size <= source.numel() - LENGTH:
            raise BitstreamError(f"a chunk says that it has {size} bytes, and {source.numel()} are there")
        cache = decompress(source[LENGTH : LENGTH + size].cpu().numpy().tobytes())
        rows = [
            torch.stack([torch_of(getattr(layer, half), cache.dtype) for layer in cache.layers])
            for half in ("keys", "values")
        ]
        found = torch.stack(rows).transpose(2, 3).flatten(3)  # (2, layers, tokens, heads * channels)
        if found.shape != target.shape:
            raise BitstreamError(
                f"a chunk of shape {tuple(found.shape)} was stored, not {tuple(target.shape)}"
            )
        target.copy_(found)


def make(options: dict[str, Any]) -> Any:
    """LMCache's processor of a configuration: ``head_dim``, ``max_workers``, ``rope`` as `Rope.to_dict`, settings."""
    from lmcache.v1.distributed.serde.async_processor import AsyncSerdeProcessor
    from lmcache.v1.distributed.serde.base import Deserializer, Serializer

    Serializer.register(SiglumSerializer)
    Deserializer.register(SiglumDeserializer)
    options = dict(options)
    if "head_dim" not in options:
        raise SiglumError('the serde "siglum" needs head_dim, the channels of a head')
    rope, workers = options.pop("rope", None), int(options.pop("max_workers", 1))
    turned = None if rope is None else Rope.from_dict(rope)
    serializer = SiglumSerializer(int(options.pop("head_dim")), turned, **options)
    return AsyncSerdeProcessor(serializer, SiglumDeserializer(), max_workers=workers)


def register() -> None:
    """Make the serde known to LMCache by the name "siglum"; more than once does no harm.

    Raises
    ------
    SiglumError
        If LMCache is not installed.
    """
    try:
        from lmcache.v1.distributed.serde.factory import get_registered_serde_types, register_serde_factory
    except ImportError as error:
        raise SiglumError(f"the serde needs LMCache ({error}): pip install 'siglum[lmcache]'") from error
    if NAME not in get_registered_serde_types():
        register_serde_factory(NAME, make)


def _tensor(item: Any, name: str) -> Any:
    tensor = item.tensor
    if tensor is None:
        raise UnsupportedInputError(f"{name} has no tensor")
    return tensor


def _position(item: Any) -> int:
    """Where the chunk stands in its prompt, if LMCache says so."""
    positions = getattr(getattr(item, "meta", None), "cached_positions", None)
    return 0 if positions is None or not len(positions) else int(positions[0])
