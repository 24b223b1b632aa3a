"""Tokens from all over a cache, from which its statistics are estimated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.cache import KVCache
from siglum.codecs.kv.coding import Analyser, Turns, turns_of
from siglum.codecs.kv.layout import BLOCK, Layout
from siglum.codecs.kv.rows import TOO_LARGE, components_of, floats_of, parts_of
from siglum.errors import UnsupportedInputError

MOST = 384  # tokens of a sample
MANY = 1024  # of one that factors are fitted to


@dataclass(frozen=True)
class Sample:
    """Some tokens of a cache.

    Attributes
    ----------
    cache, layout
        What they are taken from.
    sinks
        How many of the first tokens are not like the others.
    """

    cache: KVCache
    layout: Layout
    sinks: int

    @property
    def tokens(self) -> int:
        """How many tokens there are to take from."""
        return max(min(layer.tokens for layer in self.cache.layers) - self.sinks, 0)

    def rows(self, group: int, which: int, most: int = MOST, of: int = MOST) -> NDArray[np.float32]:
        """(n, width) floats of at most `most` of the at most `of` tokens, with the rotary embedding of keys undone."""
        spans = self._spans(group, of, most)
        return np.concatenate([floats_of(self.cache, self.layout, group, which, a, b, 0) for a, b in spans])

    def places(self, group: int, most: int, of: int) -> NDArray[np.intp]:
        """Where tokens of `rows` stand among the components of at most `of`."""
        starts, begin = {}, 0
        for first, stop in self._spans(group, of, of):
            starts[first] = begin - first
            begin += stop - first
        found = []
        for first, stop in self._spans(group, of, most):
            start = max(key for key in starts if key <= first)
            found.append(np.arange(first, stop) + starts[start])
        return np.concatenate(found)

    def components(self, group: int, which: int, analyser: Analyser, most: int = MOST) -> NDArray[np.float32]:
        """(n, count) components of at most so many tokens."""
        spans = self._spans(group, most, most)
        layout, cache = self.layout, self.cache
        rope = None if which else layout.kind(group).rope
        pieces = [parts_of(cache, layout, group, which, first, stop) for first, stop in spans]
        turns = [turns_of(rope, layout.position + first, stop - first) for first, stop in spans]
        joined = [np.concatenate(layer, axis=1) for layer in zip(*pieces, strict=True)]
        cos, sin = (np.concatenate(tables) for tables in zip(*(turn[:2] for turn in turns), strict=True))
        made = analyser(joined, cache.dtype, Turns(cos, sin, turns[0].interleaved))
        if made is None:
            for first, stop in spans:  # which names the token
                components_of(cache, layout, group, which, first, stop, 0, analyser)
            raise UnsupportedInputError(TOO_LARGE)
        return made

    def _spans(self, group: int, of: int, most: int) -> list[tuple[int, int]]:
        tokens = self.cache.tokens
        first = max(self.cache.layers[self.layout.groups[group][0]].start, min(self.sinks, tokens - 1))
        if tokens - first <= of:
            if tokens - first <= most:
                return [(first, tokens)]
            of = (tokens - first) // BLOCK * BLOCK
        starts = np.linspace(first, tokens - BLOCK, of // BLOCK).astype(int)
        chosen = np.linspace(0, len(starts) - 1, min(most, of) // BLOCK).astype(int)
        return [(int(start), int(start) + BLOCK) for start in starts[chosen]]
