from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from siglum.codecs.kv.cache import KVCache, as_float, from_float
from siglum.codecs.kv.calibrate import Moments, fit_calibration
from siglum.codecs.kv.calibration import Calibration
from siglum.codecs.kv.rope import Rope

ROPE = Rope(10000.0, 16)


def make_cache(
    tokens: int = 150, layers: int = 4, heads: int = 2, dim: int = 16, dtype: str = "float16", seed: int = 0
) -> KVCache:
    """Layers that depend on each other, keys with means, turned."""
    random = np.random.default_rng(seed)
    shared = random.standard_normal((tokens, 12)).astype(np.float32)
    mixing = np.random.default_rng(99)
    parts = []
    for _ in range(layers):
        pair = []
        for which in range(2):
            mix = mixing.standard_normal((12, heads * dim)) * (2 if which == 0 else 1)
            mean = mixing.standard_normal(heads * dim) * 3
            rows = shared @ mix + mean + 0.3 * random.standard_normal((tokens, heads * dim))
            part = rows.reshape(tokens, heads, dim).transpose(1, 0, 2).astype(np.float32)
            pair.append(from_float(ROPE.turn(part, 0) if which == 0 and dim == 16 else part, dtype))
        parts.append(tuple(pair))
    return KVCache.from_arrays(parts, rope=ROPE if dim == 16 else None, dtype=dtype)


@pytest.fixture
def cache() -> KVCache:
    return make_cache()


@pytest.fixture
def make() -> Callable[..., KVCache]:
    return make_cache


def make_calibration(path: Path) -> Calibration:
    """Of caches of `make_cache` with other seeds; gradients are noise."""
    moments = None
    for seed in range(1, 4):
        cache = make_cache(300, seed=seed)
        moments = moments or Moments(cache, 2)
        random = np.random.default_rng(seed)
        slopes = [
            layer._replace(
                keys=(0.002 * random.standard_normal(layer.keys.shape)).astype(np.float32),
                values=(0.002 * random.standard_normal(layer.values.shape)).astype(np.float32),
            )
            for layer in cache.layers
        ]
        moments.add(cache, KVCache(slopes, "float32"), 64)
    assert moments is not None
    card = {"name": "synthetic", "licence": "Apache-2.0", "models": ["Synthetic-1"]}
    return fit_calibration(moments).save(path, card)


def make_moved(cache: KVCache, by: float) -> KVCache:
    """The cache of another domain: values have other means, and their channels another order."""
    random = np.random.default_rng(5)
    layers = []
    for layer in cache.layers:
        offset = by * random.standard_normal((layer.values.shape[0], 1, layer.values.shape[2]))
        values = as_float(layer.values, cache.dtype)[:, :, ::-1] + offset
        layers.append(layer._replace(values=values.astype(np.float16)))
    return KVCache(layers, "float16", cache.model, cache.position)


def make_foreign(cache: KVCache, rank: int) -> KVCache:
    """The cache of another domain: its layers have a few directions in common that those of others have not."""
    random = np.random.default_rng(6)
    shared = random.standard_normal((cache.tokens, rank)) * 2
    layers = []
    for layer in cache.layers:
        heads, _, dim = layer.values.shape
        more = (
            (shared @ random.standard_normal((rank, heads * dim))).reshape(-1, heads, dim).transpose(1, 0, 2)
        )
        keys, values = (as_float(part, cache.dtype) + more for part in layer[:2])
        layers.append(layer._replace(keys=keys.astype(np.float16), values=values.astype(np.float16)))
    return KVCache(layers, "float16", cache.model, cache.position)


@pytest.fixture(scope="session")
def foreign() -> KVCache:
    """700 tokens of `make_foreign`."""
    return make_foreign(make_cache(700, seed=9), 6)


@pytest.fixture(scope="session")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """That of `make_calibration`."""
    return make_calibration(tmp_path_factory.mktemp("calibration") / "synthetic.kvcal.safetensors")


@pytest.fixture
def moved() -> Callable[[KVCache, float], KVCache]:
    return make_moved
