"""Rivals of the kv codec: every one gives back a cache, costs what it should, and obeys its own laws."""

from __future__ import annotations

import math
from functools import cache as once
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs.kv.baselines import BASELINES, bits, decode
from siglum.codecs.kv.baselines.frame import MODULES
from siglum.codecs.kv.baselines.llama import hadamard
from siglum.codecs.kv.baselines.turboquant import lloyd_max
from siglum.codecs.kv.cache import KVCache, as_float, from_float
from siglum.codecs.kv.rope import Rope
from siglum.errors import ChecksumMismatch, NotSiglumFile, UnknownCodecError, UnsupportedInputError

LAYERS, HEADS, TOKENS, DIM = 3, 1, 110, 64
ROPE = Rope(10000.0, DIM)
FREE = [name for name in MODULES if name not in ("kvtc", "matryoshka", "think", "group-vq", "cachegen-paper")]
FITTED = [name for name in MODULES if name not in FREE]


def made(seed: int, tokens: int = TOKENS, dtype: str = "float16") -> KVCache:
    """A cache with what real ones have: correlated channels, large means of keys, a few channels far larger."""
    mixing = np.random.default_rng(99).standard_normal((2, LAYERS, HEADS, 12, DIM)) / 3
    mean = np.random.default_rng(98).standard_normal((LAYERS, HEADS, 1, DIM)) * 2
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, LAYERS, HEADS, tokens, 12)) @ mixing + 0.1 * rng.standard_normal(
        (2, LAYERS, HEADS, tokens, DIM)
    )
    still = (x[0] + mean).astype(np.float32)
    pairs = [
        (from_float(ROPE.turn(still[i], 0), dtype), from_float(x[1, i].astype(np.float32), dtype))
        for i in range(LAYERS)
    ]
    return KVCache.from_arrays(pairs, rope=ROPE, dtype=dtype, model="tiny")


@once
def fitted(name: str) -> dict[str, np.ndarray]:
    queries = {
        "energy": np.ones((LAYERS, HEADS, DIM), np.float32),
        "output": np.ones((LAYERS, HEADS, DIM), np.float32),
    }
    module = import_module(f"siglum.codecs.kv.baselines.{MODULES[name]}")
    return dict(module.fit([made(seed) for seed in (1, 2, 3, 4)], queries))


def get(name: str, **config: object):
    return BASELINES.get(name, **config, **({"fitted": fitted(name)} if name in FITTED else {}))


def error(one: KVCache, other: KVCache, which: int) -> float:
    """Mean squared error over variance."""
    x, y = (np.stack([as_float(layer[which], c.dtype) for layer in c.layers]) for c in (one, other))
    return float(np.square(x - y).sum() / np.square(x - x.mean(2, keepdims=True)).sum())


def size(count: float) -> tuple[float, float]:
    """Bounds of a file: what the method needs, and room for the header."""
    return count, count + 700


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(("sinks", "window"), [(4, 0), (0, 0), (3, 17)])
def test_a_cache_comes_back(name: str, sinks: int, window: int) -> None:
    cache = made(0)
    codec = get(name, sinks=sinks, window=window)
    data = codec.encode(cache)
    assert data == codec.encode(cache)
    found = decode(data, fitted(name) if name in FITTED else None)
    assert found.dtype == cache.dtype and found.model == "tiny" and found.tokens == TOKENS
    for mine, theirs in zip(cache.layers, found.layers, strict=True):
        assert theirs.rope == ROPE
        for which in (0, 1):
            assert theirs[which].shape == mine[which].shape
            assert np.isfinite(theirs[which]).all()
            np.testing.assert_array_equal(theirs[which][:, :sinks], mine[which][:, :sinks])
            np.testing.assert_array_equal(
                theirs[which][:, TOKENS - window :], mine[which][:, TOKENS - window :]
            )
    assert error(cache, found, 0) < 1.1
    assert error(cache, found, 1) < 1.1


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("tokens", [1, 4, 5, 33])
def test_short_caches(name: str, tokens: int) -> None:
    cache = made(0, tokens)
    codec = get(name)
    found = codec.decode(codec.encode(cache))
    assert found.tokens == tokens
    if tokens <= 4:
        np.testing.assert_array_equal(found.layers[0].values, cache.layers[0].values)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("name", ["int8-token", "q8_0"])
def test_types(name: str, dtype: str) -> None:
    cache = made(0, dtype=dtype)
    found = decode(get(name).encode(cache))
    assert found.dtype == dtype
    assert error(cache, found, 0) < 1e-3


MIDDLE = LAYERS * HEADS * (TOKENS - 4)  # vectors of keys, and as many of values
RAW = LAYERS * HEADS * 4 * DIM * 2 * 2  # bytes of the sinks


@pytest.mark.parametrize(
    ("name", "per_vector"),
    [
        ("none", 2 * DIM * 2),
        ("int8-token", 2 * (DIM + 4)),
        ("int4-token", 2 * (DIM / 2 + 4)),
        ("hf-int4", 2 * (DIM / 2 + 4)),
        ("q8_0", 2 * (DIM + DIM / 32 * 2)),
        ("q4_0", 2 * (DIM / 2 + DIM / 32 * 2)),
        ("q4_0-hadamard", 2 * (DIM / 2 + DIM / 32 * 2)),
        ("turboquant", 2 * (DIM / 2 + 2)),
    ],
)
def test_sizes_are_those_of_the_method(name: str, per_vector: float) -> None:
    low, high = size(RAW + MIDDLE * per_vector)
    assert low <= len(get(name).encode(made(0))) <= high


