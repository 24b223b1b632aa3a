"""Several sequences at once, one sequence in pieces, and work that runs ahead."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siglum import kv
from siglum.errors import BitstreamError, UnsupportedInputError
from siglum.kv.prefetch import ahead


def cache_of(tokens: int, layers: int = 5, seed: int = 0, dtype: str = "float16") -> kv.KVCache:
    rng = np.random.default_rng(seed)
    pairs = [rng.standard_normal((2, 2, tokens, 16)).astype(dtype) for _ in range(layers)]
    return kv.KVCache.from_arrays([(pair[0], pair[1]) for pair in pairs], rope=kv.Rope(10000.0, 16))


def same(a: kv.KVCache, b: kv.KVCache) -> bool:
    pairs = zip(a.layers, b.layers, strict=True)
    return all(np.array_equal(x, y) for p, q in pairs for x, y in zip(p[:2], q[:2], strict=True))


def test_pieces_make_the_whole() -> None:
    whole = cache_of(100)
    pieces = [whole.slice(0, 1), whole.slice(1, 64), whole.slice(64, 100)]
    assert same(kv.join(pieces), whole) and kv.join(pieces[1:]).position == 1
    for wrong in ([], [pieces[0], pieces[2]], [pieces[1], pieces[0]]):
        with pytest.raises(UnsupportedInputError):
            kv.join(wrong)
    other = cache_of(64, layers=4).slice(1, 64)
    with pytest.raises(UnsupportedInputError, match="4 layers of float16 do not go with 5"):
        kv.join([pieces[0], other])


def test_layers_and_tokens_come_in_order(tmp_path: Path) -> None:
    cache = cache_of(200)
    data = kv.compress(cache, lossless=True, group=2, threads=1)
    path = tmp_path / "cache.sgl"
    path.write_bytes(data)
    for source in (data, path):
        layers = list(kv.iter_layers(source, threads=1))
        assert [number for number, _ in layers] == [0, 1, 2, 3, 4]
        found = kv.KVCache([layer for _, layer in layers], cache.dtype)
        assert same(found, cache) and layers[0][1].rope == cache.layers[0].rope
        runs = list(kv.iter_tokens(source, 64, threads=1))
        assert [run.tokens for run in runs] == [64, 64, 64, 8] and same(kv.join(runs), cache)
    with pytest.raises(ValueError, match="multiple of 64"):
        next(kv.iter_tokens(data, 65))
    with pytest.raises(BitstreamError):
        list(kv.iter_layers(data[:-40]))
    some = kv.iter_layers(data)
    next(some)
    some.close()  # type: ignore[attr-defined]


def test_layers_that_interleave() -> None:
    """Groups of two shapes: each is decoded once, layers still come in order."""
    rng = np.random.default_rng(1)
    shapes = [(2, 70, 16), (1, 70, 32)] * 3
    pairs = [tuple(rng.standard_normal((2, *shape)).astype(np.float16)) for shape in shapes]
    cache = kv.KVCache.from_arrays(pairs)
    data = kv.compress(cache, lossless=True, group=6, threads=1)
    found = [layer for _, layer in kv.iter_layers(data)]
    assert same(kv.KVCache(found, cache.dtype), cache)


def test_the_next_is_made_while_this_one_is_used() -> None:
    begun = [threading.Event() for _ in range(4)]

    def job(number: int) -> Any:
        def work() -> int:
            begun[number].set()
            return number

        return work

    results = ahead([job(number) for number in range(4)], depth=2)
    assert next(results) == 0
    assert begun[1].wait(10) and begun[2].wait(10)
    time.sleep(0.01)
    assert not begun[3].is_set()
    assert list(results) == [1, 2, 3]

    def fail() -> int:
        raise RuntimeError("no")

    results = ahead([job(0), fail, job(1)])
    assert next(results) == 0
    with pytest.raises(RuntimeError, match="no"):
        next(results)
    with pytest.raises(ValueError, match="depth"):
        next(ahead([], depth=0))


def test_batches_of_transformers() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra llm)")
    torch.manual_seed(0)
    cache = transformers.DynamicCache()
    for layer in range(3):
        cache.update(torch.randn(2, 2, 50, 16).half(), torch.randn(2, 2, 50, 16).half(), layer)
    rows = kv.from_transformers(cache)
    again = kv.to_transformers([kv.decompress(kv.compress(row, lossless=True, threads=1)) for row in rows])
    for old, new in zip(cache.layers, again.layers, strict=True):
        assert torch.equal(old.keys, new.keys) and torch.equal(old.values, new.values)
    padded = kv.to_transformers([rows[0].slice(0, 20), rows[1]])
    mask = kv.attention_mask([rows[0].slice(0, 20), rows[1]], more=2)
    assert mask.shape == (2, 52) and mask.sum(1).tolist() == [22, 52]
    assert torch.equal(padded.layers[1].keys[0, :, 30:], cache.layers[1].keys[0, :, :20])
    assert not padded.layers[1].keys[0, :, :30].any() and padded.get_seq_length() == 50
    one = kv.to_transformers(rows[0])
    assert one.layers[0].keys.shape == (1, 2, 50, 16)
    for wrong in ([], [rows[0], cache_of(50)]):
        with pytest.raises(UnsupportedInputError):
            kv.to_transformers(wrong)
    with pytest.raises(UnsupportedInputError, match="empty"):
        kv.from_transformers(transformers.DynamicCache())


def test_prompts_of_different_lengths_go_on_together() -> None:
    """Two prompts are read alone, put into one batch, and go on as they would have alone."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra llm)")
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=256,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    prompts = [torch.randint(0, 97, (1, length)) for length in (30, 45)]
    last = torch.tensor([[5], [6]])
    wanted, rows = [], []
    with torch.no_grad():
        for number, ids in enumerate(prompts):
            cache = transformers.DynamicCache()
            model(ids, past_key_values=cache)
            rows += kv.from_transformers(cache, config)
            wanted.append(model(last[number : number + 1], past_key_values=cache).logits)
        batch, mask = kv.to_transformers(rows), kv.attention_mask(rows, more=1)
        positions = mask.sum(1, keepdim=True) - 1
        found = model(last, past_key_values=batch, attention_mask=mask, position_ids=positions).logits
    assert torch.allclose(found, torch.cat(wanted), atol=1e-4)
