"""The fixed-rate mode: blocks of one size, what they hold, and what is refused."""

from __future__ import annotations

import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import siglum
from siglum import errors, kv
from siglum.codecs.container import Chunk, Header, Reader, write
from siglum.codecs.kv import fixed, fixed_books
from siglum.codecs.kv.blocks import FIXED, TRANSFORM, parse
from siglum.codecs.kv.cache import KVCache, as_float
from siglum.codecs.kv.calibration import Calibration
from siglum.codecs.kv.coding import Components
from siglum.codecs.kv.layout import FIXED_KEY, Layout
from siglum.codecs.kv.scales import units_of
from siglum.codecs.kv.transform import Transform

FORGED: list[bytes] = []


def error_of(one: KVCache, other: KVCache) -> float:
    """Mean squared error against mean square."""
    pairs = [
        (as_float(a, one.dtype), as_float(b, other.dtype))
        for x, y in zip(one.layers, other.layers, strict=True)
        for a, b in zip(x[:2], y[:2], strict=True)
    ]
    error = sum(float(np.square(a - b).sum()) for a, b in pairs)
    return error / sum(float(np.square(a).sum()) for a, _ in pairs)


def payloads(data: bytes) -> dict[tuple[int, int], set[int]]:
    """Sizes of the payloads of whole blocks, by group and half."""
    reader = Reader(data)
    layout, sizes = Layout.of_header(reader.header), {}
    for chunk in reader.chunks():
        if chunk.type == 1:
            block = parse(chunk.payload, chunk.symbols_crc, layout)
            if block.method == FIXED and block.part.tokens == 64:
                sizes.setdefault((block.part.group, block.part.which), set()).add(len(chunk.payload))
    return sizes


@pytest.mark.parametrize("calibrated", [True, False])
def test_every_block_has_the_size_that_was_asked_for(
    make, calibration: Calibration, calibrated: bool
) -> None:
    cache = make(400)
    for bits in (1.0, 2.0, 3.5):
        data = kv.compress(cache, bits=bits, calibration=calibration if calibrated else None)
        sizes = payloads(data)
        assert all(len(found) == 1 for found in sizes.values())
        a_token = sum(min(found) - 9 for found in sizes.values()) / 64
        assert a_token <= bits * cache.elements / cache.tokens / 8
        assert a_token == Reader(data).header.extra[FIXED_KEY]
        assert kv.decompress(data, calibration=calibration).tokens == 400
        assert siglum.inspect(data).lossless is False


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("tokens", [1, 3, 5, 64, 65, 300])
def test_any_length(make, dtype: str, tokens: int) -> None:
    cache = make(tokens, dtype=dtype)
    back = kv.decompress(kv.compress(cache, bits=2.0, calibration=None))
    assert (back.tokens, back.dtype) == (tokens, dtype)
    assert error_of(cache, back) < 0.1


def test_more_bits_are_less_error(make, calibration: Calibration) -> None:
    cache = make(300, seed=7)
    found = []
    for bits in (0.5, 1.0, 2.0, 4.0):
        data = kv.compress(cache, bits=bits, calibration=calibration)
        found.append(error_of(cache, kv.decompress(data, calibration=calibration)))
    assert all(b < a for a, b in pairwise(found))
    errors_of_effort = [
        error_of(
            cache,
            kv.decompress(
                kv.compress(cache, bits=2.0, calibration=calibration, effort=e), calibration=calibration
            ),
        )
        for e in (1, 5, 9)
    ]
    assert errors_of_effort[2] < errors_of_effort[1] < errors_of_effort[0]


def test_parts_and_appending(make, calibration: Calibration, tmp_path: Path) -> None:
    cache = make(300)
    data = kv.compress(cache, bits=2.0, calibration=calibration)
    whole = kv.decompress(data, calibration=calibration)
    part = kv.decompress(data, calibration=calibration, start=100, stop=210, layers=[3, 0])
    for mine, number in zip(part.layers, (3, 0), strict=True):
        for a, b in zip(mine[:2], whole.slice(100, 210).layers[number][:2], strict=True):
            np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=0.02, atol=0.02)
    path = tmp_path / "cache.sgl"
    path.write_bytes(kv.compress(cache.slice(0, 192), bits=2.0, calibration=calibration))
    kv.append(path, cache.slice(192, 300), calibration=calibration)
    longer = path.read_bytes()
    assert {len(found) for found in payloads(longer).values()} == {1}
    assert error_of(cache, kv.decompress(longer, calibration=calibration)) < 0.05


def test_streaming_gives_the_same_file(make, calibration: Calibration, tmp_path: Path) -> None:
    cache, path = make(300), tmp_path / "cache.sgl"
    with path.open("wb") as file, kv.Encoder(file, bits=1.5, calibration=calibration) as encoder:
        encoder.append(cache.slice(0, 256))
        encoder.append(cache.slice(256, 300))
    assert error_of(cache, kv.decompress(path, calibration=calibration)) < 0.1


