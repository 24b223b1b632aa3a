"""Calibrations: the transforms of a model's layers, in a safetensors file that streams name by a hash."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.codecs import models
from siglum.codecs.kv.cache import KVCache
from siglum.codecs.kv.layout import KEYS, VALUES, Kind, Layout
from siglum.codecs.kv.packing import check_rank, pack_basis, unpack_basis
from siglum.codecs.kv.scales import MAX_UNITS
from siglum.codecs.kv.transform import Transform
from siglum.errors import BitstreamError, SiglumError, UnknownModel, UnsupportedInputError

__all__ = ["Calibration", "find", "find_by_id", "installed_for", "named_for"]

HALVES = "kv"


@dataclass(frozen=True)
class Calibration:
    """What was learned of a model's caches.

    Attributes
    ----------
    layout
        Geometry and groups; kinds have the model's rotary embeddings.
    transforms
        By (group, 0 for keys or 1 for values).
    fineness
        How finely bases are rounded: the logarithm, in units, that `packing.column_steps` takes.
    id
        Eight bytes that name it in streams.
    """

    layout: Layout
    transforms: Mapping[tuple[int, int], Transform] = field(repr=False)
    fineness: int
    id: bytes

    @cached_property
    def prepared(self) -> dict[tuple[int, int, int], Any]:
        """What `plan.as_calibrated` made of it, by group, half and level."""
        return {}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Calibration:
        """The calibration of a file's tensors.

        Raises
        ------
        UnsupportedInputError
            If they are none.
        """
        try:
            fields = tensors["layout"].tobytes()
            layout = Layout.parse(fields, "float16", "")
            fineness = int(tensors["fineness"].item())
            transforms = {
                (group, which): _unpacked(tensors, layout, group, which, fineness)
                for group in range(len(layout.groups))
                for which in (KEYS, VALUES)
            }
        except (KeyError, ValueError, TypeError, IndexError, BitstreamError) as error:
            raise UnsupportedInputError(f"no calibration for key-value caches: {error}") from error
        return cls(layout, transforms, fineness, models.model_id(tensors))

    def with_layout(self, cache: KVCache) -> Layout:
        """The layout of a cache in this calibration's groups.

        Keys whose embedding the cache does not tell are taken to be turned as the model turns them.

        Raises
        ------
        UnsupportedInputError
            If the cache has other layers, heads, channels or embeddings; the message names what.
        """
        wanted, found = self.layout, cache.layers
        if len(found) != len(wanted.kind_of):
            raise UnsupportedInputError(
                f"the cache has {len(found)} layers, the calibration is for {len(wanted.kind_of)}"
            )
        kinds: list[Kind] = []
        kind_of: list[int] = []
        for number, layer in enumerate(found):
            due = wanted.kinds[wanted.kind_of[number]]
            shape = (layer.keys.shape[0], layer.keys.shape[2], layer.values.shape[2])
            if shape != (due.heads, due.key_dim, due.value_dim):
                raise UnsupportedInputError(
                    f"layer {number} has {shape[0]} heads of {shape[1]} and {shape[2]} channels, the calibration is "
                    f"for {due.heads} of {due.key_dim} and {due.value_dim}"
                )
            if layer.rope is not None and layer.rope != due.rope:
                raise UnsupportedInputError(
                    f"layer {number}: keys are turned by {layer.rope}, not by {due.rope}"
                )
            kind = replace(due, start=layer.start)
            if kind not in kinds:
                kinds.append(kind)
            kind_of.append(kinds.index(kind))
        groups = wanted.groups
        if any(len({kind_of[layer] for layer in group}) > 1 for group in groups):
            raise UnsupportedInputError("layers of a group begin at different tokens")
        return Layout(tuple(kinds), tuple(kind_of), groups, cache.dtype, cache.position, cache.model)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """What a file holds; inverse of `from_tensors` but for rounding, so take the id of what that gives."""
        out: dict[str, NDArray[Any]] = {
            "layout": np.frombuffer(self.layout.to_bytes(), np.uint8),
            "fineness": np.array([self.fineness], np.int32),
        }
        for (group, which), made in self.transforms.items():
            prefix = f"{group}.{HALVES[which]}."
            out[prefix + "mean"] = made.mean.astype(np.float16)
            out[prefix + "scale"] = made.scale.astype(np.int16)
            out[prefix + "basis"] = np.frombuffer(pack_basis(made.basis, made.scale, self.fineness), np.uint8)
            if made.weight is not None:
                out[prefix + "weight"], out[prefix + "weight_unit"] = pack_weight(made.weight)
        return out

    def save(self, path: str | Path, card: Mapping[str, Any]) -> Calibration:
        """Write the file and, beside it, its card (see `siglum.codecs.models`); return it as it was rounded."""
        from safetensors.numpy import save_file

        tensors = self.tensors()
        rounded = Calibration.from_tensors(tensors)
        path = Path(path)
        save_file(
            {name: np.ascontiguousarray(part) for name, part in tensors.items()},
            path,
            {"format": "siglum-kv-calibration"},
        )
        fields = {**card, "codec": "kv", "id": rounded.id.hex()}
        path.with_suffix(".json").write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n")
        return rounded


def pack_weight(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Lower triangles (blocks, size (size + 1) / 2) in 127ths of their largest numbers, and the units."""
    size = weight.shape[1]
    rows, columns = np.tril_indices(size)
    lower = np.ascontiguousarray(weight[:, rows, columns])
    unit = (np.abs(lower).max(axis=1) / 127).astype(np.float32)
    return np.rint(lower / unit[:, None]).astype(np.int8), unit


