from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.entropy import precise
from siglum.entropy.gaussian import gaussian_tables
from siglum.entropy.precise_tables import PreciseTables, normalise
from siglum.errors import BitstreamError, MalformedHeader, Truncated, UsageError
from siglum.kernels.reference import precise as reference

LANES = [1, 2, 4]
INT32 = (-(2**31), 2**31 - 1)


@st.composite
def random_tables(draw, closed=None):
    precision = draw(st.integers(16, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = [draw(st.sampled_from([1, 2, 3, 17, 256, 5000])) for _ in range(draw(st.integers(1, 4)))]
    closed = draw(st.booleans()) if closed is None else closed
    frequencies = [
        normalise((rng.gamma(0.2, size=n) * 2**30).astype(np.int64) + (n == 1), precision) for n in sizes
    ]
    return PreciseTables(frequencies, rng.integers(-200, 100, len(sizes)), precision, closed)


@st.composite
def chunks(draw):
    """Steps of (symbols, tables, indexes), each with tables of its own."""
    steps = []
    for _ in range(draw(st.integers(1, 3))):
        tables = draw(random_tables())
        rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        count = draw(st.integers(0, 150))
        kind = draw(st.sampled_from([np.uint8, np.uint16, np.int32]))
        indexes = rng.integers(0, len(tables), count).astype(kind)
        sizes = tables.sizes[indexes].astype(np.int64)
        if tables.closed:
            symbols = tables.offsets[indexes] + rng.integers(0, sizes)
        else:
            symbols = tables.offsets[indexes] + rng.integers(-3, sizes + 3)
            if count and draw(st.booleans()):
                symbols[rng.integers(0, count)] = draw(st.integers(-(2**31) + 300, 2**31 - 5300))
        steps.append((symbols.astype(np.int32), tables, indexes))
    return steps


def code(steps, lanes):
    encoder = precise.Encoder(lanes)
    for step in steps:
        encoder.push(*step)
    return encoder.finish()


@settings(deadline=None, max_examples=100)
@given(chunks(), st.sampled_from([None, *LANES]))
def test_what_goes_in_comes_out(steps, lanes):
    decoder = precise.Decoder(code(steps, lanes))
    for symbols, tables, indexes in steps:
        assert np.array_equal(decoder.decode(tables, indexes), symbols)
    decoder.finish()


@settings(deadline=None, max_examples=50)
@given(chunks(), st.sampled_from(LANES))
def test_the_reference_writes_and_reads_the_same_bytes(steps, lanes):
    payload = code(steps, lanes)
    assert reference.encode(steps, lanes) == payload
    decoder = reference.Decoder(payload)
    for symbols, tables, indexes in steps:
        assert np.array_equal(decoder.decode(tables, indexes), symbols)
    decoder.finish()


@settings(deadline=None, max_examples=200)
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
        decoder = precise.Decoder(payload)
        decoded = [decoder.decode(tables, indexes) for _, tables, indexes in steps]
        decoder.finish()
    except BitstreamError:
        return
    assert kind in ("flip", "random") or all(
        np.array_equal(got, step[0]) for got, step in zip(decoded, steps, strict=True)
    )


def source(probabilities, count, precision=24, seed=0):
    p = np.asarray(probabilities, dtype=np.float64)
    p = p / p.sum()
    symbols = np.random.default_rng(seed).choice(len(p), size=count, p=p).astype(np.int32)
    return (
        PreciseTables.from_pmf([p], [0], precision, closed=True),
        symbols,
        float(-np.log2(p[symbols]).sum()),
    )


@pytest.mark.parametrize(
    "probabilities",
    [
        [0.99, 0.01],
        [0.5, 0.3, 0.2],
        np.exp(-np.abs(np.arange(256) - 128) / 3),
        np.exp(-0.5 * ((np.arange(256) - 128) / 20) ** 2),
        np.random.default_rng(1).gamma(1.0, size=4096),
    ],
    ids=["0.08 bits", "1.5 bits", "4 bits", "6 bits", "11 bits"],
)
def test_at_most_a_ten_thousandth_over_the_entropy(probabilities):
    tables, symbols, entropy = source(probabilities, 1_500_000)
    payload = precise.encode(symbols, tables, 0)
    assert 8 * len(payload) <= entropy * 1.0001 + 40  # a lane's state and the head
    assert np.array_equal(precise.decode(payload, tables, 0, len(symbols)), symbols)


@pytest.mark.parametrize("rare", [2**-10, 2**-14, 2**-18])
def test_near_deterministic_sources(rare):
    """Many short chunks of one source are no test of the rate; one long chunk, symbols repeated, is."""
    count = 1 << 22
    tables = PreciseTables.from_pmf([[1 - rare, rare]], [0], closed=True)
    symbols = np.zeros(count, dtype=np.int32)
    symbols[:: int(1 / rare)] = 1
    entropy = -int(count * rare) * np.log2(rare) - (count - int(count * rare)) * np.log2(1 - rare)
    size = 8 * len(precise.encode(symbols, tables, 0))
    assert size <= entropy * 1.0001 + 47  # at most 6 bytes with the filling, whatever the entropy is


def test_constriction_needs_as_many_bytes():
    constriction = pytest.importorskip("constriction")
    rng = np.random.default_rng(3)
    tables, symbols, _ = source(rng.gamma(0.5, size=300), 400_000)
    coder = constriction.stream.stack.AnsCoder()
    model = constriction.stream.model.Categorical(tables.frequencies[0] / 2.0**24, perfect=False)
    coder.encode_reverse(symbols, model)
    ours = precise.encode(symbols, tables, 0, lanes=1)
    assert len(ours) == pytest.approx(4 * len(coder.get_compressed()), rel=1e-4)


def test_every_cut_is_found():
    tables, symbols, _ = source(np.ones(50), 300)
    open_tables = PreciseTables.from_pmf([np.ones(40) / 45], [0])
    for chosen in (tables, open_tables):
        for lanes in LANES:
            payload = precise.encode(symbols, chosen, 0, lanes)
            for size in range(len(payload)):
                with pytest.raises(BitstreamError):
                    precise.decode(payload[:size], chosen, 0, len(symbols))


TABLES = PreciseTables.from_frequencies([[2**15, 2**14, 2**14 - 1, 1]], [-1], 16)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", Truncated),
        (b"\x01", Truncated),
        (b"\x03", MalformedHeader),
        (b"\x03" + bytes(20), MalformedHeader),
        (b"\x00\x00\x00\x00\x80", MalformedHeader),  # filling bit set
        (b"\x00" + bytes(3), Truncated),
        (b"\x00" + bytes(4) + b"\x01\x02", MalformedHeader),  # half a word
        (b"\x04\x00" + bytes(4), MalformedHeader),  # side stream of 0 bytes
        (b"\x04\x81\x00" + bytes(5), MalformedHeader),  # padded varint
        (b"\x04" + b"\xff" * 8 + b"\x7f" + bytes(4), Truncated),  # 2**63 bytes of side stream
        (b"\x04" + b"\xff" * 30, MalformedHeader),
        (b"\xf8" + bytes(7), Truncated),  # a state of 62 bits
    ],
)
def test_bad_heads(payload, error):
    with pytest.raises(error):
        precise.Decoder(payload)


