import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.entropy import rans
from siglum.entropy.coders import CODERS
from siglum.entropy.gaussian import GAUSSIAN_SCALES, gaussian_tables
from siglum.entropy.tables import Tables, normalise
from siglum.errors import BitstreamError, MalformedHeader, Truncated, UsageError

LANES = [1, 2, 4, 8, 16, 32]
INT32 = (-(2**31), 2**31 - 1)


@st.composite
def random_tables(draw):
    precision = draw(st.integers(8, 12))
    count = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = [draw(st.sampled_from([2, 3, 17, 100, 256])) for _ in range(count)]
    sizes = [min(n, 1 << precision - 1) for n in sizes]
    frequencies = [normalise((rng.gamma(0.3, size=n) * 2**32).astype(int).tolist(), precision) for n in sizes]
    return Tables.from_frequencies(frequencies, rng.integers(-200, 100, count), precision)


@st.composite
def chunks(draw):
    """Steps of (symbols, tables, indexes), each with tables of its own."""
    steps = []
    for _ in range(draw(st.integers(1, 3))):
        tables = draw(random_tables())
        rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        count = draw(st.integers(0, 200))
        kind = draw(st.sampled_from([np.uint8, np.uint16, np.int32]))
        indexes = rng.integers(0, len(tables), count).astype(kind)
        symbols = tables.offsets[indexes] + rng.integers(-3, 260, count)
        if count and draw(st.booleans()):
            symbols[rng.integers(0, count)] = draw(st.integers(-(2**31) + 300, 2**31 - 300))
        steps.append((symbols.astype(np.int32), tables, indexes))
    return steps


def code(steps, lanes):
    encoder = rans.Encoder(lanes)
    for step in steps:
        encoder.push(*step)
    return encoder.finish()


@settings(deadline=None, max_examples=150)
@given(chunks(), st.sampled_from([None, *LANES]))
def test_what_goes_in_comes_out(steps, lanes):
    payload = code(steps, lanes)
    decoder = rans.Decoder(payload)
    for symbols, tables, indexes in steps:
        assert np.array_equal(decoder.decode(tables, indexes), symbols)
    decoder.finish()
    ideal = sum(tables.bits(symbols, indexes) for symbols, tables, indexes in steps)
    states = 4 * (lanes or rans.choose_lanes(ideal))
    assert len(payload) <= ideal / 8 * 1.002 + states + 8


@settings(deadline=None, max_examples=50)
@given(chunks(), st.sampled_from(LANES), st.data())
def test_a_prefix_of_the_steps_decodes_alone(steps, lanes, data):
    """The decoder depends on what was decoded, not on what follows: an early stop gives the same symbols."""
    decoder = rans.Decoder(code(steps, lanes))
    symbols, tables, indexes = steps[0]
    stop = data.draw(st.integers(0, len(symbols)))
    assert np.array_equal(decoder.decode(tables, indexes[:stop]), symbols[:stop])


@settings(deadline=None, max_examples=400)
@given(chunks(), st.sampled_from(LANES), st.data())
def test_damage_never_crashes(steps, lanes, data):
    payload = bytearray(code(steps, lanes))
    kind = data.draw(st.sampled_from(["flip", "cut", "random", "longer"]))
    if kind == "flip":
        bit = data.draw(st.integers(0, 8 * len(payload) - 1))
        payload[bit // 8] ^= 1 << bit % 8
    elif kind == "cut":
        payload = payload[: data.draw(st.integers(0, len(payload) - 1))]
    elif kind == "random":
        payload = bytearray(data.draw(st.binary(max_size=300)))
    else:
        payload += data.draw(st.binary(min_size=1, max_size=5))
    try:
        decoder = rans.Decoder(payload)
        decoded = [decoder.decode(tables, indexes) for _, tables, indexes in steps]
        decoder.finish()
    except BitstreamError:
        return
    assert kind in ("flip", "random") or all(
        np.array_equal(got, step[0]) for got, step in zip(decoded, steps, strict=True)
    )


def test_every_cut_is_found():
    tables = gaussian_tables()
    indexes = np.tile(np.arange(64, dtype=np.uint8), 8)
    symbols = np.rint(np.random.default_rng(1).normal(size=512) * GAUSSIAN_SCALES[indexes]).astype(np.int32)
    symbols[5] = 1000
    for lanes in LANES:
        payload = rans.encode(symbols, tables, indexes, lanes)
        for size in range(len(payload)):
            with pytest.raises(BitstreamError):
                rans.decode(payload[:size], tables, indexes)


TABLES = Tables.from_frequencies([[2048, 1024, 1023, 1]], [-1])


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", Truncated),
        (b"\x01", Truncated),
        (b"\x06", MalformedHeader),
        (b"\x10", Truncated),
        (b"\x00\x00", Truncated),
        (b"\x00\x00\x80", MalformedHeader),  # filling bit set
        (b"\x00\x00\x00\x01", MalformedHeader),  # half a word
        (b"\x10\x00\x00\x01", MalformedHeader),  # the same with 16 bits of state
        (b"\xf0\x00\x00\x00", Truncated),  # 30 bits of state
        (b"\x01\x0f\x00\x00\x00\x00", Truncated),  # 4 bits of exponent, 15 and 30 of states
        (b"\x08\x00\x00\x00\x00", MalformedHeader),  # side stream of 0 bytes
        (b"\x08\x81\x00\x00\x00\x01", MalformedHeader),  # padded varint
        (b"\x08" + b"\xff" * 8 + b"\x7f" + b"\x00\x00", Truncated),  # 2**63 bytes of side stream
        (b"\x08" + b"\xff" * 30, MalformedHeader),
        (b"\x08\x02\x00\x00\x01", Truncated),
    ],
)
def test_bad_heads(payload, error):
    with pytest.raises(error):
        rans.Decoder(payload)