def unpack_weight(
    packed: NDArray[np.int8], unit: NDArray[np.float32], blocks: int, size: int
) -> NDArray[np.float32]:
    """The inverse of `pack_weight`, after a check that the matrices are positive."""
    if packed.shape != (blocks, size * (size + 1) // 2) or unit.shape != (blocks,):
        raise ValueError("a weight has another shape than its layers")
    out = np.zeros((blocks, size, size), np.float32)
    rows, columns = np.tril_indices(size)
    out[:, rows, columns] = out[:, columns, rows] = packed * unit[:, None]
    if not np.isfinite(out).all() or np.linalg.eigvalsh(out.astype(np.float64)).min() <= 0:
        raise ValueError("a weight is not positive")
    return out


def _unpacked(
    tensors: Mapping[str, NDArray[Any]], layout: Layout, group: int, which: int, fineness: int
) -> Transform:
    prefix, width, kind = f"{group}.{HALVES[which]}.", layout.width(group, which), layout.kind(group)
    scale = tensors[prefix + "scale"].astype(np.int32)
    mean = tensors[prefix + "mean"].astype(np.float32)
    if scale.ndim != 1 or mean.shape != (width,) or not np.isfinite(mean).all():
        raise ValueError("a mean or a scale has another shape than its layers")
    check_rank(len(scale), width)
    if scale.size and np.abs(scale).max() > MAX_UNITS:
        raise ValueError("a scale is out of range")
    basis = unpack_basis(tensors[prefix + "basis"].tobytes(), scale, width, fineness)
    weight = None
    if prefix + "weight" in tensors:
        size = kind.value_dim if which else kind.key_dim
        weight = unpack_weight(
            tensors[prefix + "weight"], tensors[prefix + "weight_unit"], width // size, size
        )
    return Transform(mean, basis, scale, weight)


def find(source: Any) -> Calibration:
    """A calibration: itself, the path of its file, or the name of an installed one.

    Raises
    ------
    UnknownModel
        If there is none of that name, or the file is no calibration.
    """
    if isinstance(source, Calibration):
        return source
    path = Path(source)
    if path.suffix == ".safetensors" or path.is_file():
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return Calibration.from_tensors(load_file(path))
        except (OSError, SafetensorError, UnsupportedInputError) as error:
            raise UnknownModel(f"{path}: {error}") from error
    return _loaded(models.named(str(source), "kv"))


def find_by_id(identifier: bytes) -> Calibration:
    """The installed calibration that a stream names.

    Raises
    ------
    UnknownModel
        If it is not installed.
    """
    return _loaded(models.find(identifier))


def installed_for(cache: KVCache) -> Calibration | None:
    """The installed calibration of the cache's model, if it has a name and there is one that fits."""
    for calibration in _named(cache.model):
        try:
            calibration.with_layout(cache)
        except SiglumError:
            continue
        return calibration
    return None


def named_for(model: str) -> Calibration | None:
    """The installed calibration of a model of this name, or None."""
    return next(_named(model), None)


def _named(model: str) -> Iterator[Calibration]:
    name = _plain(model)
    for found in models.catalogue() if name else ():
        if found.codec == "kv" and name in map(_plain, found.card.get("models", [])):
            with suppress(SiglumError):
                yield _loaded(found)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.rsplit("/", 1)[-1].lower())


@lru_cache(4)
def _loaded(model: models.Model) -> Calibration:
    try:
        return Calibration.from_tensors(models.load(model))
    except UnsupportedInputError as error:
        raise UnknownModel(f"{model.path}: {error}") from error
