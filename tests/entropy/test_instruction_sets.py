"""One stream for every instruction set, number of threads and type of array."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.entropy import rans
from siglum.entropy.gaussian import GAUSSIAN_SCALES, gaussian_tables
from siglum.entropy.tables import Tables, normalise
from siglum.errors import BitstreamError
from siglum.kernels import dispatch
from siglum.kernels.reference import rans as reference

ISAS = dispatch.available_isas()
KINDS = [np.int8, np.uint8, np.int16, np.uint16, np.int32]


def many_tables(count, seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 60, count)
    frequencies = [normalise((rng.gamma(0.5, size=n) * 2**20).astype(int).tolist(), 11) for n in sizes]
    return Tables.from_frequencies(frequencies, rng.integers(-40, 40, count), 11)


TABLES = {"bank": gaussian_tables(), "few": many_tables(5, 1), "hundreds": many_tables(300, 2)}


def source(name, count, seed, far=0.002):
    """Symbols, some beyond their tables, and an index each."""
    rng = np.random.default_rng(seed)
    tables = TABLES[name]
    indexes = rng.integers(0, len(tables), count)
    symbols = tables.offsets[indexes] + rng.integers(0, tables.sizes[indexes].astype(int) - 1)
    escaped = rng.random(count) < far
    symbols[escaped] += rng.integers(-500, 500, int(escaped.sum()))
    return symbols.astype(np.int32), tables, indexes


def on_every_isa(monkeypatch, function, *arguments, **keywords):
    results = {}
    for isa in ISAS:
        monkeypatch.setenv("SIGLUM_ISA", isa)
        results[isa] = function(*arguments, **keywords)
    return results


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("lanes", [1, 8, 16, 32])
def test_every_isa_writes_and_reads_the_same(name, lanes, monkeypatch):
    for count in (1, 31, 32, 33, 64, 95, 1000, 4096, 4097, 20_000):
        symbols, tables, indexes = source(name, count, count)
        kinds = [np.uint16, np.int32] if len(tables) > 256 else [np.uint8, np.uint16, np.int32]
        for kind in kinds:
            which = indexes.astype(kind)
            payloads = on_every_isa(monkeypatch, rans.encode, symbols, tables, which, lanes)
            assert len(set(payloads.values())) == 1
            payload = payloads["scalar"]
            if count <= 1000 and kind == kinds[0]:
                assert payload == reference.encode([(symbols, tables, which)], lanes)
            decoded = on_every_isa(monkeypatch, rans.decode, payload, tables, which)
            assert all(np.array_equal(one, symbols) for one in decoded.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("closed", [False, True])
def test_every_type_of_symbols(kind, closed, monkeypatch):
    low, high = (-90, 90) if kind == np.int8 else (3, 255) if kind == np.uint8 else (0, 250)
    weights = 1 + np.exp(-0.5 * ((np.arange(low, high) - (low + high) / 2) / 20) ** 2) * 1000
    tables = Tables.from_pmf([weights, weights], [low, low], closed=closed)
    rng = np.random.default_rng(5)
    symbols = rng.integers(low, high, 9000).astype(kind)
    for indexes in (0, rng.integers(0, 2, 9000).astype(np.uint8)):
        frames = on_every_isa(monkeypatch, rans.compress, symbols, tables, indexes, chunk=2500)
        assert len(set(frames.values())) == 1
        assert frames["scalar"] == rans.compress(symbols.astype(np.int32), tables, indexes, chunk=2500)
        for dtype in (kind, np.int32):
            back = on_every_isa(monkeypatch, rans.decompress, frames["scalar"], tables, indexes, dtype=dtype)
            assert all(b.dtype == dtype and np.array_equal(b, symbols) for b in back.values())


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(TABLES)),
    st.integers(0, 9000),
    st.integers(1, 9000),
    st.sampled_from([None, 1, 4, 32]),
    st.sampled_from(ISAS),
    st.integers(0, 2**32),
)
def test_frames_do_not_depend_on_threads_or_chunks(name, count, chunk, lanes, isa, seed):
    symbols, tables, indexes = source(name, count, seed)
    which = indexes.astype(np.uint16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGLUM_ISA", isa)
        frames = {
            rans.compress(symbols, tables, which, chunk=chunk, lanes=lanes, threads=t) for t in (1, 2, 3)
        }
        assert len(frames) == 1
        frame = frames.pop()
        for threads in (1, 2):
            assert np.array_equal(rans.decompress(frame, tables, which, threads=threads), symbols)
        rng = np.random.default_rng(seed)
        start, stop = sorted(rng.integers(0, count + 1, 2).tolist())
        part = rans.decompress(frame, tables, which, start=start, stop=stop, threads=2)
        assert np.array_equal(part, symbols[start:stop])


@pytest.mark.parametrize("isa", ISAS)
def test_damage_gives_the_same_symbols_or_the_same_error(isa, monkeypatch):
    """Wherever a stream breaks, all instruction sets see it alike."""
    symbols, tables, indexes = source("bank", 6000, 3)
    which = indexes.astype(np.uint8)
    payload = rans.encode(symbols, tables, which, 32)
    rng = np.random.default_rng(4)
    for _ in range(150):
        broken = bytearray(payload[: rng.integers(1, len(payload) + 1)])
        for _ in range(rng.integers(0, 3)):
            broken[rng.integers(len(broken))] ^= 1 << rng.integers(8)
        results = []
        for name in ("scalar", isa):
            monkeypatch.setenv("SIGLUM_ISA", name)
            try:
                decoder = rans.Decoder(bytes(broken))
                results.append(decoder.decode(tables, which).tobytes())
                decoder.finish()
            except BitstreamError as error:
                results.append(f"{type(error).__name__}: {error}")
        half = len(results) // 2
        assert results[:half] == results[half:]


def test_a_bank_of_all_scales_in_two_chunks_of_unlike_lengths(monkeypatch):
    rng = np.random.default_rng(6)
    bank = gaussian_tables()
    which = rng.integers(0, 64, 70_000).astype(np.uint8)
    symbols = np.rint(rng.normal(size=70_000) * GAUSSIAN_SCALES[which]).astype(np.int32)
    frames = on_every_isa(monkeypatch, rans.compress, symbols, bank, which, chunk=50_000)
    assert len(set(frames.values())) == 1
    back = on_every_isa(monkeypatch, rans.decompress, frames["scalar"], bank, which)
    assert all(np.array_equal(one, symbols) for one in back.values())
