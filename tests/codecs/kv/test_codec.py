from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import siglum
from siglum import errors, kv
from siglum.codecs.container import Chunk, Reader, write
from siglum.codecs.kv.blocks import parse
from siglum.codecs.kv.cache import KVCache, Layer, as_float
from siglum.codecs.kv.calibration import Calibration
from siglum.codecs.kv.layout import Layout


def same(one: KVCache, other: KVCache) -> bool:
    return all(
        np.array_equal(a, b)
        for x, y in zip(one.layers, other.layers, strict=True)
        for a, b in zip(x[:2], y[:2], strict=True)
    )


def error_of(one: KVCache, other: KVCache) -> float:
    """Root mean square error against root mean square."""
    pairs = [
        (as_float(a, one.dtype), as_float(b, other.dtype))
        for x, y in zip(one.layers, other.layers, strict=True)
        for a, b in zip(x[:2], y[:2], strict=True)
    ]
    error = sum(float(np.square(a - b).sum()) for a, b in pairs)
    return float(np.sqrt(error / sum(float(np.square(a).sum()) for a, _ in pairs)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_lossless_is_bit_exact(make, dtype: str) -> None:
    cache = make(130, dtype=dtype)
    data = kv.compress(cache, lossless=True)
    back = kv.decompress(data)
    assert same(cache, back)
    assert siglum.inspect(data).lossless
    assert len(data) < cache.nbytes


def test_lossless_takes_what_is_not_finite(make) -> None:
    cache = make(70)
    cache.layers[0].keys[0, 3] = [np.nan, np.inf, -np.inf, -0.0] * 4
    back = kv.decompress(kv.compress(cache, lossless=True))
    assert np.array_equal(back.layers[0].keys.view(np.uint16), cache.layers[0].keys.view(np.uint16))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("tokens", [1, 3, 64, 65, 300])
def test_any_length_without_calibration(make, dtype: str, tokens: int) -> None:
    cache = make(tokens, dtype=dtype)
    back = kv.decompress(kv.compress(cache, 80, calibration=None))
    assert back.tokens == tokens
    assert back.dtype == dtype
    assert error_of(cache, back) < 0.02


def test_quality_orders_size_and_error(cache: KVCache, calibration: Calibration) -> None:
    for chosen in (None, calibration):
        files = [kv.compress(cache, q, calibration=chosen) for q in (10, 40, 70, 100)]
        assert sorted(files, key=len) == files
        back = [kv.decompress(data, calibration=chosen) for data in files]
        errors_of = [error_of(cache, one) for one in back]
        assert sorted(errors_of, reverse=True) == errors_of


def test_a_calibration_pays(make, calibration: Calibration) -> None:
    cache = make(300, seed=50)
    data = kv.compress(cache, 60, calibration=calibration)
    with_it = error_of(cache, kv.decompress(data, calibration=calibration))
    for quality in range(0, 101, 2):
        without = kv.compress(cache, quality, calibration=None)
        if error_of(cache, kv.decompress(without)) < with_it:
            break
    assert len(data) < 0.9 * len(without)


def test_sinks_and_window_are_fine(make, calibration: Calibration) -> None:
    cache = make(300, seed=7)
    data = kv.compress(cache, 20, calibration=calibration, sinks=4, window=40)
    back = kv.decompress(data, calibration=calibration)
    fine, coarse = (
        [error_of(cache.slice(a, b), back.slice(a, b)) for a, b in spans]
        for spans in (((0, 4), (260, 300)), ((4, 260),))
    )
    assert max(fine) < 0.01 < min(coarse)


@pytest.mark.parametrize("lossless", [True, False])
def test_parts_decode_alone(make, calibration: Calibration, lossless: bool) -> None:
    data = kv.compress(make(300), 60, lossless=lossless, calibration=calibration)
    whole = kv.decompress(data, calibration=calibration)
    for start, stop, layers in (
        (0, 64, None),
        (70, 71, None),
        (100, 300, [3, 0]),
        (2, 6, [1]),
        (299, 999, [2]),
    ):
        part = kv.decompress(data, start=start, stop=stop, layers=layers, calibration=calibration)
        chosen = range(4) if layers is None else layers
        expected = KVCache([whole.layers[i] for i in chosen], whole.dtype).slice(start, min(stop, 300))
        assert part.position == start
        assert error_of(expected, part) < 1e-3 if not lossless else same(expected, part)
    for start, stop, layers in ((300, 301, None), (5, 5, None), (0, 1, [4]), (0, 1, []), (-1, 4, None)):
        with pytest.raises(errors.UsageError):
            kv.decompress(data, start=start, stop=stop, layers=layers, calibration=calibration)


def test_a_part_reads_few_bytes(make, tmp_path: Path) -> None:
    class Counting(io.BytesIO):
        total = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.total += len(data)
            return data

    from siglum.codecs.kv.decoding import Decoder

    data = kv.compress(make(2000, dim=64), lossless=True)
    file = Counting(data)
    Decoder(file).read(640, 704, [0])
    assert file.total < len(data) / 8


def test_appending_continues_a_file(make, calibration: Calibration, tmp_path: Path) -> None:
    cache, path = make(300), tmp_path / "cache.sgl"
    path.write_bytes(kv.compress(cache.slice(0, 200), 60, calibration=calibration))
    before = path.read_bytes()
    kv.append(path, cache.slice(200, 300), calibration=calibration)
    after = path.read_bytes()
    end = Reader(before).entries[-1]
    assert after[: end.offset + end.size] == before[: end.offset + end.size]
    back = kv.decompress(path, calibration=calibration)
    assert back.tokens == 300
    assert error_of(cache, back) < 0.1
    with pytest.raises(errors.UnsupportedInputError, match="follow"):
        kv.append(path, make(10, layers=3), calibration=calibration)


@pytest.mark.parametrize("window", [0, 30])
def test_streaming_gives_the_same_blocks(make, calibration: Calibration, window: int) -> None:
    cache, file = make(300), io.BytesIO()
    with kv.Encoder(file, quality=60, calibration=calibration, window=window) as encoder:
        for start in range(0, 300, 70):
            encoder.append(cache.slice(start, min(start + 70, 300)))
    back = kv.decompress(file.getvalue(), calibration=calibration)
    assert encoder.written == len(file.getvalue())
    assert back.tokens == 300
    assert error_of(cache, back) < 0.1


def test_symbols_do_not_depend_on_threads_or_instruction_sets(
    make, calibration: Calibration, tmp_path: Path
) -> None:
    cache = make(200)
    ours = kv.compress(cache, 60, calibration=calibration, threads=1)
    assert kv.compress(cache, 60, calibration=calibration, threads=3) == ours
    path, out = tmp_path / "free.sgl", tmp_path / "out.npy"
    path.write_bytes(kv.compress(cache, 60, calibration=None))
    here = kv.decompress(path)
    script = (
        "import sys, numpy as np\nfrom siglum import kv\n"
        "c = kv.decompress(sys.argv[1], threads=2)\nnp.save(sys.argv[2], np.stack([l.keys for l in c.layers]))"
    )
    for isa in siglum.kernels.dispatch.available_isas():
        subprocess.run(
            [sys.executable, "-c", script, path, out], check=True, env={**os.environ, "SIGLUM_ISA": isa}
        )
        expected = np.stack([layer.keys for layer in here.layers]).astype(np.float32)
        difference = np.square(np.load(out).astype(np.float32) - expected)
        assert np.sqrt(difference.mean()) < 0.005 * np.sqrt(np.square(expected).mean())


def test_bad_caches(cache: KVCache, calibration: Calibration, make) -> None:
    cache.layers[1].values[0, 100, 3] = np.nan
    with pytest.raises(errors.UnsupportedInputError, match="token 100"):
        kv.compress(cache, calibration=calibration)
    with pytest.raises(errors.UnsupportedInputError, match="infinite"):
        kv.compress(cache, calibration=None)
    empty = np.zeros((2, 0, 16), np.float16)
    with pytest.raises(errors.UnsupportedInputError, match="no tokens"):
        kv.compress(KVCache([Layer(empty, empty)]))
    for wrong, word in (
        (make(70, layers=3), "layers"),
        (make(70, heads=3), "heads"),
        (make(70, dim=32), "channels"),
    ):
        with pytest.raises(errors.UnsupportedInputError, match=word):
            kv.compress(wrong, calibration=calibration)
    other = [layer._replace(rope=kv.Rope(9.0, 16)) for layer in make(70).layers]
    with pytest.raises(errors.UnsupportedInputError, match="turned"):
        kv.compress(KVCache(other), calibration=calibration)
    with pytest.raises(errors.UnknownModel):
        kv.compress(make(70), calibration="none-such")


def test_numbers_beyond_all_expectation(make, calibration: Calibration) -> None:
    cache = make(200)
    cache.layers[2].values[1, 150] = 60000.0
    back = kv.decompress(kv.compress(cache, 100, calibration=calibration), calibration=calibration)
    assert abs(float(back.layers[2].values[1, 150, 0]) / 60000 - 1) < 0.02


def test_settings_out_of_range() -> None:
    for wrong in ({"quality": 101}, {"sinks": -1}, {"window": -1}, {"effort": 0}, {"group": 0}):
        with pytest.raises(errors.UsageError):
            kv.KVConfig(**wrong)


def test_another_model_is_named(cache: KVCache, calibration: Calibration) -> None:
    data = kv.compress(cache, 60, calibration=calibration)
    with pytest.raises(errors.UnknownModel, match=calibration.id.hex()):
        kv.decompress(data)


def test_damage_is_named_and_the_rest_loads(make) -> None:
    cache = make(300)
    data = kv.compress(cache, lossless=True, group=2)
    reader = Reader(data)
    layout = Layout.of_header(reader.header)
    entry = next(
        e for e in reader.entries if parse(reader.read(e).payload, 0, layout).part[:] == (128, 64, 1, 1)
    )
    bad = bytearray(data)
    bad[entry.offset + entry.size // 2] ^= 16
    with pytest.raises(errors.ChecksumMismatch):
        kv.decompress(bytes(bad))
    with pytest.warns(kv.KVWarning, match="tokens 128-191, values of layers 2-3"):
        back = kv.decompress(bytes(bad), partial=True)
    assert same(cache.slice(192, 300), back.slice(192, 300))
    assert not back.layers[2].values[:, 128:192].any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kv.decompress(bytes(bad), stop=128)


def test_a_missing_chunk_is_named(make) -> None:
    data = kv.compress(make(300), lossless=True)
    reader = Reader(data)
    chunks = list(reader.chunks())
    left = [c for i, c in enumerate(chunks) if i != 5]
    data = write(reader.header, [Chunk(c.type, i, c.payload, c.symbols_crc) for i, c in enumerate(left)])
    with pytest.raises(errors.Truncated, match="values of layer"):
        kv.decompress(data)
    with pytest.warns(kv.KVWarning, match="values of layer"):
        kv.decompress(data, partial=True)


def test_a_file_that_was_cut_off(make) -> None:
    cache = make(300)
    data = kv.compress(cache, lossless=True)
    cut = data[: len(data) * 3 // 5]
    with pytest.raises(errors.Truncated):
        kv.decompress(cut)
    back = kv.decompress(cut, partial=True)
    assert back.tokens == 128
    assert same(cache.slice(0, 128), back)


def test_limits(make) -> None:
    from siglum.codecs.container import Limits

    data = kv.compress(make(100), lossless=True)
    with pytest.raises(errors.LimitExceeded):
        kv.decompress(data, limits=Limits(max_elements=1000))


def test_rate_counts_every_number(make) -> None:
    cache = make(100)
    data = kv.compress(cache, lossless=True)
    info = siglum.inspect(data)
    assert info.codec == "kv"
    assert info.bits_per_element == pytest.approx(8 * len(data) / cache.elements)
