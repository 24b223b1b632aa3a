from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs.kv.cache import KVCache, Layer, as_float, from_float
from siglum.codecs.kv.files import read_cache, read_tensors, write_cache
from siglum.codecs.kv.rope import Rope, ropes_of_config
from siglum.errors import UnsupportedInputError


@pytest.mark.parametrize(
    "rope",
    [
        Rope(10000.0, 32),
        Rope(10000.0, 16),
        Rope(1e6, 32, "interleaved"),
        Rope(1e4, 32, "half", "linear", (8.0,)),
        Rope(5e5, 32, "half", "llama3", (8.0, 1.0, 4.0, 8192.0)),
    ],
)
def test_turning_back_undoes_turning(rope: Rope) -> None:
    keys = np.random.default_rng(0).standard_normal((2, 3, 40, 32)).astype(np.float32)
    turned = rope.turn(keys, 1000)
    assert not np.allclose(turned, keys, atol=0.1)
    assert np.allclose(rope.turn(turned, 1000, back=True), keys, atol=1e-5)
    assert Rope.from_dict(json.loads(json.dumps(rope.to_dict()))) == rope


def test_turning_depends_on_distance_only() -> None:
    rope, random = Rope(10000.0, 32), np.random.default_rng(0)
    query, key = random.standard_normal((2, 1, 32)).astype(np.float32)
    products = [float((rope.turn(query, a) @ rope.turn(key, b).T)[0, 0]) for a, b in ((9, 4), (509, 504))]
    assert products[0] == pytest.approx(products[1], abs=1e-3)


@pytest.mark.parametrize(
    "fields",
    [
        {"model_type": "deepseek_v3"},
        {"model_type": "llama", "rope_parameters": {"rope_type": "yarn", "factor": 4.0}},
        {"model_type": "llama", "rope_parameters": {"rope_type": "llama3", "factor": 4.0}},
        {},
    ],
)
def test_unknown_embeddings_are_refused(fields: dict) -> None:
    sizes = {"hidden_size": 128, "num_attention_heads": 4}
    with pytest.raises(UnsupportedInputError):
        ropes_of_config(fields | sizes, 2)


def test_embeddings_of_configurations() -> None:
    sizes = {"hidden_size": 128, "num_attention_heads": 4}
    assert ropes_of_config({"model_type": "llama", "rope_theta": 1e5, **sizes}, 2) == [Rope(1e5, 32)] * 2
    gemma = {
        "model_type": "gemma3_text",
        "head_dim": 64,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        },
    }
    assert ropes_of_config(gemma, 2) == [Rope(1e4, 64), Rope(1e6, 64, "half", "linear", (8.0,))]
    partial = {"model_type": "phi", "partial_rotary_factor": 0.5, **sizes}
    assert ropes_of_config(partial, 1) == [Rope(10000.0, 16)]
    nope = {"model_type": "smollm3", "no_rope_layers": [1, 0], **sizes}
    assert ropes_of_config(nope, 2)[1] is None


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**16 - 1))
def test_bfloat16_goes_there_and_back(word: int) -> None:
    value = as_float(np.array([word], np.uint16), "bfloat16")
    if np.isfinite(value).all():
        assert from_float(value, "bfloat16")[0] == word


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_files_keep_everything(make, dtype: str, tmp_path: Path) -> None:
    cache = make(20, dtype=dtype)
    cache = KVCache(cache.layers, cache.dtype, "model/name", 5)
    path = tmp_path / "cache.safetensors"
    write_cache(cache, path)
    back = read_cache(path)
    assert (back.dtype, back.model, back.position) == (cache.dtype, cache.model, 5)
    for one, other in zip(cache.layers, back.layers, strict=True):
        assert one.rope == other.rope
        assert np.array_equal(one.keys, other.keys)
        assert np.array_equal(one.values, other.values)
    assert read_cache(path.read_bytes()).tokens == 20


def test_files_that_are_no_caches_are_refused(make, tmp_path: Path) -> None:
    file = io.BytesIO()
    write_cache(make(5), file)
    data = file.getvalue()
    for cut in (0, 4, 40, len(data) - 1):
        with pytest.raises(UnsupportedInputError):
            read_tensors(data[:cut])
    for old, new in ((b"layers.0.keys", b"layers.9.keys"), (b"layers.0.keys", b"blocks.0.keys")):
        with pytest.raises(UnsupportedInputError):
            read_cache(data.replace(old, new))
    with pytest.raises(UnsupportedInputError, match="damaged"):
        read_tensors(data.replace(b'"data_offsets":[0,', b'"data_offsets":[9,'))


@pytest.mark.parametrize(
    ("keys", "values", "message"),
    [
        ((2, 5, 8), (2, 6, 8), "must be"),
        ((2, 5), (2, 5), "must be"),
        ((0, 5, 8), (0, 5, 8), "no heads"),
        ((2, 5, 8), (3, 5, 8), "must be"),
    ],
)
def test_shapes_that_do_not_fit(keys: tuple, values: tuple, message: str) -> None:
    with pytest.raises(UnsupportedInputError, match=message):
        KVCache([Layer(np.zeros(keys, np.float16), np.zeros(values, np.float16))])


def test_types_and_ends_that_do_not_fit() -> None:
    part = np.zeros((2, 5, 8), np.float16)
    with pytest.raises(UnsupportedInputError, match="float32"):
        KVCache([Layer(part.astype(np.float32), part)])
    with pytest.raises(UnsupportedInputError, match="int8"):
        KVCache([Layer(part, part)], "int8")
    with pytest.raises(UnsupportedInputError, match="at least one"):
        KVCache([])
    with pytest.raises(UnsupportedInputError, match="different tokens"):
        KVCache([Layer(part, part), Layer(part[:, :3], part[:, :3])])
    with pytest.raises(UnsupportedInputError, match="turned"):
        KVCache([Layer(part, part, Rope(1e4, 16))])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M"),
        ("SmolLM2-135M", "SmolLM2-135M"),
        ("", ""),
        ("/home/me/models/SmolLM2-135M/", "SmolLM2-135M"),
        ("./SmolLM2-135M", "SmolLM2-135M"),
        ("~/SmolLM2-135M", "SmolLM2-135M"),
        ("C:\\models\\SmolLM2-135M", "SmolLM2-135M"),
    ],
)
def test_a_name_of_a_model_is_no_path(given: str, kept: str) -> None:
    keys = np.zeros((1, 2, 4), np.float16)
    assert KVCache.from_arrays([(keys, keys)], model=given).model == kept
