from __future__ import annotations

import numpy as np
import pytest

from siglum.entropy.adaptive import Adaptive
from siglum.errors import UsageError


def test_learns_a_static_distribution() -> None:
    rng = np.random.default_rng(0)
    p = 1 / np.arange(1, 257) ** 1.2
    p /= p.sum()
    symbols = rng.choice(256, 300_000, p=p)
    bits = Adaptive(np.ones(256, np.int32)).bits(symbols)
    assert bits < 1.005 * -np.log2(p[symbols]).sum()


def test_short_memory_follows_a_change() -> None:
    rng = np.random.default_rng(1)
    symbols = np.concatenate([rng.binomial(40, q, 20_000) for q in (0.1, 0.9, 0.2, 0.7)])
    static = Adaptive(np.ones(41, np.int32)).bits(symbols)
    moving = Adaptive(np.ones(41, np.int32), memory=1000, max_block=512).bits(symbols)
    assert moving < 0.85 * static


def test_contexts_and_an_earlier_fit_help() -> None:
    rng = np.random.default_rng(2)
    context = rng.integers(0, 4, 4000)
    symbols = rng.binomial(60, np.array([0.1, 0.4, 0.6, 0.9])[context])
    alone = Adaptive(np.ones(61, np.int32)).bits(symbols)
    with_context = Adaptive(np.ones((4, 61), np.int32))
    fitted = Adaptive.fit(symbols, context=context, alphabet=61)
    assert with_context.bits(symbols, context) < 0.85 * alone
    assert fitted.bits(symbols, context) < 0.97 * with_context.bits(symbols, context)


def test_large_alphabets_and_enormous_counts() -> None:
    symbols = np.random.default_rng(3).integers(0, 65536, 3000)
    for counts in (np.ones(65536, np.int64), np.full(65536, 2**31)):
        model = Adaptive(counts, memory=16)
        assert np.array_equal(model.decode(model.encode(symbols), shape=3000), symbols)


@pytest.mark.parametrize(
    "arguments",
    [
        {"counts": [1]},
        {"counts": [0, 1]},
        {"counts": [1.5, 2.0]},
        {"counts": np.ones(65537, np.int32)},
        {"counts": [1, 1], "memory": 3},
        {"counts": [1, 1], "first_block": 0},
        {"counts": [1, 1], "max_block": 2.0},
    ],
)
def test_bad_arguments(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Adaptive(**arguments)  # type: ignore[arg-type]