def test_the_ends_of_int32():
    symbols = np.array([*INT32, 0, -1, INT32[0] + 1], dtype=np.int32)
    assert np.array_equal(precise.decode(precise.encode(symbols, TABLES, 0), TABLES, 0, 5), symbols)
    stack = precise.Stack()
    stack.push(symbols, TABLES, 0)
    assert np.array_equal(stack.pop(TABLES, 0, 5), symbols)
    far = PreciseTables([[2**16]], [1000], 16)
    for coder in (precise.Encoder(), stack):
        with pytest.raises(UsageError, match="beyond"):
            coder.push(symbols, far, 0)
    stack.finish()


def test_a_chunk_without_symbols_is_one_byte():
    encoder = precise.Encoder(4)
    encoder.push(np.zeros((0, 3), np.int32), TABLES, 0)
    assert encoder.finish() == b"\0"
    decoder = precise.Decoder(b"\0")
    assert decoder.decode(TABLES, np.zeros((0, 3), np.uint8)).shape == (0, 3)
    decoder.finish()
    with pytest.raises(Truncated):
        decoder.decode(TABLES, 0, shape=1)
    with pytest.raises(Truncated):
        decoder.finish()


def test_direct_steps_mix_with_tables():
    rng = np.random.default_rng(6)
    for lanes in LANES:
        rows = np.sort(rng.integers(0, 2**20 + 1, (50, 6)), axis=1)
        rows[:, 0], rows[:, -1] = 0, 2**20
        numbers = np.array([rng.choice(np.flatnonzero(np.diff(row))) for row in rows])
        starts = np.take_along_axis(rows, numbers[:, None], 1)[:, 0]
        frequencies = np.take_along_axis(rows, numbers[:, None] + 1, 1)[:, 0] - starts
        symbols = rng.integers(-1, 2, 30).astype(np.int32)
        coders = (precise.Encoder(lanes), precise.Stack())
        encoder, stack = coders
        encoder.push(symbols, TABLES, 0)
        encoder.push_direct(starts, frequencies, 20)
        encoder.push_direct(starts, frequencies, 20)
        encoder.push(symbols, TABLES, 0)
        decoder = precise.Decoder(encoder.finish())
        assert decoder.lanes == lanes
        assert np.array_equal(decoder.decode(TABLES, 0, 30), symbols)
        assert np.array_equal(decoder.decode_direct(rows, 20), numbers)
        decoder.begin_step()
        for i in range(0, 50, lanes):
            count = min(lanes, 50 - i)
            slots = decoder.peek(count, 20)
            assert np.all((starts[i : i + count] <= slots) & (slots < (starts + frequencies)[i : i + count]))
            with pytest.raises(UsageError, match="hold"):
                decoder.advance((slots + 1) % 2**20, np.ones(count, int), 20)
            decoder.advance(starts[i : i + count], frequencies[i : i + count], 20)
        assert np.array_equal(decoder.decode(TABLES, 0, 30), symbols)
        decoder.finish()

        stack.push_direct(starts, frequencies, 20)
        stack.push(symbols, TABLES, 0)
        stack.push_direct(starts[:3], frequencies[:3], 20)
        for i in range(3):
            assert starts[i] <= stack.peek(20) < starts[i] + frequencies[i]
            with pytest.raises(UsageError, match="hold"):
                stack.advance((stack.peek(20) + 1) % 2**20, 1, 20)
            stack.advance(int(starts[i]), int(frequencies[i]), 20)
        assert np.array_equal(stack.pop(TABLES, 0, 30), symbols)
        assert np.array_equal(stack.pop_direct(rows, 20), numbers)
        stack.finish()


