"""Caches of random networks of several families through the same path. Needs transformers (extra llm)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import siglum
from siglum import errors, kv

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CASES = [
    ("LlamaConfig", {"hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 64}),
    ("LlamaConfig", {"hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 128}),
    ("Qwen2Config", {"hidden_size": 128, "num_attention_heads": 2, "num_key_value_heads": 2}),
    ("Qwen3Config", {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 96}),
    (
        "Gemma2Config",
        {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 256},
    ),
    (
        "Gemma3TextConfig",
        {
            "hidden_size": 64,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 128,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "sliding_window": 48,
        },
    ),
]


def cache_of(name: str, fields: dict[str, Any], tokens: int) -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    config = getattr(transformers, name)(**{**SIZES, "num_hidden_layers": 3, **fields})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    ids = torch.randint(3, 64, (1, tokens), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        filled = transformers.DynamicCache(config=config)
        return model, ids, model(ids, past_key_values=filled, use_cache=True).past_key_values


@pytest.mark.parametrize(("name", "fields"), CASES)
def test_any_geometry(name: str, fields: dict[str, Any]) -> None:
    model, ids, filled = cache_of(name, fields, 150)
    cache = kv.KVCache.from_transformers(filled, model.config)
    assert cache.tokens == 150
    exact = kv.decompress(kv.compress(cache, lossless=True))
    back = kv.decompress(kv.compress(cache, 80, calibration=None))
    for one, other, same in zip(cache.layers, back.layers, exact.layers, strict=True):
        assert (one.rope, one.start) == (other.rope, other.start)
        for a, b, c in zip(one[:2], other[:2], same[:2], strict=True):
            assert np.array_equal(a, c)
            assert np.sqrt(np.mean(np.square(a - b))) < 0.1 * np.sqrt(np.mean(np.square(a)))
    more = torch.randint(3, 64, (1, 5), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = model(torch.cat([ids, more], 1)).logits[0, -5:]
        got = model(more, past_key_values=back.to_transformers(model.config)).logits[0]
    assert torch.nn.functional.kl_div(got.log_softmax(-1), expected.softmax(-1), reduction="batchmean") < 0.01


def test_positions_are_where_the_tokens_were() -> None:
    model, _, filled = cache_of(*CASES[0], 130)
    cache = kv.KVCache.from_transformers(filled, model.config)
    back = kv.decompress(kv.compress(cache, 90, calibration=None), start=64)
    part = cache.slice(64, 130)
    assert back.position == 64
    assert np.abs(back.layers[0].keys - part.layers[0].keys).max() < 0.1 * np.abs(part.layers[0].keys).max()
    again = kv.decompress(kv.compress(back, 90, calibration=None))
    assert again.position == 64


def test_batches_are_chosen() -> None:
    model, _, _ = cache_of(*CASES[0], 10)
    ids = torch.randint(3, 64, (2, 10), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        filled = model(ids, use_cache=True).past_key_values
    with pytest.raises(errors.UnsupportedInputError, match="2 sequences"):
        kv.KVCache.from_transformers(filled, model.config)
    one = kv.KVCache.from_transformers(filled, model.config, batch=1)
    assert np.array_equal(one.layers[0].keys, filled.layers[0].keys[1].numpy())


def test_calibrating_a_network(tmp_path: Any) -> None:
    from siglum.codecs.kv.calibrate import calibrate, fit_calibration

    model, _, filled = cache_of(*CASES[0], 200)
    random = np.random.default_rng(0)
    texts = [random.integers(3, 64, 260).tolist() for _ in range(2)] + [[1, 2, 3]]
    seen: list[int] = []
    moments = calibrate(model, texts, context=200, continuation=40, group=2, progress=seen.append)
    assert seen == [1, 2]
    card = {"name": "random", "licence": "Apache-2.0", "models": ["random"]}
    made = fit_calibration(moments).save(tmp_path / "random.kvcal.safetensors", card)
    cache = kv.KVCache.from_transformers(filled, model.config)
    data = kv.compress(cache, 90, calibration=tmp_path / "random.kvcal.safetensors")
    back = kv.decompress(data, calibration=made)
    assert back.tokens == 200
    assert siglum.inspect(data).model == made.id.hex()
    with pytest.raises(errors.UsageError, match="longer"):
        calibrate(model, [[1, 2, 3]])
