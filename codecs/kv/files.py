"""Caches in `.safetensors` files: tensors ``layers.N.keys`` and ``layers.N.values``, (heads, tokens, channels).

The metadata may have ``model`` (a name), ``position`` (of the first token) and ``rope``: JSON of one embedding as
`Rope.to_dict` gives it, or a list with one, or null, for each layer. A leading axis of 1 is taken off.
"""

from __future__ import annotations

import json
import math
import mmap
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.cache import DTYPES, KVCache
from siglum.codecs.kv.rope import Rope
from siglum.errors import UnsupportedInputError

__all__ = ["is_cache", "read_cache", "read_tensors", "write_cache"]

_NAME = re.compile(r"layers\.(0|[1-9][0-9]{0,4})\.(keys|values)")
_TYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}
_MAX_HEADER = 2**26


def read_tensors(
    source: str | Path | bytes,
) -> tuple[dict[str, tuple[str, NDArray[Any]]], dict[str, str]]:
    """Tensors of a file as (type, array), mapped and not read, and its metadata.

    Raises
    ------
    UnsupportedInputError
        If it is no safetensors file, or is cut off.
    """
    raw: NDArray[np.uint8]
    if isinstance(source, bytes):
        raw = np.frombuffer(source, np.uint8)
    else:
        size = Path(source).stat().st_size
        raw = np.memmap(source, np.uint8, "r") if size else np.zeros(0, np.uint8)
    length = int.from_bytes(raw[:8].tobytes(), "little")
    if raw.size < 8 or not 2 <= length <= min(_MAX_HEADER, raw.size - 8):
        raise UnsupportedInputError("not a .safetensors file: its header is missing")
    try:
        header = json.loads(raw[8 : 8 + length].tobytes())
        metadata = {str(key): str(value) for key, value in header.pop("__metadata__", {}).items()}
        tensors = {name: _tensor(fields, raw[8 + length :]) for name, fields in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnsupportedInputError(f"the .safetensors file is damaged or cut off: {error}") from error
    return tensors, metadata


def is_cache(names: Mapping[str, Any]) -> bool:
    """Whether tensors of these names are a key-value cache."""
    return bool(names) and all(_NAME.fullmatch(name) for name in names)


def read_cache(source: str | Path | bytes) -> KVCache:
    """The cache in a file; its arrays are mapped, not read.

    Raises
    ------
    UnsupportedInputError
        If the tensors are no cache; the message says what was expected.
    """
    tensors, metadata = read_tensors(source)
    if not is_cache(tensors):
        strange = next((name for name in tensors if not _NAME.fullmatch(name)), None)
        raise UnsupportedInputError(
            "no key-value cache: its tensors would be layers.N.keys and layers.N.values, "
            + ("and there are none" if strange is None else f"and there is {strange!r}")
        )
    count = 1 + max(int(name.split(".")[1]) for name in tensors)
    kinds = {kind for kind, _ in tensors.values()}
    if len(tensors) != 2 * count or len(kinds) != 1 or not kinds <= set(_TYPES):
        raise UnsupportedInputError(
            f"{len(tensors)} tensors of {', '.join(sorted(kinds))} are no cache of {count} layers: "
            "each has keys and values, all F16, BF16 or F32"
        )
    pairs = [
        (_plain(tensors[f"layers.{i}.keys"][1]), _plain(tensors[f"layers.{i}.values"][1]))
        for i in range(count)
    ]
    try:
        position = int(metadata.get("position", "0"))
        ropes = _ropes(json.loads(metadata.get("rope", "null")), count)
    except (ValueError, AttributeError) as error:
        raise UnsupportedInputError(f"the metadata of the file cannot be read: {error}") from error
    return KVCache.from_arrays(
        pairs, rope=ropes, dtype=_TYPES[kinds.pop()], model=metadata.get("model", ""), position=position
    )


def write_cache(cache: KVCache, target: str | Path | BinaryIO) -> None:
    """Write a cache as `.safetensors`, layer by layer."""
    if isinstance(target, (str, Path)):
        with Path(target).open("wb") as file:
            write_cache(cache, file)
        return
    parts = [
        (number, which, part)
        for number, layer in enumerate(cache.layers)
        for which, part in enumerate((layer.keys, layer.values))
    ]
    write_parts(cache, [part[:2] for part in parts], parts, target)


def write_parts(
    outline: KVCache,
    order: Iterable[tuple[int, int]],
    parts: Iterable[tuple[int, int, NDArray[Any]]],
    target: BinaryIO,
) -> None:
    """Write a cache as `.safetensors` while its parts come.

    Parameters
    ----------
    outline
        Its shapes and all else but its numbers.
    order
        Layer and half (0 keys, 1 values) of each part.
    parts
        The same with their numbers.
    """
    kind = {name: code for code, name in _TYPES.items()}[outline.dtype]
    header: dict[str, Any] = {"__metadata__": metadata_of(outline)}
    offset = 0
    for number, which in order:
        layer = outline.layers[number]
        shape = (layer.values if which else layer.keys).shape
        end = offset + math.prod(shape) * DTYPES[outline.dtype].itemsize
        header[f"layers.{number}.{('keys', 'values')[which]}"] = {
            "dtype": kind, "shape": list(shape), "data_offsets": [offset, end],
        }  # fmt: skip
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    target.write(len(text).to_bytes(8, "little") + text)
    for _, _, part in parts:
        target.write(np.ascontiguousarray(part, part.dtype.newbyteorder("<")).data)


def mappings_of(cache: KVCache) -> list[mmap.mmap]:
    """The files, mapped to be read only, that arrays of a cache lie in."""
    found: dict[int, mmap.mmap] = {}
    for layer in cache.layers:
        for part in layer[:2]:
            array: Any = part
            readable = False
            while isinstance(array, np.ndarray):
                readable = readable or (isinstance(array, np.memmap) and array.mode == "r")
                array = array.base
            if readable and isinstance(array, mmap.mmap):
                found[id(array)] = array
    return list(found.values())


def forget(mappings: Iterable[mmap.mmap]) -> None:
    """Let the pages of mapped files go, which are read again where they are used again."""
    if hasattr(mmap, "MADV_DONTNEED"):
        for mapping in mappings:
            mapping.madvise(mmap.MADV_DONTNEED)


def metadata_of(cache: KVCache) -> dict[str, str]:
    """What a file says besides its tensors."""
    ropes = [layer.rope for layer in cache.layers]
    fields = {"format": "siglum-kv", **cache.notes}
    if cache.model:
        fields["model"] = cache.model
    if cache.position:
        fields["position"] = str(cache.position)
    if any(ropes):
        plain = [None if rope is None else rope.to_dict() for rope in ropes]
        fields["rope"] = json.dumps(plain[0] if all(rope == ropes[0] for rope in ropes) else plain)
    return fields


def _tensor(fields: Mapping[str, Any], data: NDArray[np.uint8]) -> tuple[str, NDArray[Any]]:
    kind, shape = str(fields["dtype"]), tuple(int(extent) for extent in fields["shape"])
    start, end = (int(offset) for offset in fields["data_offsets"])
    dtype = DTYPES[_TYPES[kind]] if kind in _TYPES else None
    if not 0 <= start <= end <= data.size or min(shape, default=0) < 0:
        raise ValueError("a tensor goes beyond the end")
    if dtype is None:
        return kind, data[start:end]
    if end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"a tensor of shape {shape} has {end - start} bytes")
    return kind, data[start:end].view(dtype.newbyteorder("<")).reshape(shape)


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    return array[0] if array.ndim == 4 and array.shape[0] == 1 else array


def _ropes(described: Any, layers: int) -> list[Rope | None]:
    listed = described if isinstance(described, list) else [described] * layers
    return [None if fields is None else Rope.from_dict(fields) for fields in listed]
