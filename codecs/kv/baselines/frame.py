"""What all rivals share: the file, the tokens that stay as they are, and a list of sections.

File: ``SKB1``, u32 CRC32C of what follows, varint length and JSON (name, settings, shapes, rope), then the
sections in order, each a varint length and its bytes.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.cache import KVCache, as_float, from_float
from siglum.codecs.kv.rope import Rope
from siglum.errors import ChecksumMismatch, NotSiglumFile, Truncated, UnsupportedInputError
from siglum.kernels.checksum import crc32c
from siglum.registry import Registry

MAGIC = b"SKB1"
MODULES = {
    "none": "plain", "int8-token": "grouped", "int4-token": "grouped", "int8-channel": "grouped",
    "int4-channel": "grouped", "kivi-4": "grouped", "kivi-2": "grouped", "kivi-k4v2": "grouped", "hf-int4": "grouped",
    "q8_0": "llama", "q4_0": "llama", "q4_0-hadamard": "llama", "turboquant": "turboquant",
    "cachegen": "cachegen", "cachegen-paper": "cachegen_paper", "kvtc": "kvtc", "gear": "gear", "xkv": "xkv",
    "matryoshka": "matryoshka", "think": "think", "group-vq": "group_vq",
}  # fmt: skip
BASELINES: Registry[Baseline] = Registry(
    "baseline", None, {name: f"siglum.codecs.kv.baselines.{module}" for name, module in MODULES.items()}
)
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Arrays:
    """Keys and values of all layers, (layers, heads, tokens, channels) float32, and where the tokens begin.

    Attributes
    ----------
    keys, values
        Keys are as the model left them, turned by their positions.
    rope
        How they were turned, or None.
    position
        Of the first token here.
    """

    keys: Floats
    values: Floats
    rope: Rope | None
    position: int

    def still(self) -> Floats:
        """Keys before they were turned."""
        return self.keys if self.rope is None else self.rope.turn(self.keys, self.position, back=True)

    def turned(self, still: Floats) -> Floats:
        """The inverse of `still`, for other keys."""
        return still if self.rope is None else self.rope.turn(still, self.position)


class Sections:
    """Byte strings in the order in which they were put."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self._at = 0

    def put(self, part: bytes | NDArray[Any]) -> None:
        """Append bytes, or an array's memory; its type and shape are known to the reader."""
        raw = part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes()
        self.data += _varint(len(raw)) + raw

    def take(self) -> bytes:
        """The next byte string."""
        size, shift = 0, 0
        while True:
            if self._at >= len(self.data) or shift > 56:
                raise Truncated("the file ends before its last section")
            byte = self.data[self._at]
            self._at += 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        end = self._at + size
        if end > len(self.data):
            raise Truncated("the file ends within a section")
        part, self._at = bytes(self.data[self._at : end]), end
        return part

    def array(self, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """The next section as an array."""
        raw = self.take()
        if len(raw) != int(np.prod(shape)) * np.dtype(dtype).itemsize:
            raise Truncated(f"a section of {len(raw)} bytes is no {dtype} of shape {shape}")
        return np.frombuffer(raw, dtype).reshape(shape)


@dataclass(frozen=True)
class Baseline(ABC):
    """A rival: a frozen configuration that codes caches whose layers all have one shape.

    Attributes
    ----------
    sinks, window
        So many first and last tokens stay as they are.
    """

    sinks: int = 4
    window: int = 0
    name: ClassVar[str] = ""
    needs_fit: ClassVar[bool] = False

    @abstractmethod
    def pack(self, arrays: Arrays, out: Sections) -> None:
        """Write the tokens between sinks and window, of which there is at least one."""

    @abstractmethod
    def unpack(self, shape: Arrays, parts: Sections) -> tuple[Floats, Floats]:
        """Keys and values of `pack`; of ``shape`` only shapes, rope and position count."""

    def encode(self, cache: KVCache) -> bytes:
        """The whole file.

        Raises
        ------
        UnsupportedInputError
            If layers differ in shape, or the cache holds what is not finite.
        """
        layers = cache.layers
        if len({(layer.keys.shape, layer.values.shape, layer.rope) for layer in layers}) > 1:
            raise UnsupportedInputError(
                "rivals code caches whose layers have one shape and one rotary embedding"
            )
        tokens, rope = layers[0].tokens, layers[0].rope
        first, last = min(self.sinks, tokens), max(min(self.sinks, tokens), tokens - self.window)
        config = {k: v for k, v in asdict(self).items() if not isinstance(v, np.ndarray) and k != "fitted"}
        header = {
            "name": self.name, "config": config, "keys": [len(layers), *layers[0].keys.shape],
            "values": [len(layers), *layers[0].values.shape], "dtype": cache.dtype, "position": cache.position,
            "model": cache.model, "rope": None if rope is None else rope.to_dict(),
        }  # fmt: skip
        out = Sections()
        out.put(json.dumps(header, separators=(",", ":")).encode())
        for layer in layers:
            for part in layer[:2]:
                out.put(np.concatenate([part[:, :first], part[:, last:]], 1))
        if last > first:
            stacked = [
                np.stack([as_float(layer[:2][i][:, first:last], cache.dtype) for layer in layers])
                for i in (0, 1)
            ]
            if not all(np.isfinite(part).all() for part in stacked):
                raise UnsupportedInputError("the cache holds numbers that are not finite")
            self.pack(Arrays(stacked[0], stacked[1], rope, cache.position + first), out)
        return MAGIC + crc32c(out.data).to_bytes(4, "little") + bytes(out.data)

    def decode(self, data: bytes) -> KVCache:
        """The cache of a file of this baseline's."""
        header, parts = _open(data)
        (count, heads, tokens, dim), wide = header["keys"], header["values"][3]
        first, last = min(self.sinks, tokens), max(min(self.sinks, tokens), tokens - self.window)
        rope = None if header["rope"] is None else Rope.from_dict(header["rope"])
        kept = first + tokens - last
        kind = {"float16": "<f2", "bfloat16": "<u2", "float32": "<f4"}[header["dtype"]]
        raw = [[parts.array(kind, (heads, kept, channels)) for channels in (dim, wide)] for _ in range(count)]
        middle: list[Floats] = [np.zeros((count, heads, last - first, c), np.float32) for c in (dim, wide)]
        if last > first:
            middle = list(self.unpack(Arrays(middle[0], middle[1], rope, header["position"] + first), parts))
        pairs = []
        for number, pair in enumerate(raw):
            coded = [from_float(middle[i][number], header["dtype"]) for i in (0, 1)]
            whole = [
                np.concatenate([pair[i][:, :first], coded[i], pair[i][:, first:]], 1).astype(coded[i].dtype)
                for i in (0, 1)
            ]
            pairs.append((whole[0], whole[1]))
        return KVCache.from_arrays(
            pairs, rope=rope, dtype=header["dtype"], model=header["model"], position=header["position"]
        )


def decode(data: bytes, fitted: Any = None) -> KVCache:
    """Decode a file of any baseline.

    Parameters
    ----------
    fitted
        What the baseline was fitted to, for those that need it.
    """
    header, _ = _open(data)
    config = dict(header["config"])
    if fitted is not None:
        config["fitted"] = fitted
    return BASELINES.get(header["name"], **config).decode(data)


def _open(data: bytes) -> tuple[dict[str, Any], Sections]:
    if data[:4] != MAGIC:
        raise NotSiglumFile("not a file of a baseline")
    if len(data) < 8 or crc32c(data[8:]) != int.from_bytes(data[4:8], "little"):
        raise ChecksumMismatch("the file was altered or cut off")
    parts = Sections(data[8:])
    header: dict[str, Any] = json.loads(parts.take())
    return header, parts


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
