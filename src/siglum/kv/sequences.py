"""Caches of several sequences at once, and of one sequence in several pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from siglum.codecs.kv.cache import KVCache, torch_of
from siglum.errors import UnsupportedInputError, require_torch

__all__ = ["attention_mask", "from_transformers", "join", "to_transformers"]


def from_transformers(cache: Any, config: Any = None, *, model: str = "") -> list[KVCache]:
    """Every sequence of a transformers cache, copied to the CPU.

    Parameters
    ----------
    cache
        `DynamicCache` or its like, of any batch size.
    config, model
        As for `KVCache.from_transformers`.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import torch
    >>> layer = SimpleNamespace(keys=torch.zeros(3, 2, 7, 8), values=torch.zeros(3, 2, 7, 8))
    >>> [cache.tokens for cache in from_transformers(SimpleNamespace(layers=[layer]))]
    [7, 7, 7]
    """
    layers = list(cache.layers)
    if not layers or getattr(layers[0], "keys", None) is None or layers[0].keys.ndim != 4:
        raise UnsupportedInputError("the cache is empty: it has no keys (batch, heads, tokens, channels)")
    size = layers[0].keys.shape[0]
    return [KVCache.from_transformers(cache, config, model=model, batch=number) for number in range(size)]


def to_transformers(caches: KVCache | Sequence[KVCache], config: Any = None, device: Any = "cpu") -> Any:
    """One `DynamicCache` of all sequences; shorter ones are filled with zeros on the left.

    Parameters
    ----------
    caches
        One sequence, or several of the same layers and type.
    config
        The model's; needed where layers have sliding windows.
    device
        Where torch puts it.

    Raises
    ------
    UnsupportedInputError
        If the sequences do not fit together, or their lengths differ and a layer has a sliding window.
    """
    caches = [caches] if isinstance(caches, KVCache) else list(caches)
    if not caches:
        raise UnsupportedInputError("no sequence was given")
    if len(caches) == 1:
        return caches[0].to_transformers(config, device)
    require_torch("a cache of transformers")
    import torch
    from transformers import DynamicCache

    first, longest = caches[0], max(cache.tokens for cache in caches)
    for cache in caches[1:]:
        _check_alike(first, cache)
    if any(layer.start for cache in caches for layer in cache.layers) and len({c.tokens for c in caches}) > 1:
        raise UnsupportedInputError("sequences of different lengths cannot share layers with sliding windows")
    out: Any = DynamicCache(config=config) if config is not None else DynamicCache()
    for number in range(len(first.layers)):
        halves = []
        for half in ("keys", "values"):
            rows = [torch_of(getattr(cache.layers[number], half), cache.dtype) for cache in caches]
            wanted = longest - first.layers[number].start
            padded = [torch.nn.functional.pad(row, (0, 0, wanted - row.shape[1], 0)) for row in rows]
            halves.append(torch.stack(padded).to(device))
        out.update(*halves, number)
        if hasattr(out.layers[number], "cumulative_length"):
            out.layers[number].cumulative_length = longest
    return out


def attention_mask(caches: Sequence[KVCache], more: int = 0) -> Any:
    """The mask (batch, tokens + more) of int64 that hides what `to_transformers` filled in.

    Parameters
    ----------
    more
        Tokens that the model is about to see besides those of the cache.
    """
    require_torch("a mask")
    import torch

    longest = max(cache.tokens for cache in caches)
    rows = [[0] * (longest - cache.tokens) + [1] * (cache.tokens + more) for cache in caches]
    return torch.tensor(rows, dtype=torch.int64)


def join(pieces: Sequence[KVCache]) -> KVCache:
    """Consecutive pieces of a sequence as one.

    Raises
    ------
    UnsupportedInputError
        If a piece has other layers than the first, or does not begin where the one before it ends.

    Examples
    --------
    >>> whole = KVCache.from_arrays([(np.ones((2, 9, 4), np.float16),) * 2])
    >>> join([whole.slice(0, 4), whole.slice(4, 9)]).tokens
    9
    """
    if not pieces:
        raise UnsupportedInputError("no piece was given")
    first = pieces[0]
    if len(pieces) == 1:
        return first
    due = first.position + first.tokens
    for piece in pieces[1:]:
        _check_alike(first, piece)
        if piece.position != due or any(layer.start for layer in piece.layers):
            raise UnsupportedInputError(f"a piece begins at position {piece.position}, not at {due}")
        due += piece.tokens
    layers = []
    for number, layer in enumerate(first.layers):
        keys = np.concatenate([piece.layers[number].keys for piece in pieces], axis=1)
        values = np.concatenate([piece.layers[number].values for piece in pieces], axis=1)
        layers.append(layer._replace(keys=keys, values=values))
    return KVCache(layers, first.dtype, first.model, first.position, first.notes)


def _check_alike(first: KVCache, other: KVCache) -> None:
    if geometry(first) != geometry(other):
        raise UnsupportedInputError(
            f"{len(other.layers)} layers of {other.dtype} do not go with {len(first.layers)} of {first.dtype}, "
            "or their heads, channels or rotary embeddings differ"
        )


def geometry(cache: KVCache) -> tuple[Any, ...]:
    """What caches must have in common to be put together."""
    layers = [
        (layer.keys.shape[0], layer.keys.shape[2], layer.values.shape[2], layer.rope)
        for layer in cache.layers
    ]
    return cache.dtype, tuple(layers)
