"""Factors: what a cache's components have in common that its calibration does not know."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum import errors, kv
from siglum.codecs.container import Chunk, ChunkType, Reader, write
from siglum.codecs.container_source import Source
from siglum.codecs.kv import factors, reference
from siglum.codecs.kv.calibration import Calibration
from siglum.codecs.kv.decoding import Decoder
from siglum.codecs.kv.factors import Factored, Factors
from siglum.codecs.kv.rows import floats_of

TOKENS = 700
Make = Callable[..., kv.KVCache]


@pytest.fixture(scope="module")
def coded(foreign: kv.KVCache, calibration: Calibration) -> bytes:
    return kv.compress(foreign, quality=30, calibration=calibration)


def found_in(data: bytes, calibration: Calibration) -> list[int]:
    parts = Decoder(io.BytesIO(data), calibration).plan.values()
    return [len(part.loads) if part.loads is not None else 0 for part in parts]


def noise(cache: kv.KVCache, data: bytes, calibration: Calibration) -> float:
    """Squared error a component in the weighted domain, in squared steps."""
    again = kv.decompress(data, calibration=calibration)
    total, count, step = 0.0, 0, next(iter(Decoder(io.BytesIO(data), calibration).plan.values())).step
    for group, which in calibration.transforms:
        one, other = (
            floats_of(it, calibration.layout, group, which, 4, it.tokens, 0) for it in (cache, again)
        )
        error = calibration.transforms[group, which].weighted(one - other) / step
        total, count = total + float(np.square(error).sum()), count + error.size
    return total / count


def test_fewer_bytes_and_no_more_noise(foreign, coded: bytes, calibration: Calibration) -> None:
    plain = kv.compress(foreign, quality=30, calibration=calibration, effort=4)
    assert all(found_in(coded, calibration)) and not any(found_in(plain, calibration))
    assert len(coded) < 0.9 * len(plain)
    assert noise(foreign, coded, calibration) < 1.02 * noise(foreign, plain, calibration)


def test_decoded_as_the_format_says(coded: bytes, calibration: Calibration) -> None:
    decoder = Decoder(io.BytesIO(coded), calibration)
    block = [it for it in decoder.coded_blocks() if it.part.which and it.method == 2][3]
    part = decoder.plan[block.part.group, 1]
    made = part.transform
    assert isinstance(made, Factored)
    symbols = reference.decode(part, block.body, block.crc, block.part.tokens)[0]
    everything = np.zeros((len(symbols), made.rank), np.float64)
    everything[:, part.coded] = symbols + part.offsets
    count, reach = made.loads.shape
    components = everything[:, count:]
    components[:, :reach] += everything[:, :count] @ made.loads
    rows = components @ made.plain.synthesis * part.step + part.centre
    first = block.part.first
    again = kv.decompress(coded, calibration=calibration, start=first, stop=block.part.stop)
    got = floats_of(again, calibration.layout, block.part.group, 1, 0, again.tokens, first)
    assert np.sqrt(np.mean(np.square(rows - got))) < 0.01 * np.sqrt(np.mean(np.square(rows)))


def test_parts_alone(coded: bytes, calibration: Calibration) -> None:
    whole = kv.decompress(coded, calibration=calibration)
    part = kv.decompress(coded, calibration=calibration, start=128, stop=192, layers=[3])
    assert np.array_equal(part.layers[0].keys, whole.layers[3].keys[:, 128:192])
    assert np.array_equal(part.layers[0].values, whole.layers[3].values[:, 128:192])


def test_appended_and_streamed(foreign, calibration: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "a.sgl"
    with path.open("wb") as file, kv.Encoder(file, quality=30, calibration=calibration) as encoder:
        encoder.append(foreign.slice(0, 560))
        encoder.append(foreign.slice(560, 600))
    assert all(found_in(path.read_bytes(), calibration))
    before = path.read_bytes()
    kv.append(path, foreign.slice(600, TOKENS), calibration=calibration)
    after = path.read_bytes()
    assert kv.decompress(after, calibration=calibration).tokens == TOKENS
    assert len(after) > len(before)
    assert noise(foreign, after, calibration) < 0.2


def test_where_there_are_none(make: Make, foreign, calibration: Calibration) -> None:
    known = kv.compress(make(TOKENS, seed=9), quality=30, calibration=calibration)
    short = kv.compress(foreign.slice(0, 400), quality=30, calibration=calibration)
    assert not any(found_in(known, calibration) + found_in(short, calibration))
    fixed = Decoder(io.BytesIO(kv.compress(foreign, bits=2.0, calibration=calibration)), calibration).plan
    assert not any(isinstance(part.components.transform, Factored) for part in fixed.values())


def test_a_token_beyond_all_symbols(foreign, calibration: Calibration) -> None:
    layers = [layer._replace(values=layer.values.copy()) for layer in foreign.layers]
    layers[1].values[:, 100] = 60000
    wild = kv.KVCache(layers, foreign.dtype, foreign.model, foreign.position)
    data = kv.compress(wild, quality=60, calibration=calibration)
    again = kv.decompress(data, calibration=calibration)
    assert np.allclose(again.layers[1].values[:, 100], 60000, rtol=0.02)
    layers[1].values[:, 100] = np.inf
    with pytest.raises(errors.UnsupportedInputError, match="token 100"):
        kv.compress(wild, quality=60, calibration=calibration)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 48),
    st.integers(48, 90),
    st.integers(factors.LEAST_UNITS, factors.MOST_UNITS),
    st.integers(0, 2**32 - 1),
)
def test_there_and_back(count: int, reach: int, unit: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    spread = random.choice([0.3, 3.0, 3000.0], (count, 1))
    numbers = np.clip(np.rint(random.standard_normal((count, reach)) * spread), -32767, 32767).astype(
        np.int32
    )
    tables = random.integers(0, 64, count).astype(np.int32)
    units = np.clip(unit + random.integers(-40, 40, count), factors.LEAST_UNITS, factors.MOST_UNITS)
    out = bytearray()
    factors.pack(out, Factors(numbers, units.astype(np.int32), tables))
    source = Source(bytes(out))
    again = factors.unpack(source, reach)
    assert source.at_end()
    for name in ("numbers", "units", "tables"):
        assert np.array_equal(getattr(again, name), getattr(Factors(numbers, units, tables), name))
    with pytest.raises(errors.BitstreamError):
        factors.unpack(Source(bytes(out)), reach + 1)
    for end in (0, 1, count, len(out) // 2, len(out) - 1):
        with pytest.raises(errors.BitstreamError):
            factors.unpack(Source(bytes(out[:end])), reach)


@pytest.mark.parametrize(
    ("count", "tables", "units"), [(0, 1, 0), (49, 1, 0), (2, 64, 0), (2, 1, 1001), (2, 1, -2001)]
)
def test_what_cannot_be(count: int, tables: int, units: int) -> None:
    out = bytearray()
    rows = max(count, 1)
    factors.pack(
        out,
        Factors(
            np.ones((rows, 60), np.int32), np.full(rows, units, np.int32), np.full(rows, tables, np.int32)
        ),
    )
    out[0] = count
    with pytest.raises(errors.BitstreamError):
        factors.unpack(Source(bytes(out)), 60)


def test_loads_too_large() -> None:
    out = bytearray()
    numbers = np.full((1, 60), 40000, np.int32)
    factors.pack(out, Factors(numbers, np.zeros(1, np.int32), np.zeros(1, np.int32)))
    with pytest.raises(errors.MalformedHeader, match="load"):
        factors.unpack(Source(bytes(out)), 60)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_forged_tables(coded: bytes, calibration: Calibration, data: st.DataObject) -> None:
    """Any bytes in the tables, with the container's checksums as they must be: an error or a cache, never a crash."""
    reader = Reader(coded)
    chunks = list(reader.chunks())
    which = next(i for i, chunk in enumerate(chunks) if chunk.type == ChunkType.TABLES)
    payload = bytearray(chunks[which].payload)
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        payload = payload[: data.draw(st.integers(0, len(payload)))]
    chunks[which] = Chunk(ChunkType.TABLES, chunks[which].sequence, bytes(payload), chunks[which].symbols_crc)
    forged = write(reader.header, chunks)
    for partial in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(errors.BitstreamError):
                kv.decompress(forged, calibration=calibration, partial=partial, threads=1)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(20, 400), st.integers(100, 600))
def test_the_strongest_directions(seed: int, strength: float, tokens: int) -> None:
    random = np.random.default_rng(seed)
    width = 120
    direction = random.standard_normal(width)
    direction /= np.linalg.norm(direction)
    rows = random.standard_normal((tokens, width))
    rows += np.sqrt(strength - 1) * random.standard_normal((tokens, 1)) * direction
    found = factors.strongest(rows.astype(np.float32), 4)
    assert found is not None
    variance, directions = found
    assert np.allclose(directions.T @ directions, np.eye(4), atol=1e-3)
    assert abs(directions[:, 0] @ direction) > 0.75
    real = factors.unbiased(variance, width / tokens)
    assert (real <= variance + 1e-4).all() and (real >= 1).all()
    exact = (
        directions[:, 0]
        @ (np.eye(width) + (strength - 1) * np.outer(direction, direction))
        @ directions[:, 0]
    )
    assert 0.6 * exact < real[0] < 1.6 * exact


def test_noise_has_no_factors() -> None:
    rows = np.random.default_rng(3).standard_normal((600, 200)).astype(np.float32)
    assert factors.fit(rows, np.ones(200, np.float32), 2048) is None
    assert factors.fit(rows * np.inf, np.ones(200, np.float32), 2048) is None
