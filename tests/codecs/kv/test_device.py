"""Caches on a device, with the GPU's kernels in Triton's interpreter: the CPU's but for rounding."""

from __future__ import annotations

import importlib.util
import io
import warnings

import numpy as np
import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install siglum[gpu]", allow_module_level=True)

import torch

with pytest.MonkeyPatch.context() as patch:
    patch.setenv("TRITON_INTERPRET", "1")
    from siglum.codecs.kv import device_blocks
    from siglum.codecs.kv.device_decoding import DeviceDecoder

from siglum import errors, kv
from siglum.codecs.container import Reader
from siglum.codecs.kv.blocks import parse
from siglum.codecs.kv.cache import KVCache, as_float, torch_of
from siglum.codecs.kv.device import DeviceArray, cache_of
from siglum.codecs.kv.layout import Layout
from siglum.kernels import dispatch
from siglum.kernels.float_network import rounds


@pytest.fixture(scope="module", autouse=True)
def interpreter():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        # Products of bfloat16, where the CPU has them, round other symbols.
        patch.setenv("SIGLUM_ISA", next(isa for isa in dispatch.available_isas() if not rounds(isa)))
        yield


def on_device(cache: KVCache) -> KVCache:
    pairs = [[torch_of(part, cache.dtype) for part in layer[:2]] for layer in cache.layers]
    return cache_of(pairs, rope=[layer.rope for layer in cache.layers], model=cache.model)


def read(data: bytes, **more) -> KVCache:
    calibration = more.pop("calibration", None)
    partial = more.pop("partial", False)
    return DeviceDecoder(io.BytesIO(data), calibration, partial, None, 1, device="cpu").read(**more)


def close(one: KVCache, other: KVCache, fine: float) -> None:
    for x, y in zip(one.layers, other.layers, strict=True):
        for a, b in zip(x[:2], y[:2], strict=True):
            p, q = (as_float(np.asarray(part), one.dtype) for part in (a, b))
            assert p.shape == q.shape
            assert np.sqrt(np.mean(np.square(p - q))) <= fine * np.sqrt(np.mean(np.square(q)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("mode", [{"quality": 70}, {"bits": 2.0, "effort": 1}])
def test_streams_and_caches_are_the_cpu_s(make, calibration, mode, dtype) -> None:
    cache = make(80, dtype=dtype)
    settings = {"calibration": calibration, "threads": 1, **mode}
    plain, made = kv.compress(cache, **settings), kv.compress(on_device(cache), **settings)
    assert abs(len(made) - len(plain)) <= 0.01 * len(plain)
    one, other = (kv.decompress(data, calibration=calibration) for data in (plain, made))
    close(other, one, 0.005 if "quality" in mode else 0.02)
    there = read(made, calibration=calibration)
    assert all(isinstance(part, DeviceArray) for layer in there.layers for part in layer[:2])
    close(there, other, 0.005)
    part = read(plain, calibration=calibration, start=20, stop=75, layers=[2, 1])
    expected = kv.decompress(plain, calibration=calibration, start=20, stop=75, layers=[2, 1])
    close(part, expected, 0.005)
    again = kv.compress(part, **{**settings, "calibration": None})
    assert kv.decompress(again).tokens == 55


def test_factors_are_the_cpu_s(foreign, calibration) -> None:
    settings = {"calibration": calibration, "threads": 1, "quality": 30}
    files = [kv.compress(it, **settings) for it in (foreign, on_device(foreign))]
    assert abs(len(files[0]) - len(files[1])) <= 0.002 * len(files[0])
    one, other = (kv.decompress(data, calibration=calibration) for data in files)
    close(other, one, 0.01)
    close(read(files[0], calibration=calibration, start=500), one.slice(500, one.tokens), 0.005)


def test_symbols_differ_by_ties_only(make, calibration) -> None:
    cache = make(70)
    files = [
        kv.compress(c, quality=60, calibration=calibration, threads=1, effort=1)
        for c in (cache, on_device(cache))
    ]
    found = []
    for data in files:
        reader = Reader(data)
        layout = Layout.of_header(reader.header)
        found.append([parse(c.payload, c.symbols_crc, layout) for c in reader.chunks() if c.type == 1])
    same = [a.crc == b.crc for a, b in zip(*found, strict=True)]
    assert sum(same) >= 0.8 * len(same)  # a block of thousands of symbols may hold a tie


def test_without_calibration_chunk_by_chunk(make) -> None:
    cache = on_device(make(200, layers=2))
    file = io.BytesIO()
    with kv.Encoder(file, calibration=None, threads=1, window=20) as encoder:
        encoder.append(cache.slice(0, 100))
        encoder.append(cache.slice(100, 200))
    assert encoder.layout is not None
    close(read(file.getvalue()), kv.decompress(file.getvalue()), 0.005)


def test_what_is_not_finite_is_named(make, calibration) -> None:
    cache = make(100)
    cache.layers[1].values[0, 77, 3] = np.nan
    with pytest.raises(errors.UnsupportedInputError, match="token 77"):
        kv.compress(on_device(cache), calibration=calibration, threads=1)
    exact = kv.decompress(kv.compress(on_device(cache), lossless=True))
    assert np.array_equal(exact.layers[1].values.view(np.uint16), cache.layers[1].values.view(np.uint16))
    huge = make(100)
    huge.layers[0].keys[:, 70] = 60000
    data = kv.compress(on_device(huge), calibration=calibration, quality=100, threads=1)
    assert kv.decompress(data, calibration=calibration).tokens == 100


def test_damage_is_named_and_the_rest_loads(make, calibration) -> None:
    for mode in ({"quality": 60}, {"bits": 2.0}):
        data = bytearray(kv.compress(make(150), calibration=calibration, **mode))
        data[len(data) // 2] ^= 16
        with pytest.raises(errors.BitstreamError):
            read(bytes(data), calibration=calibration)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            assert read(bytes(data), calibration=calibration, partial=True).tokens == 150
        assert any("missing" in str(warning.message) for warning in found)


def test_records_of_a_fixed_rate_are_the_cpu_s(make, calibration) -> None:
    data = kv.compress(make(70), bits=2.0, calibration=calibration)
    decoder = kv_decoder(data, calibration)
    part = decoder.plan[0, 0]
    values = part.analyse(np.random.default_rng(0).standard_normal((9, 64)).astype(np.float32))
    records = part.encode(values, 1)
    back = device_blocks.values_of(part, torch.from_numpy(records)).numpy()
    np.testing.assert_allclose(back, part.decode(records), rtol=1e-5, atol=1e-6)


def kv_decoder(data: bytes, calibration) -> DeviceDecoder:
    return DeviceDecoder(io.BytesIO(data), calibration, device="cpu")


def test_device_of_the_cpu_is_plain(make) -> None:
    cache = make(10)
    back = kv.decompress(kv.compress(cache, lossless=True), device="cpu")
    assert isinstance(back.layers[0].keys, np.ndarray)
    tensor = torch.zeros(2, 3, 4, dtype=torch.int32)
    with pytest.raises(errors.UnsupportedInputError, match="int32"):
        DeviceArray(tensor)
    with pytest.raises(errors.UnsupportedInputError, match="rotary"):
        cache_of([(torch.zeros(1, 2, 4), torch.zeros(1, 2, 4))], rope=[None, None])
