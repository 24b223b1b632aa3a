"""CompressedCache: generation goes on as with transformers' own, in less memory."""

from __future__ import annotations

import copy
import gc
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra llm)")

from siglum import kv  # noqa: E402
from siglum.errors import UnsupportedInputError, UsageError  # noqa: E402

SHAPE = {
    "vocab_size": 97, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 2048,
}  # fmt: skip


def model_of(kind: str = "Llama", **more: Any) -> Any:
    torch.manual_seed(3)
    config = getattr(transformers, f"{kind}Config")(**SHAPE | more)
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


@pytest.fixture(scope="module")
def llama() -> Any:
    return model_of()


def prompt(length: int, batch: int = 1) -> Any:
    generator = torch.Generator().manual_seed(length)
    return torch.randint(0, 97, (batch, length), generator=generator)


def generated(model: Any, ids: Any, cache: Any, count: int = 6, **more: Any) -> Any:
    with torch.no_grad():
        return model.generate(
            ids, past_key_values=cache, max_new_tokens=count, do_sample=False, pad_token_id=0,
            attention_mask=torch.ones_like(ids), **more,
        )  # fmt: skip


def exact(model: Any, **more: Any) -> Any:
    return kv.CompressedCache(
        model.config, **{"lossless": True, "window": 16, "block": 64, "threads": 1, **more}
    )


@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Qwen3"])
def test_lossless_generates_the_same(kind: str) -> None:
    model = model_of(kind)
    ids, cache = prompt(150, 2), exact(model)
    assert torch.equal(generated(model, ids, cache), generated(model, ids, transformers.DynamicCache()))
    assert cache.compressed_tokens == 128 and cache.get_seq_length() == 155


def test_sliding_layers_are_left_to_transformers() -> None:
    kinds = ["full_attention", "sliding_attention", "full_attention"]
    model = model_of(
        "Qwen2", use_sliding_window=True, sliding_window=32, max_window_layers=1, layer_types=kinds
    )
    ids, cache = prompt(150), exact(model)
    usual = transformers.DynamicCache(config=model.config)
    assert torch.equal(generated(model, ids, cache), generated(model, ids, usual))
    assert cache.is_sliding == [False, True, False] and cache.compressed_tokens == 128


def test_beams(llama: Any) -> None:
    ids = prompt(140)
    caches = [exact(llama), transformers.DynamicCache()]
    a, b = (generated(llama, ids, cache, num_beams=3) for cache in caches)
    assert torch.equal(a, b)


def test_memory_falls(llama: Any) -> None:
    """What is held between passes is counted from all tensors and bytes that live, not from what the cache says."""

    def live() -> int:
        gc.collect()
        tensors = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
                   for t in gc.get_objects() if type(t) is torch.Tensor}  # fmt: skip
        return sum(tensors.values())

    def fill(cache: Any) -> int:
        before = live()
        with torch.no_grad():
            for part in prompt(1024).split(512, dim=1):
                llama(part, past_key_values=cache)
        return live() - before

    usual = transformers.DynamicCache()
    whole = fill(usual)
    elements = 1024 * 3 * 2 * 2 * 16
    assert whole >= 4 * elements
    cache = kv.CompressedCache(llama.config, quality=40, window=64, block=128, threads=1)
    held = fill(cache)
    bound = 4 * elements * (64 + 127) // 1024
    assert cache.compressed_tokens == 896
    files = cache.nbytes - 4 * elements * 128 // 1024
    assert held <= bound and held + files < whole / 3
    print(f"{whole} bytes as they are, {held + files} compressed")


def test_lossy_is_close(llama: Any) -> None:
    ids = prompt(400)
    with torch.no_grad():
        usual = transformers.DynamicCache()
        llama(ids[:, :390], past_key_values=usual)
        wanted = llama(ids[:, 390:], past_key_values=usual).logits
        cache = kv.CompressedCache(llama.config, quality=90, window=64, block=256, threads=1)
        llama(ids[:, :390], past_key_values=cache)
        found = llama(ids[:, 390:], past_key_values=cache).logits
    assert cache.compressed_tokens == 256
    assert 0 < float((found - wanted).abs().max()) < 0.1 * float(wanted.std())


@pytest.mark.parametrize("removed", [1, 20, 60, 140, 148])
def test_crop(llama: Any, removed: int) -> None:
    ids = prompt(150)
    with torch.no_grad():
        cache, usual = exact(llama), transformers.DynamicCache()
        for each in (cache, usual):
            llama(ids, past_key_values=each)
            each.crop(-removed)
            assert each.get_seq_length() == 150 - removed
        more = [llama(ids[:, :5], past_key_values=each).logits for each in (cache, usual)]
    assert torch.equal(*more)
    with pytest.raises(ValueError, match="negative"):
        cache.crop(5)


def test_batch_operations(llama: Any) -> None:
    ids = prompt(100, 2)
    with torch.no_grad():
        cache, usual = exact(llama), transformers.DynamicCache()
        for each in (cache, usual):
            llama(ids, past_key_values=each)
            each.batch_repeat_interleave(2)
            each.batch_select_indices(torch.tensor([3, 0]))
        again = copy.deepcopy(cache)
        more = [llama(ids[:, :3], past_key_values=each).logits for each in (cache, usual, again)]
    assert torch.equal(more[0], more[1]) and torch.equal(more[0], more[2])
    cache.reset()
    assert cache.get_seq_length() == 0 and cache.nbytes == 0


def test_half_precision() -> None:
    model = model_of().to(torch.bfloat16)
    ids, cache = prompt(100), exact(model)
    assert torch.equal(generated(model, ids, cache), generated(model, ids, transformers.DynamicCache()))


def test_what_is_refused(llama: Any) -> None:
    for wrong in ({"block": 100}, {"window": -1}, {"quality": 200}):
        with pytest.raises(UsageError):
            kv.CompressedCache(llama.config, **wrong)
    config = transformers.MistralConfig(**SHAPE, sliding_window=32)
    with pytest.raises(UnsupportedInputError, match="nothing to compress"):
        kv.CompressedCache(config)
