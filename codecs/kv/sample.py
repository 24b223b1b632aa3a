"""Tokens from all over a cache, from which its statistics are estimated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.cache import KVCache
from siglum.codecs.kv.coding import Analyser
from siglum.codecs.kv.layout import BLOCK, Layout
from siglum.codecs.kv.rows import components_of, floats_of

MOST = 384  # tokens of a sample


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

    def rows(self, group: int, which: int) -> NDArray[np.float32]:
        """(n, width) floats, with the rotary embedding of keys undone."""
        spans = self._spans(group)
        return np.concatenate([floats_of(self.cache, self.layout, group, which, a, b, 0) for a, b in spans])

    def components(self, group: int, which: int, analyser: Analyser) -> NDArray[np.float32]:
        """(n, count) components."""
        spans = self._spans(group)
        return np.concatenate(
            [components_of(self.cache, self.layout, group, which, a, b, 0, analyser) for a, b in spans]
        )

    def _spans(self, group: int) -> list[tuple[int, int]]:
        tokens = self.cache.tokens
        first = max(self.cache.layers[self.layout.groups[group][0]].start, min(self.sinks, tokens - 1))
        if tokens - first <= MOST:
            return [(first, tokens)]
        starts = np.linspace(first, tokens - BLOCK, MOST // BLOCK).astype(int)
        return [(int(start), int(start) + BLOCK) for start in starts]
