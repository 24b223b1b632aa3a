"""Which tokens to keep at all, before a codec sees the cache: eviction that composes with any of them.

In the manner of PrefixKV (arXiv 2412.03409) and EMS (arXiv 2412.08521): each head keeps its own tokens by how much
attention they get, the first and the latest always, and what is dropped is merged into what stays. Those methods
look at the attention of the prompt's own queries; a cache has none, so `ExpectedAttention` takes the mean queries
of a calibration set instead. All heads keep equally many tokens: layers of several lengths are no cache that
transformers could go on from, so that PrefixKV's sizes by layer are left out.

Kept tokens are coded as if they stood side by side: keys are turned back by their own positions and turned again
by their new ones, so that a codec that undoes rotary embeddings finds what it expects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.baselines import bits
from siglum.codecs.kv.baselines.frame import Floats, Sections
from siglum.codecs.kv.cache import KVCache, Layer, as_float, from_float
from siglum.codecs.kv.rope import Rope

Places = NDArray[np.int64]
OFFSETS = (1, 16, 64, 128, 256, 384)  # of future queries, in tokens after the cache


@dataclass(frozen=True)
class TokenPolicy(ABC):
    """Chooses tokens.

    Attributes
    ----------
    keep
        Share of the tokens that stay, 0 to 1.
    sinks, window
        First and last tokens that always do.
    """

    keep: float = 0.5
    sinks: int = 4
    window: int = 32

    @abstractmethod
    def scores(self, keys: Floats, rope: Rope | None, position: int, layer: int) -> Floats:
        """How much each token matters: keys (heads, tokens, channels) of a layer -> (heads, tokens)."""

    def choose(self, cache: KVCache) -> list[Places]:
        """Of each layer the numbers of the tokens that stay, ascending, (heads, kept)."""
        found = []
        for number, layer in enumerate(cache.layers):
            tokens = layer.tokens
            count = min(tokens, max(self.sinks + self.window, round(self.keep * tokens)))
            score = self.scores(
                as_float(layer.keys, cache.dtype), layer.rope, cache.position + layer.start, number
            )
            score = np.array(score, np.float64)
            score[:, : self.sinks] = score[:, max(0, tokens - self.window) :] = np.inf
            found.append(np.sort(np.argsort(-score, 1, kind="stable")[:, :count], 1))
        return found


@dataclass(frozen=True)
class KeyNorm(TokenPolicy):
    """Keys of small norm stay, which attract attention (Devoto et al., arXiv 2406.11430)."""

    def scores(self, keys: Floats, rope: Rope | None, position: int, layer: int) -> Floats:  # noqa: D102
        return -np.linalg.norm(keys, axis=-1)


@dataclass(frozen=True)
class ExpectedAttention(TokenPolicy):
    """Tokens stay that the mean query of a calibration set, at several distances, attends to.

    Attributes
    ----------
    queries
        Mean queries before their rotary embedding under "mean", (layers, key heads, queries a head, channels).
    """

    queries: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)

    def scores(self, keys: Floats, rope: Rope | None, position: int, layer: int) -> Floats:  # noqa: D102
        mean = np.asarray(self.queries["mean"][layer], np.float32)
        last = position + keys.shape[1]
        total = np.zeros(keys.shape[:2], np.float32)
        for offset in OFFSETS:
            query = mean if rope is None else rope.turn(mean[..., None, :], last + offset)[..., 0, :]
            logits = query @ keys.swapaxes(1, 2) / np.float32(np.sqrt(keys.shape[-1]))
            weights = np.exp(logits - logits.max(-1, keepdims=True))
            total += (weights / weights.sum(-1, keepdims=True)).sum(1)
        return total


def evict(cache: KVCache, chosen: list[Places], *, merge: bool = True) -> KVCache:
    """The tokens that were chosen, at neighbouring positions.

    Parameters
    ----------
    merge
        Values of a dropped token are averaged with those of the kept token whose key is most like its own.
    """
    layers = []
    for layer, places in zip(cache.layers, chosen, strict=True):
        keys, values = as_float(layer.keys, cache.dtype), as_float(layer.values, cache.dtype)
        if layer.rope is not None:
            keys = layer.rope.turn(keys, cache.position + layer.start, back=True)
        kept = np.take_along_axis(keys, places[..., None], 1)
        joined = _merged(keys, values, places) if merge else np.take_along_axis(values, places[..., None], 1)
        if layer.rope is not None:
            kept = layer.rope.turn(kept, cache.position)
        layers.append(Layer(from_float(kept, cache.dtype), from_float(joined, cache.dtype), layer.rope))
    return KVCache(layers, cache.dtype, cache.model, cache.position)


def restore(kept: KVCache, chosen: list[Places]) -> KVCache:
    """The inverse of `evict` for keys: turned again by their first positions; tokens that are gone stay away."""
    layers = []
    for layer, places in zip(kept.layers, chosen, strict=True):
        keys = as_float(layer.keys, kept.dtype)
        if layer.rope is not None:
            still = layer.rope.turn(keys, kept.position, back=True)
            most = int(places.max()) + 1
            wide = np.zeros((len(keys), most, keys.shape[-1]), np.float32)
            np.put_along_axis(wide, places[..., None], still, 1)
            keys = np.take_along_axis(layer.rope.turn(wide, kept.position), places[..., None], 1)
        layers.append(Layer(from_float(keys, kept.dtype), layer.values, layer.rope))
    return KVCache(layers, kept.dtype, kept.model, kept.position)


def encode(cache: KVCache, policy: TokenPolicy, coder: Callable[[KVCache], bytes]) -> bytes:
    """A file of the tokens that a policy keeps: a bit for each token of each head, and what a codec makes of them."""
    chosen = policy.choose(cache)
    out = Sections()
    out.put(np.array([len(chosen), *chosen[0].shape, cache.layers[0].tokens], "<u4"))
    flags = np.zeros((len(chosen), len(chosen[0]), cache.layers[0].tokens), np.uint8)
    np.put_along_axis(flags, np.stack(chosen), 1, 2)
    out.put(bits.pack(flags, 1))
    out.put(coder(evict(cache, chosen)))
    return bytes(out.data)


def decode(data: bytes, coder: Callable[[bytes], KVCache]) -> KVCache:
    """The kept tokens of a file, at their own positions."""
    parts = Sections(data)
    layers, heads, count, tokens = (int(number) for number in parts.array("<u4", (4,)))
    flags = bits.unpack(parts.take(), 1, (layers, heads, tokens))
    places = np.nonzero(flags)[2].reshape(layers, heads, count)
    return restore(coder(parts.take()), list(places))


def _merged(keys: Floats, values: Floats, places: Places) -> Floats:
    heads, tokens, _ = keys.shape
    result = np.take_along_axis(values, places[..., None], 1)
    for head in range(heads):
        gone = np.setdiff1d(np.arange(tokens), places[head])
        unit = keys[head] / np.maximum(np.linalg.norm(keys[head], axis=-1, keepdims=True), 1e-9)
        like = unit[gone] @ unit[places[head]].T
        near, close = like.argmax(1), like.max(1) > 0.9  # only what is nearly the same
        np.add.at(result[head], near[close], values[head][gone[close]])
        result[head] /= (1 + np.bincount(near[close], minlength=len(places[head])))[:, None]
    return result
