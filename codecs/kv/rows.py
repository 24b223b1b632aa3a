"""Numbers of a group of layers, a row a token: as they are, or as they are transformed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.blocks import Part, name_of
from siglum.codecs.kv.cache import KVCache, as_float
from siglum.codecs.kv.coding import Analyser, turns_of
from siglum.codecs.kv.layout import Layout
from siglum.errors import UnsupportedInputError

TOO_LARGE = "the cache has numbers that are too large; only lossless coding takes them"


def parts_of(
    cache: KVCache, layout: Layout, group: int, which: int, first: int, stop: int
) -> list[NDArray[Any]]:
    """Keys (0) or values (1) of each layer of a group, (heads, tokens, channels), as views."""
    layers = [cache.layers[number] for number in layout.groups[group]]
    return [
        np.asarray((layer.values if which else layer.keys)[:, first - layer.start : stop - layer.start])
        for layer in layers
    ]


def rows_of(cache: KVCache, layout: Layout, group: int, which: int, first: int, stop: int) -> NDArray[Any]:
    """Keys (0) or values (1) of a group of layers as they are, (tokens, layers * heads * channels).

    Tokens are counted within `cache`.
    """
    stacked = np.stack(
        parts_of(cache, layout, group, which, first, stop)
    )  # (layers, heads, tokens, channels)
    return np.ascontiguousarray(stacked.transpose(2, 0, 1, 3)).reshape(stop - first, -1)


def floats_of(
    cache: KVCache, layout: Layout, group: int, which: int, first: int, stop: int, origin: int
) -> NDArray[np.float32]:
    """As `rows_of`, in float32, with the rotary embedding of keys undone.

    Parameters
    ----------
    origin
        Number that token 0 of `cache` has in the file.
    """
    parts = []
    rope = None if which else layout.kind(group).rope
    for part in parts_of(cache, layout, group, which, first, stop):
        values = as_float(part, cache.dtype)
        if rope is not None:
            values = rope.turn(values, layout.position + origin + first, back=True)
        parts.append(values)
    stacked = np.stack(parts)
    rows = np.ascontiguousarray(stacked.transpose(2, 0, 1, 3)).reshape(stop - first, -1)
    check_finite(rows, Part(origin + first, stop - first, group, which), layout)
    return rows


def components_of(
    cache: KVCache,
    layout: Layout,
    group: int,
    which: int,
    first: int,
    stop: int,
    origin: int,
    analyser: Analyser,
) -> NDArray[np.float32]:
    """(tokens, count) components in steps; parameters are those of `floats_of`.

    Raises
    ------
    UnsupportedInputError
        If a number is not finite.
    """
    rope = None if which else layout.kind(group).rope
    turns = turns_of(rope, layout.position + origin + first, stop - first)
    made = analyser(parts_of(cache, layout, group, which, first, stop), cache.dtype, turns)
    if made is None:
        floats_of(cache, layout, group, which, first, stop, origin)  # which names the token
        raise UnsupportedInputError(TOO_LARGE)
    return made


def check_finite(values: NDArray[np.float32], part: Part, layout: Layout) -> None:
    """Refuse numbers that cannot be quantised, naming the token.

    Raises
    ------
    UnsupportedInputError
        If there are any.
    """
    if np.isfinite(values.sum(dtype=np.float64)):
        return
    token = part.first + int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
    raise UnsupportedInputError(
        f"the cache has infinite or undefined numbers at token {token} ({name_of(part, layout)}); "
        "only lossless coding takes them"
    )