@settings(deadline=None, max_examples=60)
@given(random_tables(closed=True), st.binary(min_size=400, max_size=400), st.integers(0, 40))
def test_popping_and_pushing_back_gives_the_same_bits(tables, bits, count):
    """Bits-back needs the bijection: any bits decode to symbols that encode to these bits."""
    stack = precise.Stack.from_bits(bits)
    before = stack.to_bytes()
    indexes = np.arange(count, dtype=np.uint8) % len(tables)
    symbols = stack.pop(tables, indexes)
    copy = precise.Stack(stack.to_bytes())
    for each in (stack, copy):
        each.push(symbols, tables, indexes)
        assert each.to_bytes() == before
    assert stack.bits == 32 * 100


def test_a_stack_that_runs_out_stays_as_it_was():
    rows = np.tile([0, 2**23, 2**24], (100, 1))
    for pop in (lambda stack: stack.pop(TABLES, 0, 1000), lambda stack: stack.pop_direct(rows, 24)):
        stack = precise.Stack.from_bits(bytes(range(8)))
        before = stack.to_bytes()
        with pytest.raises(Truncated):
            pop(stack)
        assert stack.to_bytes() == before
    stack.advance(stack.peek(24), 1, 24)
    stack.advance(stack.peek(24), 1, 24)
    before = stack.to_bytes()
    with pytest.raises(Truncated):
        stack.advance(stack.peek(24), 1, 24)
    assert stack.to_bytes() == before
    with pytest.raises(UsageError):
        precise.Stack.from_bits(b"abc")
    for data, error in ((b"", Truncated), (bytes(8), MalformedHeader), (b"\xff" * 8, MalformedHeader)):
        with pytest.raises(error):
            precise.Stack(data)
    with pytest.raises(BitstreamError):
        precise.Stack.from_bits(bytes(4)).finish()


def test_wrong_arguments():
    symbols = np.zeros(3, np.int32)
    for coder in (precise.Encoder(), precise.Stack()):
        for indexes in (1, -1, np.zeros(2, np.uint8), np.array([0, 1, 0], np.uint8), np.zeros(3, np.float32)):
            with pytest.raises(UsageError):
                coder.push(symbols, TABLES, indexes)
        for starts, frequencies, precision in (
            ([0], [0], 16),
            ([1], [2**16], 16),
            ([-1], [1], 16),
            ([0], [1], 25),
            ([0], [1], 0),
            ([0, 1], [1], 16),
            ([0.5], [1], 16),
        ):
            with pytest.raises(UsageError):
                coder.push_direct(starts, frequencies, precision)
    closed = PreciseTables([[2**15, 2**15]], [0], 16, closed=True)
    with pytest.raises(UsageError, match="closed"):
        precise.encode(symbols + 2, closed, 0)
    with pytest.raises(UsageError):
        precise.Encoder(3)
    decoder = precise.Decoder(precise.encode(symbols, TABLES, 0))
    for rows, precision in (
        ([[0, 5, 4, 16]], 4),
        ([[1, 16]], 4),
        ([[0, 15]], 4),
        ([0, 16], 4),
        ([[0]], 4),
        ([[0, 16]], 99),
    ):
        with pytest.raises(UsageError):
            decoder.decode_direct(rows, precision)
        with pytest.raises(UsageError):
            precise.Stack.from_bits(bytes(8)).pop_direct(rows, precision)
    with pytest.raises(UsageError):
        decoder.peek(2, 16)
    with pytest.raises(UsageError):
        decoder.advance([0, 0], [1, 1], 16)


def test_tables_of_the_table_coder_serve_too():
    bank = gaussian_tables()
    indexes = np.arange(640, dtype=np.uint8) % 64
    symbols = np.random.default_rng(4).integers(-300, 300, 640).astype(np.int32)
    payload = precise.encode(symbols, bank, indexes)
    assert np.array_equal(precise.decode(payload, bank, indexes), symbols)
    assert payload == precise.encode(symbols, PreciseTables.from_tables(bank), indexes)


def test_threads_share_tables_but_not_coders():
    tables, symbols, _ = source(np.arange(1, 100), 50_000)
    payload = precise.encode(symbols, tables, 0)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: precise.decode(payload, tables, 0, len(symbols)), range(16)))
    assert all(np.array_equal(result, symbols) for result in results)
