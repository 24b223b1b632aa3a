from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import siglum
from siglum.codecs import container
from siglum.codecs.tensor import codec as module
from siglum.codecs.tensor.codec import TensorCodec
from siglum.codecs.tensor.tensors import TYPES, Tensor, read_file, rounded, write_safetensors
from siglum.errors import BitstreamError, UnsupportedInputError, UsageError

DTYPES = [np.dtype(name) for name in dict.fromkeys(TYPES.values())]


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_every_array_comes_back_bit_for_bit(data: Any) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    array = data.draw(
        arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9))
    )
    decoded = TensorCodec(threads=1).decode(TensorCodec(threads=1).encode(array))
    assert same(np.asarray(decoded), array)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_long_arrays_of_every_type(dtype: np.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 1000)
    rng = np.random.default_rng(1)
    array = (30 * rng.standard_normal((7, 611))).astype(dtype)
    one, two = (TensorCodec(threads=threads) for threads in (1, 2))
    data = one.encode(array)
    assert data == two.encode(array) == one.encode(np.asfortranarray(array))
    assert same(two.decode_array(data), array)
    if dtype.itemsize > 1:
        assert len(data) < 0.95 * array.nbytes


def test_what_has_structure_is_small() -> None:
    rng = np.random.default_rng(2)
    identifiers = np.cumsum(rng.integers(1, 4, 50_000))
    assert len(siglum.encode(identifiers)) < 0.3 / 8 * identifiers.nbytes
    assert len(siglum.encode(np.zeros((1000, 1000)))) < 200
    weights = (0.02 * rng.standard_normal(200_000)).astype(np.float32)
    words = rounded(weights, "BF16")
    assert len(TensorCodec().encode_tensors([Tensor("", "BF16", words.shape, words)])) < words.nbytes / 1.4


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_no_element_errs_by_more_than_is_allowed(data: Any) -> None:
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
    values = data.draw(arrays.arrays(dtype, st.integers(0, 200), elements={"allow_nan": True}))
    bound = data.draw(st.floats(1e-6, 1e3))
    decoded = np.asarray(
        TensorCodec(threads=1).decode(TensorCodec(max_error=bound, threads=1).encode(values))
    )
    assert decoded.dtype == values.dtype and decoded.shape == values.shape
    finite = np.isfinite(values)
    assert np.array_equal(decoded[~finite], values[~finite], equal_nan=True)
    assert np.all(np.abs(decoded[finite].astype(np.float64) - values[finite]) <= bound)


def test_errors_buy_bits() -> None:
    values = np.random.default_rng(3).standard_normal((100, 500)).astype(np.float32)
    for quality, error in ((30, 0.6), (50, 0.15), (70, 0.04), (90, 0.01)):
        data = siglum.encode(values, codec="tensor", quality=quality)
        decoded = siglum.decode(data)
        assert np.linalg.norm(decoded - values) < error * np.linalg.norm(values)
        # Entropy of a uniform quantizer: Gish and Pierce, 1968.
        step = np.sqrt(np.mean(values.astype(float) ** 2)) * 2 ** ((40 - quality) / 10)
        ideal = 0.5 * np.log2(2 * np.pi * np.e) - np.log2(step)
        if quality >= 50:
            assert 8 * len(data) / values.size < ideal + 0.08
    half = values.astype(np.float16)
    assert len(siglum.encode(half, codec="tensor", max_error=0.01)) < len(siglum.encode(half, codec="tensor"))


def test_names_types_and_metadata_go_through_a_file() -> None:
    torch = pytest.importorskip("torch")
    tensors = [
        Tensor.of(torch.randn(30, 8).to(torch.bfloat16), "b"),
        Tensor.of(np.arange(5), "a"),
        Tensor("f", "F8_E4M3", (3,), np.array([1, 2, 255], np.uint8)),
        Tensor.of(np.float32(2), "scalar"),
    ]
    file = io.BytesIO()
    write_safetensors(tensors, {"format": "pt"}, file)
    from safetensors.torch import load

    assert set(load(file.getvalue())) == {"a", "b", "f", "scalar"}
    listed, metadata = read_file(file.getvalue())
    back, again = TensorCodec().decode_tensors(TensorCodec().encode_tensors(listed, metadata))
    assert again == metadata == {"format": "pt"}
    for before, after in zip(tensors, back, strict=True):
        assert (before.name, before.kind, before.shape) == (after.name, after.kind, after.shape)
        assert before.data.tobytes() == after.data.tobytes()
    decoded = TensorCodec().decode(TensorCodec().encode({"x": np.ones(3), "y": np.zeros((2, 0))}))
    assert isinstance(decoded, dict) and decoded["x"].tolist() == [1, 1, 1] and decoded["y"].shape == (2, 0)


def test_files_that_are_none_are_refused() -> None:
    for data in (b"", b"x" * 40, b"\x93NUMPY\x01\x00", (9**20).to_bytes(8, "little") + b"{}"):
        with pytest.raises(UnsupportedInputError):
            read_file(data)
    file = io.BytesIO()
    np.save(file, np.array([{}], object), allow_pickle=True)
    with pytest.raises(UnsupportedInputError, match="objects"):
        read_file(file.getvalue())
    header = {"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 12]}}
    text = json.dumps(header).encode()
    with pytest.raises(UnsupportedInputError, match="has 12 bytes"):
        read_file(len(text).to_bytes(8, "little") + text + bytes(12))
    with pytest.raises(UnsupportedInputError, match="complex"):
        siglum.encode(np.zeros(3, complex), codec="tensor")
    for wrong in ({"quality": 101}, {"max_error": 0.0}, {"max_error": 1.0, "quality": 5}):
        with pytest.raises(UsageError):
            TensorCodec(**wrong)


@pytest.mark.parametrize("setting", [{}, {"quality": 50}])
def test_damage_is_one_error(setting: dict[str, float]) -> None:
    rng = np.random.default_rng(5)
    whole = {"x": rng.standard_normal(700).astype(np.float32), "y": rng.integers(0, 9, 300)}
    data = TensorCodec(**setting).encode(whole)
    decoded = TensorCodec().decode(data)
    for cut in range(0, len(data), 97):
        with pytest.raises(BitstreamError):
            TensorCodec().decode(data[:cut])
    header, chunks = container.read(data)
    for _ in range(300):  # past the checksums of the container, as someone hostile would go
        chunk = chunks[place := int(rng.integers(len(chunks)))]
        payload = bytearray(chunk.payload)
        for _ in range(int(rng.integers(1, 4))):
            payload[int(rng.integers(len(payload)))] ^= 1 << int(rng.integers(8))
        bad = [
            *chunks[:place],
            container.Chunk(chunk.type, chunk.sequence, bytes(payload), chunk.symbols_crc),
        ]
        try:
            got = TensorCodec(threads=1).decode(container.write(header, [*bad, *chunks[place + 1 :]]))
        except BitstreamError:
            continue
        assert isinstance(got, dict)  # a name or a shape, of which the checksum of symbols knows nothing
        values = [value.tobytes() for value in got.values()]
        assert values == [value.tobytes() for value in decoded.values()]