def test_kivi_costs_its_bits_and_scales() -> None:
    rest = (TOKENS - 4) % 32
    keys = LAYERS * HEADS * DIM * ((TOKENS - 4 - rest) * (0.5 + 4 / 32) + rest * 2)
    values = MIDDLE * (DIM / 2 + DIM / 32 * 4)
    low, high = size(RAW + keys + values)
    assert low <= len(get("kivi-4").encode(made(0))) <= high


def test_tables_of_cachegen_are_in_its_file() -> None:
    tables = 2 * LAYERS * HEADS * DIM * 33 * 2
    assert len(get("cachegen").encode(made(0))) > tables
    assert len(get("cachegen", chunk=32).encode(made(0))) > 4 * tables


@given(st.integers(1, 8), st.integers(0, 99), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_codes_of_few_bits(width: int, count: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 2**width, count).astype(np.uint8)
    data = bits.pack(codes, width)
    assert len(data) == bits.size_of(count, width)
    np.testing.assert_array_equal(bits.unpack(data, width, (count,)), codes)


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_levels_err_by_half_a_step(width: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((7, 32)).astype(np.float32)
    codes, scale, low = bits.to_levels(x, width)
    step = np.ptp(x, axis=1) / (2**width - 1)
    limit = step / 2 + 3e-3 * np.abs(x).max()  # minima and steps are float16
    assert (np.abs(bits.from_levels(codes, scale, low) - x).max(1) <= limit).all()


def test_a_hadamard_rotation_is_its_own_inverse_and_keeps_lengths() -> None:
    x = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
    y = hadamard(x)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), np.linalg.norm(x, axis=1), rtol=1e-5)
    np.testing.assert_allclose(hadamard(y), x, atol=1e-5)


@pytest.mark.parametrize(("width", "expected"), [(1, 0.3634), (2, 0.1175), (3, 0.03454), (4, 0.009497)])
def test_levels_of_lloyd_and_max(width: int, expected: float) -> None:
    levels = lloyd_max(width)
    x = np.random.default_rng(0).standard_normal(400_000)
    codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, x)
    assert math.isclose(float(np.square(x - levels[codes]).mean()), expected, rel_tol=0.02)


@pytest.mark.parametrize(
    ("name", "setting", "values"),
    [
        ("turboquant", "key_bits", (2, 3, 4)),
        ("cachegen", "level", (2, 1, 0)),
        ("cachegen-paper", "step", (1.5, 1.0, 0.5)),
        ("kvtc", "budget", (0.5, 1.0, 2.0, 4.0)),
        ("gear", "bits", (2, 4)),
        ("xkv", "rank", (4, 16, 64)),
        ("matryoshka", "energy", (0.5, 0.9, 0.999)),
        ("think", "share", (0.5, 0.3, 0.1)),
        ("group-vq", "stages", (1, 2, 3)),
    ],
)
def test_more_bytes_err_less(name: str, setting: str, values: tuple[float, ...]) -> None:
    cache = made(0)
    files = [get(name, **{setting: value}).encode(cache) for value in values]
    errors = [error(cache, _decoded(name, data), 0) for data in files]
    assert sorted(errors, reverse=True) == errors
    assert errors[-1] < errors[0]
    assert sorted(map(len, files)) == [len(data) for data in files]


def _decoded(name: str, data: bytes) -> KVCache:
    return decode(data, fitted(name) if name in FITTED else None)


def test_full_rank_is_exact_but_for_float16() -> None:
    cache = made(0)
    for name, config in (("xkv", {"rank": 512, "group": 1}), ("matryoshka", {"energy": 1.0})):
        found = _decoded(name, get(name, **config).encode(cache))
        assert error(cache, found, 0) < 1e-4
        assert error(cache, found, 1) < 1e-4


def test_outliers_and_a_low_rank_help() -> None:
    cache = made(0)
    plain = decode(get("gear", bits=2, outliers=0.0, rank=0).encode(cache))
    apart = decode(get("gear", bits=2, outliers=0.04, rank=0).encode(cache))
    whole = decode(get("gear", bits=2, outliers=0.04, rank=8).encode(cache))
    for which in (0, 1):
        errors = [error(cache, each, which) for each in (plain, apart, whole)]
        assert errors == sorted(errors, reverse=True)


def test_think_leaves_values_and_most_keys_alone() -> None:
    cache = made(0)
    found = _decoded("think", get("think", share=0.25).encode(cache))
    for mine, theirs in zip(cache.layers, found.layers, strict=True):
        np.testing.assert_array_equal(theirs.values, mine.values)
        gone = (theirs.keys[:, 4:] == 0).all(1)
        assert (gone.sum(1) == DIM // 4).all()


def test_damage_is_found() -> None:
    data = get("q4_0").encode(made(0))
    for damaged in (data[:-1], data[:100] + bytes([data[100] ^ 1]) + data[101:], data[:5]):
        with pytest.raises(ChecksumMismatch):
            decode(damaged)
    with pytest.raises(NotSiglumFile):
        decode(b"no")


def test_what_cannot_be_coded_is_refused() -> None:
    cache = made(0)
    uneven = KVCache([cache.layers[0], cache.layers[1]._replace(rope=None)], cache.dtype)
    with pytest.raises(UnsupportedInputError, match="one shape"):
        get("q4_0").encode(uneven)
    keys = cache.layers[0].keys.copy()
    keys[0, 9, 0] = np.inf
    with pytest.raises(UnsupportedInputError, match="finite"):
        get("q4_0").encode(KVCache([cache.layers[0]._replace(keys=keys)], cache.dtype))
    with pytest.raises(UnknownCodecError):
        BASELINES.get("q4")