def test_an_escape_beyond_32_bits_is_refused():
    payload = bytearray(rans.encode(np.array([2**31 - 1], np.int32), TABLES, 0))
    assert payload[0] & 15 == 8 and payload[1] == 8
    for side, error in ((b"\x00" * 8, BitstreamError), (b"\x00\x00\x00\x80" + b"\xff" * 4, BitstreamError)):
        broken = bytes(payload[:-8]) + side
        with pytest.raises(error):
            rans.decode(broken, TABLES, 0, shape=1)
    short = bytes([payload[0], 1]) + bytes(payload[2:-8]) + b"\x00"
    with pytest.raises(Truncated):
        rans.decode(short, TABLES, 0, shape=1)


def test_the_ends_of_int32():
    symbols = np.array([*INT32, 0, -1, INT32[0] + 1], dtype=np.int32)
    assert np.array_equal(rans.decode(rans.encode(symbols, TABLES, 0), TABLES, 0, shape=5), symbols)
    far = Tables.from_frequencies([[2048, 2048]], [1000])
    encoder = rans.Encoder()
    with pytest.raises(UsageError, match="beyond"):
        encoder.push(symbols, far, 0)
    assert encoder.finish() == b"\0"  # a refused step leaves nothing behind


def test_a_chunk_without_symbols_is_one_byte():
    encoder = rans.Encoder(32)
    encoder.push(np.zeros((0, 3), np.int32), TABLES, 0)
    assert encoder.finish() == b"\0"
    decoder = rans.Decoder(b"\0")
    assert decoder.decode(TABLES, np.zeros((0, 3), np.uint8)).shape == (0, 3)
    decoder.finish()
    with pytest.raises(Truncated):
        decoder.decode(TABLES, 0, shape=1)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32), st.integers(1, 2000))
def test_one_lane_costs_less_than_four_bytes(seed, count):
    rng = np.random.default_rng(seed)
    tables = gaussian_tables()
    indexes = rng.integers(0, 64, count).astype(np.uint8)
    symbols = np.rint(rng.normal(size=count) * GAUSSIAN_SCALES[indexes]).astype(np.int32)
    limits = tables.offsets[indexes], tables.offsets[indexes] + tables.sizes[indexes].astype(np.int32) - 2
    symbols = np.clip(symbols, *limits)  # without escapes, whose side stream has a length of its own
    size = len(rans.encode(symbols, tables, indexes, lanes=1))
    assert size <= tables.bits(symbols, indexes) / 8 * 1.0005 + 4


def test_left_over_and_missing_symbols_are_found():
    symbols = np.arange(100, dtype=np.int32) % 3 - 1
    payload = rans.encode(symbols, TABLES, 0, 4)
    for count in (0, 50, 99, 101, 150):
        with pytest.raises(BitstreamError):
            rans.decode(payload, TABLES, 0, shape=count)


