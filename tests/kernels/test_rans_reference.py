"""The reference and the compiled coder: the same bytes, the same symbols; golden payloads pin both."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.entropy import rans
from siglum.entropy.gaussian import gaussian_tables
from siglum.entropy.tables import Tables, normalise
from siglum.errors import BitstreamError
from siglum.kernels.reference import rans as reference

TABLES = Tables.from_frequencies([[2048, 1024, 1023, 1], [1, 4095]], [-1, 40])
COARSE = Tables.from_frequencies([[100, 100, 55, 1]], [0], precision=8)


def random_steps(seed):
    rng = np.random.default_rng(seed)
    steps = []
    for _ in range(int(rng.integers(1, 4))):
        precision = int(rng.integers(3, 13))
        sizes = rng.integers(2, min(256, 1 << precision - 1) + 1, size=3)
        weights = [(rng.gamma(0.3, size=n) * 2**30).astype(int).tolist() for n in sizes]
        frequencies = [normalise([*w[:-1], w[-1] + 1], precision) for w in weights]
        tables = Tables.from_frequencies(frequencies, rng.integers(-300, 300, 3), precision)
        indexes = rng.integers(0, 3, int(rng.integers(0, 150))).astype(np.uint8)
        spread = int(rng.choice([5, 300, 2**30]))
        symbols = (tables.offsets[indexes] + rng.integers(-spread, spread, len(indexes))).astype(np.int32)
        steps.append((symbols, tables, indexes))
    return steps


@settings(deadline=None, max_examples=120)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 4, 8, 16, 32]), st.data())
def test_both_write_the_same_bytes_and_read_the_same_symbols(seed, lanes, data):
    steps = random_steps(seed)
    encoder = rans.Encoder(lanes)
    for step in steps:
        encoder.push(*step)
    payload = encoder.finish()
    assert payload == reference.encode(steps, lanes)
    assert read(reference.Decoder, payload, steps) == read(rans.Decoder, payload, steps)
    assert read(rans.Decoder, payload, steps)[0] == [symbols.tolist() for symbols, _, _ in steps]
    broken = bytearray(payload)
    bit = data.draw(st.integers(0, 8 * len(payload) - 1))
    broken[bit // 8] ^= 1 << bit % 8
    ours, theirs = read(rans.Decoder, bytes(broken), steps), read(reference.Decoder, bytes(broken), steps)
    assert ours[1] == theirs[1]
    if ours[1]:
        assert ours == theirs


def read(decoder_type, payload, steps):
    """The symbols of all steps, and whether the payload was accepted."""
    decoded = []
    try:
        decoder = decoder_type(payload)
        for _, tables, indexes in steps:
            decoded.append(decoder.decode(tables, indexes).tolist())
        decoder.finish()
    except BitstreamError:
        return decoded, False
    return decoded, True


def test_tables_with_more_entries_than_16_bits_number():
    rng = np.random.default_rng(0)
    tables = Tables.from_frequencies([np.full(256, 16)] * 300, np.arange(300))
    indexes = rng.integers(0, 300, 500).astype(np.uint16)
    symbols = (tables.offsets[indexes] + rng.integers(-2, 258, 500)).astype(np.int32)
    payload = rans.encode(symbols, tables, indexes, 8)
    assert payload == reference.encode([(symbols, tables, indexes)], 8)
    assert np.array_equal(rans.decode(payload, tables, indexes), symbols)


GOLDEN = [
    (
        [(np.array([0, -1, 1, 1, -1, 0, 5, -7]), TABLES, 0)],
        1,
        "2802270800d37eff0f1c09",
    ),
    (
        [
            (np.array([0, -1, -1]), TABLES, 0),
            (np.array([40, 41, -1, 0]), TABLES, np.array([1, 1, 0, 0], np.uint8)),
            (np.array([0, 1, 2, 1, 0, 2, 0]), COARSE, 0),
        ],
        2,
        "6901078068e82a7431f201",
    ),
    (
        [(np.arange(-20, 21), gaussian_tables(), 40)],
        4,
        "b20f4f000b9001dceabd006080bdc50133308230b3d0cfc033a1cd3329a90d4d233e6afeed9ff30ff9affa0f",
    ),
    ([(np.zeros(0, np.int32), TABLES, 0)], 32, "00"),
]


@pytest.mark.parametrize(("steps", "lanes", "expected"), GOLDEN)
def test_golden_payloads(steps, lanes, expected):
    encoder = rans.Encoder(lanes)
    for symbols, tables, indexes in steps:
        encoder.push(symbols.astype(np.int32), tables, indexes)
    assert encoder.finish().hex() == expected
    assert reference.encode(steps, lanes).hex() == expected
    for decoder in (rans.Decoder(bytes.fromhex(expected)), reference.Decoder(bytes.fromhex(expected))):
        for symbols, tables, indexes in steps:
            assert np.array_equal(decoder.decode(tables, indexes, shape=len(symbols)), symbols)
        decoder.finish()