def test_one_wild_token_has_no_size_of_its_own(make, calibration: Calibration) -> None:
    cache = make(200)
    cache.layers[1].keys[:, 100] *= 500
    data = kv.compress(cache, bits=2.0, calibration=calibration)
    assert all(len(found) == 1 for found in payloads(data).values())
    back = kv.decompress(data, calibration=calibration)
    plain = make(200).slice(0, 90)
    assert error_of(plain, back.slice(0, 90)) < 0.1
    wild = as_float(back.layers[1].keys[:, 100], "float16") / as_float(
        cache.layers[1].keys[:, 100], "float16"
    )
    assert 0.3 < float(np.median(wild)) < 1.5


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), st.integers(0, 120), st.integers(0, 2**32 - 1))
def test_bytes_go_to_the_strongest(ranks: list[int], size: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    plan = {
        (number, 0): Components(
            Transform(
                np.zeros(rank + 1, np.float32), np.eye(rank + 1, rank, dtype=np.float32),
                np.asarray(units_of(np.exp(2 * random.standard_normal(rank))), np.int32),
            ),
            100,
            np.asarray(units_of(np.exp(2 * random.standard_normal(rank))), np.int32),
        )
        for number, rank in enumerate(ranks)
    }  # fmt: skip
    if size < len(plan):
        with pytest.raises(errors.MalformedHeader):
            fixed.allot(plan, size)
        return
    made = fixed.allot(plan, size)
    units = sum(-(-rank // 8) for rank in ranks)
    assert sum(part.record for part in made.values()) == min(size, len(plan) + 8 * units)
    for part in made.values():
        assert (np.diff(part.stages) <= 0).all()
        assert (part.stages >= 1).all()
        values = random.standard_normal((5, part.count)).astype(np.float32)
        values[:, len(part.chosen) :] = 0
        records = part.encode(values, 5)
        assert records.shape == (5, part.record)
        if part.count:
            left = np.square(part.decode(records) - values).sum()
            assert left < np.square(values).sum()
        rows = part.synthesise(
            part.analyse(random.standard_normal((3, len(part.components.transform.mean))).astype(np.float32))
        )
        assert np.isfinite(rows).all()


def test_each_stage_takes_off_what_the_file_says() -> None:
    worth = fixed_books.worth()
    assert (np.diff(worth) < 0).all()
    assert fixed_books.books().shape == (8, 256, 8)


def test_damage(make) -> None:
    data = kv.compress(make(70, layers=2), bits=2.0, calibration=None)
    random = np.random.default_rng(0)
    for place in [*range(150), *random.integers(0, len(data), 80)]:
        bad = bytearray(data)
        bad[place] ^= 1 << int(random.integers(8))
        for broken in (bytes(bad), data[:place]):
            with pytest.raises(errors.BitstreamError):
                kv.decompress(broken, threads=1)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", kv.KVWarning)
                try:
                    kv.decompress(broken, threads=1, partial=True)
                except errors.BitstreamError:
                    continue


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_payloads_with_right_checksums(make, data: st.DataObject) -> None:
    """What a forger can do: any payload, with the container's checksums as they must be."""
    if not FORGED:
        FORGED.append(kv.compress(make(70, layers=2), bits=2.0, calibration=None))
    reader = Reader(FORGED[0])
    chunks = list(reader.chunks())
    which = data.draw(st.integers(0, len(chunks) - 1))
    payload = bytearray(chunks[which].payload)
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, min(len(payload) - 1, 300)))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        payload = payload[: data.draw(st.integers(0, len(payload)))]
    old = chunks[which]
    chunks[which] = Chunk(old.type, old.sequence, bytes(payload), old.symbols_crc)
    for partial in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", kv.KVWarning)
            try:
                kv.decompress(write(reader.header, chunks), partial=partial, threads=1)
            except errors.BitstreamError:
                continue


def test_headers_that_cannot_be(make) -> None:
    reader = Reader(kv.compress(make(70, layers=2), bits=2.0, calibration=None))
    header, chunks = reader.header, list(reader.chunks())
    for size in (0, 1, 3, 10**6, b"\x01"):
        extra = {**header.extra, FIXED_KEY: size}
        bad = Header(
            header.codec, header.codec_version, b"", header.shape, header.dtype, header.quality, extra
        )
        with pytest.raises(errors.MalformedHeader):
            kv.decompress(write(bad, chunks))
    extra = {key: value for key, value in header.extra.items() if key != FIXED_KEY}
    bad = Header(header.codec, header.codec_version, b"", header.shape, header.dtype, header.quality, extra)
    with pytest.raises(errors.MalformedHeader):
        kv.decompress(write(bad, chunks))


def test_readers_that_do_not_know_it_refuse(make) -> None:
    reader = Reader(kv.compress(make(70, layers=2), bits=2.0, calibration=None))
    with pytest.raises(errors.UnsupportedVersion):
        reader.header.check_keys({17})
    assert TRANSFORM != FIXED


def test_settings(make) -> None:
    for wrong in ({"bits": 0.01}, {"bits": 9}, {"bits": 2.0, "lossless": True}):
        with pytest.raises(errors.UsageError):
            kv.KVConfig(**wrong)
    with pytest.raises(errors.UsageError, match="bytes a token"):
        kv.compress(make(70, layers=4, heads=1), bits=0.1, calibration=None)
