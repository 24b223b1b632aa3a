"""How a cache is cut: groups of layers, blocks of tokens; and how the header of a file says it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from siglum.codecs.container import Header
from siglum.codecs.kv.cache import DTYPES, KVCache
from siglum.codecs.kv.rope import Rope
from siglum.errors import MalformedHeader, SiglumError

CODEC_ID = 64
CODEC_VERSION = 0
LAYOUT_KEY = 17
MODEL_KEY = 18
FIXED_KEY = 19
BLOCK = 64  # tokens
MAX_LAYERS = 4096
MAX_EXTENT = 2**16  # heads or channels
KEYS, VALUES = 0, 1


@dataclass(frozen=True)
class Kind:
    """What layers have in common that are coded together.

    Attributes
    ----------
    heads, key_dim, value_dim
        Shape of a token's keys and values.
    start
        First token that these layers have.
    rope
        How their keys were turned.
    """

    heads: int
    key_dim: int
    value_dim: int
    start: int = 0
    rope: Rope | None = None

    def width(self, which: int) -> int:
        """Numbers a token and layer of keys (0) or values (1)."""
        return self.heads * (self.value_dim if which else self.key_dim)


@dataclass(frozen=True)
class Layout:
    """Geometry of a cache and how it is cut.

    Attributes
    ----------
    kinds
        Kinds of layers.
    kind_of
        Kind of each layer.
    groups
        Layers that share a transform, each of one kind; every layer is in one of them.
    dtype, position, model
        As in `KVCache`.
    """

    kinds: tuple[Kind, ...]
    kind_of: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    dtype: str = "float16"
    position: int = 0
    model: str = ""

    @classmethod
    def of(cls, cache: KVCache, size: int) -> Layout:
        """The layout of a cache in groups of at most `size` layers of a kind, in order."""
        kinds: list[Kind] = []
        kind_of: list[int] = []
        for keys, values, rope, start in cache.layers:
            kind = Kind(keys.shape[0], keys.shape[2], values.shape[2], start, rope)
            if kind not in kinds:
                kinds.append(kind)
            kind_of.append(kinds.index(kind))
        groups = []
        for number in range(len(kinds)):
            members = [layer for layer, kind in enumerate(kind_of) if kind == number]
            groups += [tuple(members[i : i + size]) for i in range(0, len(members), size)]
        return cls(
            tuple(kinds), tuple(kind_of), tuple(sorted(groups)), cache.dtype, cache.position, cache.model
        )

    def kind(self, group: int) -> Kind:
        """The kind of a group's layers."""
        return self.kinds[self.kind_of[self.groups[group][0]]]

    def width(self, group: int, which: int) -> int:
        """Numbers a token of a group's keys (0) or values (1)."""
        return len(self.groups[group]) * self.kind(group).width(which)

    @cached_property
    def token_elements(self) -> int:
        """Numbers a token in all layers."""
        return sum(self.width(group, which) for group in range(len(self.groups)) for which in (KEYS, VALUES))

    @property
    def shape(self) -> tuple[int, ...]:
        """The header's: (layers, 2, heads, channels) of a token, or how many numbers where layers differ."""
        first = self.kinds[0]
        if all(kind.heads == first.heads for kind in self.kinds) and all(
            dim == first.key_dim for kind in self.kinds for dim in (kind.key_dim, kind.value_dim)
        ):
            return (len(self.kind_of), 2, first.heads, first.key_dim)
        return (self.token_elements,)

    def to_bytes(self) -> bytes:
        """JSON for the header's field `LAYOUT_KEY`."""
        fields: dict[str, Any] = {
            "kinds": [_kind_fields(kind) for kind in self.kinds],
            "groups": [[self.kind_of[group[0]], *_runs(group)] for group in self.groups],
        }
        if self.position:
            fields["position"] = self.position
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def of_header(cls, header: Header) -> Layout:
        """The layout that a header describes.

        Raises
        ------
        MalformedHeader
            If it describes none.
        """
        field = header.extra.get(LAYOUT_KEY)
        model = header.extra.get(MODEL_KEY, b"")
        try:
            if not isinstance(field, bytes) or not isinstance(model, bytes):
                raise ValueError("a field is missing or of the wrong kind")
            layout = cls.parse(field, header.dtype, model.decode())
        except (ValueError, KeyError, TypeError, RecursionError, SiglumError) as error:
            raise MalformedHeader(f"the header describes no cache ({error}): the file is damaged") from error
        if layout.shape != header.shape:
            raise MalformedHeader(
                f"the header's shape {header.shape} is not that of its layers, {layout.shape}"
            )
        return layout

    @classmethod
    def parse(cls, data: bytes, dtype: str, model: str) -> Layout:
        """The inverse of `to_bytes`; raises ValueError, KeyError or TypeError if it is none."""
        fields = json.loads(data)
        kinds = tuple(_kind_of(entry) for entry in fields["kinds"])
        groups, kind_of = [], {}
        for number, *runs in fields["groups"]:
            members: list[int] = []
            for first, count in zip(runs[::2], runs[1::2], strict=True):
                if not 0 <= _integer(first) < _integer(first) + _integer(count) <= MAX_LAYERS:
                    raise ValueError("a group has layers that cannot be")
                members += range(first, first + count)
            if not 0 <= _integer(number) < len(kinds):
                raise ValueError("a group is of no kind")
            kind_of.update(dict.fromkeys(members, number))
            groups.append(tuple(members))
        layers = sum(map(len, groups))
        position = _integer(fields.get("position", 0))
        if sorted(kind_of) != list(range(layers)) or not layers or not all(groups):
            raise ValueError("layers are missing or doubled")
        if dtype not in DTYPES or not 0 <= position < 2**31:
            raise ValueError("type or position is none of a cache")
        return cls(kinds, tuple(kind_of[i] for i in range(layers)), tuple(groups), dtype, position, model)

    def blocks(self, first: int, stop: int, sinks: int) -> Iterator[tuple[int, int]]:
        """Tokens first to stop - 1 in blocks that end at sinks and at multiples of `BLOCK`."""
        while first < stop:
            end = min(sinks if first < sinks else (first // BLOCK + 1) * BLOCK, stop)
            yield first, end
            first = end


def _kind_fields(kind: Kind) -> dict[str, Any]:
    fields: dict[str, Any] = {"shape": [kind.heads, kind.key_dim, kind.value_dim]}
    if kind.start:
        fields["start"] = kind.start
    if kind.rope is not None:
        fields["rope"] = kind.rope.to_dict()
    return fields


def _kind_of(fields: Mapping[str, Any]) -> Kind:
    heads, key_dim, value_dim = (_integer(extent) for extent in fields["shape"])
    start, rope = _integer(fields.get("start", 0)), fields.get("rope")
    if not 1 <= min(heads, key_dim, value_dim) <= max(heads, key_dim, value_dim) <= MAX_EXTENT:
        raise ValueError("heads or channels are out of range")
    if not 0 <= start < 2**31:
        raise ValueError("a first token is out of range")
    made = None if rope is None else Rope.from_dict(rope)
    if made is not None and made.dim > key_dim:
        raise ValueError("more channels are turned than there are")
    return Kind(heads, key_dim, value_dim, start, made)


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is no integer")
    return value


def _runs(members: tuple[int, ...]) -> Iterator[int]:
    """First and length of each run of consecutive numbers."""
    begin = 0
    for i in range(1, len(members) + 1):
        if i == len(members) or members[i] != members[i - 1] + 1:
            yield members[begin]
            yield i - begin
            begin = i
