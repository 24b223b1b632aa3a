"""Eviction before coding: what is kept, where it stands, what it costs."""

from __future__ import annotations

import numpy as np
import pytest

from siglum.codecs.kv.baselines import BASELINES, policy
from siglum.codecs.kv.baselines import decode as decode_baseline
from siglum.codecs.kv.cache import KVCache
from siglum.codecs.kv.rope import Rope

LAYERS, HEADS, TOKENS, DIM = 3, 2, 120, 64


def made() -> KVCache:
    x = np.random.default_rng(0).standard_normal((2, LAYERS, HEADS, TOKENS, DIM)).astype(np.float16)
    return KVCache.from_arrays(list(zip(*x, strict=True)), rope=Rope(10000.0, DIM))


def policies() -> list[policy.TokenPolicy]:
    mean = np.random.default_rng(1).standard_normal((LAYERS, HEADS, 3, DIM)).astype(np.float32)
    return [policy.KeyNorm(0.5), policy.ExpectedAttention(0.5, queries={"mean": mean})]


@pytest.mark.parametrize("chosen_by", policies(), ids=lambda one: type(one).__name__)
def test_sinks_and_the_latest_stay(chosen_by: policy.TokenPolicy) -> None:
    for places in chosen_by.choose(made()):
        assert places.shape == (HEADS, TOKENS // 2)
        assert (np.diff(places, axis=1) > 0).all()
        for head in places:
            assert {*range(4), *range(TOKENS - 32, TOKENS)} <= set(head.tolist())


@pytest.mark.parametrize("chosen_by", policies(), ids=lambda one: type(one).__name__)
def test_kept_keys_come_back_where_they_were(chosen_by: policy.TokenPolicy) -> None:
    cache = made()
    chosen = chosen_by.choose(cache)
    found = policy.restore(policy.evict(cache, chosen, merge=False), chosen)
    for mine, theirs, places in zip(cache.layers, found.layers, chosen, strict=True):
        keys = np.take_along_axis(mine.keys, places[..., None], 1)
        np.testing.assert_allclose(
            theirs.keys, keys, atol=2e-2, rtol=2e-3
        )  # turned there and back in float16
        np.testing.assert_array_equal(theirs.values, np.take_along_axis(mine.values, places[..., None], 1))


def test_it_composes_with_a_codec() -> None:
    cache, codec = made(), BASELINES.get("q8_0")
    whole = codec.encode(cache)
    data = policy.encode(cache, policy.KeyNorm(0.5), codec.encode)
    assert len(data) < 0.56 * len(whole)
    found = policy.decode(data, decode_baseline)
    assert found.tokens == TOKENS // 2
    everything = policy.decode(policy.encode(cache, policy.KeyNorm(1.0), codec.encode), decode_baseline)
    for mine, theirs in zip(cache.layers, everything.layers, strict=True):
        np.testing.assert_allclose(theirs.keys, mine.keys, atol=0.05)


def test_what_is_dropped_is_merged_into_its_likeness() -> None:
    keys = np.zeros((1, 60, 4), np.float16)
    keys[0, :, 0] = np.arange(1, 61)  # all of one direction; the shortest stay, and the last
    values = np.ones((1, 60, 4), np.float16)
    values[0, 30] = 5
    cache = KVCache.from_arrays([(keys, values)], rope=None)
    kept = policy.evict(cache, policy.KeyNorm(0.6).choose(cache))
    assert kept.layers[0].values.max() > 1


def test_a_head_keeps_what_is_attended_to() -> None:
    cache = KVCache.from_arrays(
        [(np.ones((1, 100, 8), np.float16) * (np.arange(100) % 2)[None, :, None].astype(np.float16),) * 2],
        rope=None,
    )
    mean = np.ones((1, 1, 1, 8), np.float32)
    (places,) = policy.ExpectedAttention(0.5, sinks=0, window=0, queries={"mean": mean}).choose(cache)
    assert (places % 2 == 1).all()
