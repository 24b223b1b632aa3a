"""Caches as what rivals are fitted to."""

from __future__ import annotations

import numpy as np

from siglum.codecs.kv.baselines.frame import Arrays
from siglum.codecs.kv.cache import KVCache, as_float

SINKS = 4


def middle(cache: KVCache) -> Arrays:
    """All tokens of a cache but the first, whose size is out of all proportion."""
    stacked = [
        np.stack([as_float(layer[:2][i][:, SINKS:], cache.dtype) for layer in cache.layers]) for i in (0, 1)
    ]
    return Arrays(stacked[0], stacked[1], cache.layers[0].rope, cache.position + SINKS)
