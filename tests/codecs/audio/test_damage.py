"""Damaged, cut and hostile files end in one clear error, or in what was asked for; soon, and in little memory."""

from __future__ import annotations

import io
import re
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from siglum.codecs import container
from siglum.codecs.audio import frame
from siglum.codecs.audio.codec import AudioCodec
from siglum.codecs.audio.edit import Coded
from siglum.codecs.container import Chunk, ChunkType, Header
from siglum.errors import BitstreamError, ChecksumMismatch, LimitExceeded, MalformedHeader, Truncated

RATE = 24000


@pytest.fixture
def data(tiny: str) -> bytes:
    samples = 0.1 * np.random.default_rng(0).standard_normal((RATE * 3, 2))
    return AudioCodec(model=tiny, frames=25, threads=1).encode_audio(samples, RATE)


def decoded(data: bytes, **options: object) -> np.ndarray:
    return AudioCodec(threads=1).decode_audio(data, **options).samples


def entries(data: bytes) -> list[container.Entry]:
    return Coded(io.BytesIO(data)).entries


def damaged(data: bytes, number: int) -> bytes:
    entry = entries(data)[number]
    bad = bytearray(data)
    bad[entry.offset + entry.size // 2] ^= 4
    return bytes(bad)


def test_a_damaged_chunk_is_named_by_its_time(data: bytes) -> None:
    bad = damaged(data, 2)
    with pytest.raises(ChecksumMismatch, match=r"^chunk 2 \(0\.98 to 1\.48 s\): "):
        decoded(bad)
    coded = Coded(io.BytesIO(bad))
    with pytest.raises(ChecksumMismatch, match=r"^chunk 2 \(0\.98 to 1\.48 s\): "):
        list(coded.decode(RATE, RATE + 10))
    # In a part, times are those of the part.
    out = io.BytesIO()
    Coded(io.BytesIO(data)).cut(RATE * 2, RATE * 3, out)
    last = len(entries(out.getvalue())) - 1
    with pytest.raises(ChecksumMismatch, match=rf"^chunk {last} \(0\.98 to 1\.00 s\): "):
        decoded(damaged(out.getvalue(), last))


def test_concealment_goes_on(data: bytes) -> None:
    whole = decoded(data)
    for number in range(len(entries(data))):
        bad, reports = damaged(data, number), []
        there = decoded(bad, conceal=True, report=reports.append)
        assert there.shape == whole.shape and len(reports) == 1 and f"chunk {number} (" in reports[0]
        again: list[str] = []
        coded = Coded(io.BytesIO(bad), conceal=True)
        parts = list(coded.decode(0, coded.samples, report=again.append))
        assert np.array_equal(np.concatenate(parts)[: len(there)], there) and len(again) == 1
        if number < len(entries(data)) - 3:  # what is far from it is as it was
            assert np.array_equal(there[:, :][-RATE // 4 :], whole[-RATE // 4 :])


def test_lost_ends_and_beginnings_of_joined_recordings_are_concealed(data: bytes) -> None:
    from siglum.codecs.audio.edit import join

    out = io.BytesIO()
    join([("a", Coded(io.BytesIO(data))), ("b", Coded(io.BytesIO(data)))], out)
    count = len(entries(data))
    for number in (0, count - 1, count, 2 * count - 1):
        bad = damaged(out.getvalue(), number)
        there = decoded(bad, conceal=True)
        assert 0 <= 2 * 3 * RATE - len(there) <= RATE
        coded = Coded(io.BytesIO(bad), conceal=True)
        assert sum(map(len, coded.decode(0, coded.samples))) == coded.samples


def test_a_damaged_head_of_a_chunk_does_not_hide_the_others(data: bytes) -> None:
    bad = bytearray(data)
    bad[entries(data)[2].offset + 1] ^= 0x21  # its length
    coded = Coded(io.BytesIO(bytes(bad)), conceal=True)
    reports: list[str] = []
    there = np.concatenate(list(coded.decode(0, coded.samples, report=reports.append)))
    assert there.shape == (3 * RATE, 2) and len(reports) == 1
    assert np.array_equal(there[-RATE // 4 :], decoded(data)[-RATE // 4 :])


def test_what_is_whole_of_a_cut_file(data: bytes) -> None:
    whole, places = decoded(data), entries(data)
    for kept in range(1, len(places)):
        end = places[kept].offset
        for cut in (end, end + places[kept].size - 1):
            there = decoded(data[:cut], partial=True)
            assert len(there) == (kept * 25 - 1) * RATE // 50
            safe = len(there) - RATE // 4  # what looks ahead has nothing to see
            assert np.array_equal(there[:safe], whole[:safe])
            with pytest.raises(Truncated, match=rf"chunk {kept} \("):
                decoded(data[:cut])
    assert np.array_equal(decoded(data[:-1], partial=True), whole)
    with pytest.raises(Truncated, match="before its first chunk"):
        decoded(data[: places[0].offset + 3], partial=True)


def test_every_bit_counts(data: bytes) -> None:
    random = np.random.default_rng(1)
    for place in random.integers(0, len(data), 60):
        bad = bytearray(data)
        bad[place] ^= 1 << random.integers(8)
        for read in (decoded, _from_the_index):
            with pytest.raises(BitstreamError):
                read(bytes(bad))
    for place in random.integers(0, len(data), 40):
        for read in (decoded, _from_the_index):
            with pytest.raises(BitstreamError):
                read(data[:place])


def _from_the_index(data: bytes) -> None:
    container.verify(data, frame.LIMITS)
    coded = Coded(io.BytesIO(data))
    list(coded.decode(0, coded.samples))


def test_random_bytes_in_place_of_chunks(data: bytes) -> None:
    """Any codes, with all checksums right but that of the symbols; whatever is asked for, nothing but our errors."""
    header, chunks = container.read(data, frame.LIMITS)
    random = np.random.default_rng(2)
    for _ in range(60):
        number = int(random.integers(len(chunks)))
        payload = bytearray(chunks[number].payload)
        for _ in range(int(random.integers(1, 4))):
            payload[int(random.integers(min(len(payload), 16)))] = int(random.integers(256))
        bad = [*chunks]
        size = int(random.integers(len(payload) + 1)) if random.integers(2) else len(payload)
        bad[number] = Chunk(ChunkType.DATA, number, bytes(payload[:size]), chunks[number].symbols_crc)
        file = container.write(header, bad, frame.LIMITS)
        for options in ({}, {"partial": True}, {"conceal": True}):
            try:
                assert decoded(file, **options).shape[1] == 2
            except BitstreamError:
                assert "conceal" not in options


HOSTILE = {
    "length": {"shape": (2**39, 2)},
    "rate": {frame.KEY_RATE: 768000},
    "rate 0": {frame.KEY_RATE: 0},
    "rate 2**62": {frame.KEY_RATE: 2**62},
    "frames": {frame.KEY_FRAMES: 4096},
    "frames and rate": {frame.KEY_RATE: 768000, frame.KEY_FRAMES: 4096},
    "frames 2**62": {frame.KEY_FRAMES: 2**62},
    "channels": {"shape": (3 * RATE, 8)},
    "channels 2**38": {"shape": (1, 2**38)},
    "open": {frame.KEY_OPEN: 1},
    "open 2": {frame.KEY_OPEN: 2, "shape": (0, 2)},
    "skip": {21: 2**60},
    "depth": {frame.KEY_DEPTH: 2**40},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_headers(what: str, data: bytes) -> None:
    header, chunks = container.read(data, frame.LIMITS)
    changes = dict(HOSTILE[what])
    shape = changes.pop("shape", header.shape)
    forged = Header(header.codec, 0, header.model, shape, "float32", None, {**header.extra, **changes})
    file = container.write(forged, chunks, container.Limits(max_elements=2**62))
    start = time.perf_counter()
    tracemalloc.start()
    try:
        if what == "depth":
            assert len(decoded(file)) == 3 * RATE
        else:
            with pytest.raises(BitstreamError):
                decoded(file)
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - start < 20


def _repacked(data: bytes, change: Callable[[frame.Head, int], dict[str, object]]) -> bytes:
    header, chunks = container.read(data, frame.LIMITS)
    made = []
    for chunk in chunks:
        head, _ = frame.unpack(chunk.payload, 2, 25)
        payload = frame.moved(chunk.payload, 2, 25, **change(head, chunk.sequence))
        made.append(Chunk(chunk.type, chunk.sequence, payload, chunk.symbols_crc))
    return container.write(header, made, frame.LIMITS)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda head, number: {"length": 2**39} if head.frames else {}, "announced where"),
        (lambda head, number: {"length": 5} if head.frames else {}, "are coded already"),
        (lambda head, number: {"reset": True}, "begins a segment"),
        (lambda head, number: {"reset": False}, "has not begun"),
        (lambda head, number: {} if number else {"skip": 2**38, "length": 2**39}, "ends with"),
        (lambda head, number: {"frames": None, "length": None}, "lacks its last|codes of a chunk"),
        (lambda head, number: {} if number else {"skip": 10, "length": 3 * RATE}, "are coded"),
        (lambda head, number: {"frames": 25, "length": 100}, "has not begun"),
    ],
)
def test_heads_that_lie(
    data: bytes, change: Callable[[frame.Head, int], dict[str, object]], text: str
) -> None:
    file = _repacked(data, change)
    with pytest.raises(BitstreamError, match=text):
        decoded(file)
    with pytest.raises(BitstreamError):
        coded = Coded(io.BytesIO(file))
        list(coded.decode(0, coded.samples))


def test_heads_that_are_out_of_range() -> None:
    for payload in (b"", b"\1", b"\xff\0", b"\4\0\1\0", b"\1\xff", b"\5\0\1\2", b"\2\0\x7f\1"):
        with pytest.raises((MalformedHeader, Truncated)):
            frame.unpack(payload, 2, 25)


def test_chunks_that_would_be_too_long(data: bytes) -> None:
    header, chunks = container.read(data, frame.LIMITS)
    extra = {**header.extra, frame.KEY_RATE: 768000, frame.KEY_FRAMES: 4096}
    forged = Header(header.codec, 0, header.model, (10, 8), "float32", None, extra)
    with pytest.raises(LimitExceeded, match="too long"):
        decoded(container.write(forged, chunks, frame.LIMITS))


def test_errors_name_no_more_than_one_place(data: bytes) -> None:
    with pytest.raises(BitstreamError) as caught:
        _from_the_index(damaged(data, 1)[: len(data)])
    assert len(re.findall("chunk 1 ", str(caught.value))) <= 1