def test_errors_stay():
    decoder = rans.Decoder(rans.encode(np.zeros(10, np.int32), TABLES, 0))
    with pytest.raises(Truncated):
        decoder.decode(TABLES, 0, shape=1000)
    with pytest.raises(Truncated):
        decoder.decode(TABLES, 0, shape=1)
    with pytest.raises(Truncated):
        decoder.finish()


@pytest.mark.parametrize(
    ("symbols", "indexes"),
    [
        (np.full(3, 2**31), 0),
        (np.zeros(3, np.float32), 0),
        (np.zeros(3, np.int32), 1),
        (np.zeros(3, np.int32), -1),
        (np.zeros(3, np.int32), np.zeros(2, np.uint8)),
        (np.zeros(3, np.int32), np.zeros(3, np.int64)),
        (np.zeros(3, np.int32), np.array([0, 1, 0], np.uint8)),
        (np.zeros(3, np.int32), np.array([0, -1, 0], np.int32)),
    ],
)
def test_wrong_arguments(symbols, indexes):
    with pytest.raises(UsageError):
        rans.encode(symbols, TABLES, indexes)
    if symbols.dtype == np.int32:
        with pytest.raises(UsageError):
            decoder = rans.Decoder(rans.encode(symbols, TABLES, 0))
            decoder.decode(TABLES, indexes, out=np.empty(3, np.int32))


def test_lanes():
    with pytest.raises(UsageError):
        rans.Encoder(3)
    assert [rans.choose_lanes(n) for n in (0, 6199, 6200, 12400, 99199, 99200, 1e12)] == [
        1,
        1,
        2,
        4,
        16,
        32,
        32,
    ]
    from siglum.kernels import _native

    for bits in (0, 6199, 6200, 49599, 49600, 99200, 10**12):
        assert _native.rans_choose_lanes(bits) == rans.choose_lanes(bits)
    heads = [
        rans.encode(np.zeros(n, np.int32), Tables.from_frequencies([[256, 3840]], [0]), 0)[0]
        for n in (100, 8000, 30000)
    ]
    assert [head & 15 for head in heads] == [0, 3, 5]


def test_buffers_of_other_kinds():
    torch = pytest.importorskip("torch")
    symbols = np.arange(24, dtype=np.int32).reshape(4, 6) % 3 - 1
    payload = rans.encode(symbols, TABLES, 0)
    assert rans.encode(torch.from_numpy(symbols), TABLES, 0) == payload
    assert rans.encode(np.asfortranarray(symbols), TABLES, 0) == payload
    assert rans.encode(symbols.astype(np.int8), TABLES, 0) == payload
    out = np.empty((4, 6), np.int32)
    assert (
        rans.Decoder(memoryview(bytearray(payload))).decode(TABLES, np.zeros((4, 6), np.uint16), out=out)
        is out
    )
    assert np.array_equal(out, symbols)
    with pytest.raises(UsageError):
        rans.Decoder(payload).decode(TABLES, 0, out=np.empty(24, np.int64))
    with pytest.raises(UsageError):
        rans.Decoder(payload).decode(TABLES, 0)


def test_threads_share_tables():
    tables = gaussian_tables()
    indexes = np.random.default_rng(2).integers(0, 64, 20000).astype(np.uint8)
    symbols = np.rint(np.random.default_rng(3).normal(size=20000) * GAUSSIAN_SCALES[indexes]).astype(np.int32)
    payload = rans.encode(symbols, tables, indexes)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: rans.decode(payload, tables, indexes), range(16)))
    assert all(np.array_equal(result, symbols) for result in results)


def test_importing_the_coder_does_not_import_torch():
    program = (
        "import sys, siglum.entropy; assert 'torch' not in sys.modules and 'constriction' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", CODERS.names())
def test_every_coder_gives_back_all_steps(name: str) -> None:
    coder, bank = CODERS.get(name), gaussian_tables()
    random = np.random.default_rng(5)
    steps = []
    for shape in ((3, 7), (0,), (500,), (1,)):
        indexes = random.integers(0, len(bank), shape).astype(np.uint8)
        steps.append((indexes, np.rint(random.normal(size=shape) * 20).astype(np.int32)))
    encoder = coder.encoder()
    for indexes, symbols in steps:
        encoder.push(symbols, bank, indexes)
    decoder = coder.decoder(encoder.finish())
    for indexes, symbols in steps:
        assert np.array_equal(decoder.decode(bank, indexes), symbols)
    decoder.finish()
