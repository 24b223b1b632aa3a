import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.entropy import rans
from siglum.entropy.tables import Tables
from siglum.errors import BitstreamError, Truncated, UsageError

TABLES = Tables.from_frequencies([[2048, 1024, 1023, 1]], [-1])


@st.composite
def direct_steps(draw):
    """Random cumulative rows and an entry of each."""
    precision = draw(st.integers(1, 15))
    entries = draw(st.integers(1, min(300, 1 << precision)))
    count = draw(st.integers(0, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    cuts = rng.integers(0, (1 << precision) + 1, (count, entries - 1))  # entries without slots among them
    rows = np.concatenate(
        [np.zeros((count, 1)), np.sort(cuts, axis=1), np.full((count, 1), 1 << precision)], axis=1
    )
    rows = rows.astype(np.uint16)
    slots = rng.integers(0, 1 << precision, count)
    numbers = np.array(
        [np.searchsorted(row, slot, side="right") - 1 for row, slot in zip(rows, slots, strict=True)]
    )
    return precision, rows, numbers.astype(np.int64)


def bounds(rows, numbers):
    i = np.arange(len(rows))
    return rows[i, numbers], rows[i, numbers + 1].astype(np.int64) - rows[i, numbers]


@settings(deadline=None, max_examples=150)
@given(st.lists(direct_steps(), min_size=1, max_size=3), st.sampled_from([None, 1, 2, 8, 32]))
def test_direct_steps_among_others(steps, lanes):
    encoder = rans.Encoder(lanes)
    symbols = np.array([0, -1, 1, 5], np.int32)
    ideal = TABLES.bits(symbols, 0)
    for precision, rows, numbers in steps:
        starts, frequencies = bounds(rows, numbers)
        encoder.push_direct(starts, frequencies, precision)
        ideal += float((precision - np.log2(np.maximum(frequencies, 1))).sum())
    encoder.push(symbols, TABLES, 0)
    payload = encoder.finish()
    assert len(payload) <= 1.001 * ideal / 8 + 4 * (lanes or rans.choose_lanes(ideal)) + 4
    decoder = rans.Decoder(payload)
    for precision, rows, numbers in steps:
        assert np.array_equal(decoder.decode_direct(rows, precision), numbers)
    assert np.array_equal(decoder.decode(TABLES, 0, shape=4), symbols)
    decoder.finish()


@settings(deadline=None, max_examples=80)
@given(direct_steps(), st.sampled_from([1, 4, 32]), st.integers(1, 32))
def test_peek_and_advance(step, lanes, few):
    precision, rows, numbers = step
    starts, frequencies = bounds(rows, numbers)
    encoder = rans.Encoder(lanes)
    encoder.push(np.array([1, 0, 0], np.int32), TABLES, 0)
    encoder.push_direct(starts, frequencies, precision)
    decoder = rans.Decoder(encoder.finish())
    decoder.decode(TABLES, 0, shape=3)
    assert decoder.lanes == lanes
    few = min(few, lanes)
    found = []
    for first in range(0, len(rows), few):
        part = rows[first : first + few]
        slots = decoder.peek(len(part), precision)
        entries = np.array(
            [np.searchsorted(r, s, side="right") - 1 for r, s in zip(part, slots, strict=True)]
        )
        decoder.advance(*bounds(part, entries), precision)
        found += entries.tolist()
    assert found == numbers.tolist()
    decoder.finish()


def test_certain_symbols_cost_nothing():
    encoder = rans.Encoder(1)
    encoder.push_direct(np.zeros(100_000, int), np.full(100_000, 2**15), 15)
    payload = encoder.finish()
    assert len(payload) <= 5
    decoder = rans.Decoder(payload)
    assert not decoder.decode_direct(np.tile(np.array([0, 2**15], np.uint16), (100_000, 1)), 15).any()
    decoder.finish()


@pytest.mark.parametrize(
    ("starts", "frequencies", "precision"),
    [
        ([0], [0], 8),
        ([1], [256], 8),
        ([256], [1], 8),
        ([-1], [1], 8),
        ([0], [2**32], 8),
        ([0], [1], 16),
        ([0], [1], 0),
        ([0, 1], [1], 8),
        ([0.0], [1], 8),
    ],
)
def test_wrong_entries(starts, frequencies, precision):
    encoder = rans.Encoder()
    with pytest.raises(UsageError):
        encoder.push_direct(starts, frequencies, precision)
    assert encoder.finish() == b"\0"
    decoder = rans.Decoder(rans.encode(np.array([0], np.int32), TABLES, 0))
    with pytest.raises(UsageError):
        decoder.advance(starts, frequencies, precision)


def test_wrong_rows():
    decoder = rans.Decoder(rans.encode(np.zeros(50, np.int32), TABLES, 0))
    for rows in (
        np.zeros((3, 4), np.int64),
        np.zeros(4, np.uint16),
        np.zeros((3, 1), np.uint16),
        np.zeros((3, 4), np.uint16),  # ends at 0
        np.array([[0, 5000]], np.uint16),
    ):
        with pytest.raises(UsageError):
            decoder.decode_direct(rows, 12)
    with pytest.raises(UsageError):
        decoder.peek(99, 12)
    with pytest.raises(UsageError, match="slot"):
        slot = int(decoder.peek(1, 12)[0])
        decoder.advance([(slot + 1) % 4096], [1], 12)


def test_a_chunk_that_is_too_short():
    payload = rans.encode(np.zeros(50, np.int32), TABLES, 0)
    rows = np.tile(np.array([0, 2, 4], np.uint16), (10_000, 1))
    with pytest.raises(BitstreamError):
        decoder = rans.Decoder(payload)
        decoder.decode_direct(rows, 2)
        decoder.finish()
    with pytest.raises(Truncated):
        rans.Decoder(b"\0").decode_direct(rows, 2)
    with pytest.raises(Truncated):
        rans.Decoder(b"\0").advance([0], [1], 2)
