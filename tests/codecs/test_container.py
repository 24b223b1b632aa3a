from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs import container
from siglum.codecs.container import DTYPES, Chunk, ChunkType, Header, Limits, Reader, Writer
from siglum.errors import (
    BitstreamError,
    ChecksumMismatch,
    LimitExceeded,
    MalformedHeader,
    Truncated,
    UnsupportedVersion,
    UsageError,
)

PICTURE = Header(1, 0, b"8 bytes!", (512, 768, 3), "uint8", 60)
numbers = st.integers(0, 2**63 - 1)
values = st.one_of(numbers, st.binary(max_size=40), st.lists(numbers, max_size=5))


class Pipe(io.BytesIO):
    """A stream that cannot seek and gives at most 3 bytes at a time."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation("seek")

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None and size >= 0
        return super().read(min(size, 3))


@st.composite
def headers(draw: st.DrawFn) -> Header:
    codec = draw(st.integers(1, 2**20))
    extents = st.integers(1, 300) if codec < 32 else st.integers(0, 30)
    ranks = (2, 3) if codec < 32 else (0, 6)
    return Header(
        codec,
        draw(st.integers(0, 300)),
        draw(st.one_of(st.just(b""), st.binary(min_size=8, max_size=8))),
        tuple(draw(st.lists(extents, min_size=ranks[0], max_size=ranks[1]))),
        draw(st.sampled_from(DTYPES)),
        draw(st.one_of(st.none(), numbers)),
        draw(st.dictionaries(st.integers(16, 2**40), values, max_size=4)),
    )


@st.composite
def chunk_lists(draw: st.DrawFn) -> list[Chunk]:
    kinds = st.sampled_from([kind for kind in ChunkType if kind != ChunkType.INDEX])
    counts: dict[int, int] = {}
    chunks = []
    for kind in draw(st.lists(kinds, max_size=6)):
        crc = draw(st.one_of(st.none(), st.integers(0, 2**32 - 1)))
        chunks.append(Chunk(kind, counts.get(kind, 0), draw(st.binary(max_size=300)), crc))
        counts[kind] = counts.get(kind, 0) + 1
    return chunks


def data_chunks(count: int, size: int = 50) -> list[Chunk]:
    return [Chunk(ChunkType.DATA, number, bytes([number]) * size, number) for number in range(count)]


@settings(deadline=None, max_examples=150)
@given(headers(), chunk_lists())
def test_round_trip(header: Header, chunks: list[Chunk]) -> None:
    data = container.write(header, chunks)
    assert container.read_header(data) == header
    for source in (data, bytearray(data), memoryview(data), io.BytesIO(data), Pipe(data)):
        assert container.read(source) == (header, chunks)
    reader = Reader(data)
    assert [reader.read(position) for position in range(len(reader.entries))] == chunks
    assert [reader.read(found) for c in chunks if (found := reader.find(c.type, c.sequence))] == chunks
    assert container.verify(Pipe(data)) == header


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_real_pipe(count: int) -> None:
    end_read, end_write = os.pipe()

    def send() -> None:
        with open(end_write, "wb", buffering=0) as file, Writer(file, PICTURE) as writer:  # noqa: PTH123
            for number in range(count):
                writer.add(ChunkType.DATA, bytes([number]) * 200_000, symbols_crc=number)

    thread = threading.Thread(target=send)
    thread.start()
    with open(end_read, "rb", buffering=0) as file:  # noqa: PTH123
        reader = Reader(file)
        sizes = [len(chunk.payload) for chunk in reader.chunks()]
    thread.join()
    assert reader.header == PICTURE
    assert sizes == [200_000] * count
    assert reader.complete


def test_frame_of_a_picture_is_small() -> None:
    for size in (0, 100, 20_000, 2_000_000):
        frame = len(container.write(PICTURE, [Chunk(1, 0, bytes(size), symbols_crc=1)])) - size
        assert frame <= 49
    assert len(container.write(PICTURE, [Chunk(1, 0, b"")])) == 42


def test_layout_is_that_of_the_document() -> None:
    data = container.write(PICTURE, [Chunk(1, 0, b"PAYLOAD", symbols_crc=0x04030201)])
    header = bytes.fromhex("01 00 02 03 8004 8006 03") + b"\x05\x088 bytes!" + b"\x0c\x3c"
    expected = b"\x89SGL\r\n\x1a\n\x01" + bytes([len(header)]) + header
    assert data.startswith(expected)
    rest = data[len(expected) + 4 :]
    assert rest.startswith(bytes.fromhex("c1 07 00") + b"PAYLOAD" + bytes.fromhex("01020304"))
    assert len(rest) == 3 + 7 + 4 + 4


def test_a_cut_is_truncated() -> None:
    for count in (1, 3):
        data = container.write(PICTURE, data_chunks(count, 9))
        for size in range(8, len(data)):
            for source in (data[:size], Pipe(data[:size])):
                with pytest.raises(Truncated):
                    container.verify(source)
            with pytest.raises(Truncated):
                _ = Reader(data[:size]).entries


def test_partial_gives_what_is_whole() -> None:
    chunks = data_chunks(3, 9)
    data = container.write(PICTURE, chunks)
    entries = Reader(data).entries
    for size in range(entries[0].offset, len(data) + 1):
        whole = [
            chunk for chunk, entry in zip(chunks, entries, strict=True) if entry.offset + entry.size <= size
        ]
        for source in (data[:size], Pipe(data[:size])):
            reader = Reader(source, partial=True)
            assert list(reader.chunks()) == whole
            assert reader.complete is (size == len(data))
        reader = Reader(data[:size], partial=True)
        assert [reader.read(entry) for entry in reader.entries] == whole


class Counting(io.BytesIO):
    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_random_access_reads_one_chunk() -> None:
    chunks = data_chunks(50, 10_000)
    file = Counting(container.write(PICTURE, chunks))
    reader = Reader(file)
    assert reader.read(37) == chunks[37]
    assert file.taken < 11_000
    with pytest.raises(UsageError):
        reader.read(50)
    assert reader.find(ChunkType.DATA, 50) is None


def test_reading_at_random_while_iterating() -> None:
    chunks = data_chunks(4)
    reader = Reader(io.BytesIO(container.write(PICTURE, chunks)))
    seen = []
    for chunk in reader.chunks():
        assert reader.read(0) == chunks[0]
        seen.append(chunk)
    assert seen == chunks == list(reader.chunks())


def test_a_pipe_is_read_once_and_forward() -> None:
    reader = Reader(Pipe(container.write(PICTURE, data_chunks(2))))
    with pytest.raises(UsageError):
        _ = reader.entries
    list(reader.chunks())
    with pytest.raises(UsageError):
        reader.chunks()


def test_file_may_begin_in_the_middle_of_a_stream() -> None:
    data = container.write(PICTURE, data_chunks(2))
    file = io.BytesIO(b"before" + data)
    file.seek(6)
    assert Reader(file).read(1) == data_chunks(2)[1]


@settings(deadline=None, max_examples=60)
@given(chunk_lists(), st.integers(0, 6))
def test_append_equals_writing_at_once(chunks: list[Chunk], cut: int) -> None:
    file = io.BytesIO(b"before" + container.write(PICTURE, chunks[:cut]))
    file.seek(6)
    container.append(file, chunks[cut:])
    if len(chunks) > 1 or cut:
        assert file.getvalue()[6:] == container.write(PICTURE, chunks)
    assert container.read(file.getvalue()[6:]) == (PICTURE, chunks)


def test_append_to_a_path(tmp_path: Path) -> None:
    path = tmp_path / "file.sgl"
    chunks = data_chunks(4)
    path.write_bytes(container.write(PICTURE, chunks[:1]))
    container.append(path, chunks[1:3])
    container.append(path, [])
    container.append(path, chunks[3:])
    assert path.read_bytes() == container.write(PICTURE, chunks)
    before = path.read_bytes()
    with pytest.raises(UsageError):
        container.append(path, [Chunk(ChunkType.DATA, 9, b"")])
    path.write_bytes(before[:-1])
    with pytest.raises(Truncated):
        container.append(path, data_chunks(5)[4:])
    assert path.read_bytes() == before[:-1]


def test_append_refuses_a_damaged_only_chunk() -> None:
    data = bytearray(container.write(PICTURE, data_chunks(1)))
    data[-20] ^= 1
    file = io.BytesIO(data)
    with pytest.raises(ChecksumMismatch):
        container.append(file, data_chunks(2)[1:])
    assert file.getvalue() == data


def test_truncate_chunks() -> None:
    chunks = data_chunks(5)
    data = container.write(PICTURE, chunks)
    for count in range(1, 7):
        assert container.truncate_chunks(data, count=count) == container.write(PICTURE, chunks[:count])
    for limit in range(len(container.write(PICTURE, chunks[:1])), len(data) + 9):
        short = container.truncate_chunks(data, max_bytes=limit)
        kept = container.read(short)[1]
        assert len(short) <= limit
        assert len(kept) == 5 or len(container.write(PICTURE, chunks[: len(kept) + 1])) > limit
    with pytest.raises(UsageError):
        container.truncate_chunks(data, max_bytes=50)
    assert container.truncate_chunks(data[:-1]) == data


def test_writer_that_fails_leaves_a_truncated_file() -> None:
    for count in range(4):
        file = io.BytesIO()
        with pytest.raises(RuntimeError), Writer(file, PICTURE) as writer:
            for chunk in data_chunks(count):
                writer.add_chunk(chunk)
            raise RuntimeError
        with pytest.raises(Truncated):
            container.verify(file.getvalue())


def test_unknown_chunks() -> None:
    chunks = [Chunk(ChunkType.DATA, 0, b"a"), Chunk(40, 0, b"b"), Chunk(ChunkType.DATA, 1, b"c")]
    data = container.write(PICTURE, chunks)
    assert container.read(data)[1] == [chunks[0], chunks[2]]
    assert list(Reader(data).chunks(unknown=True)) == chunks
    assert container.truncate_chunks(data) == data
    with pytest.raises(UnsupportedVersion):
        container.read(container.write(PICTURE, [Chunk(31, 0, b"")]))


@pytest.mark.parametrize(
    "header",
    [
        Header(0, 0, b"", (2, 2), "uint8"),
        Header(1, -1, b"", (2, 2), "uint8"),
        Header(1, 0, b"short", (2, 2), "uint8"),
        Header(1, 0, b"", (2,), "uint8"),
        Header(1, 0, b"", (0, 2), "uint8"),
        Header(1, 0, b"", (2**20, 2**20), "uint8"),
        Header(40, 0, b"", (1,) * 9, "uint8"),
        Header(1, 0, b"", (2, 2), "complex64"),
        Header(1, 0, b"", (2, 2), "uint8", -1),
        Header(1, 0, b"", (2, 2), "uint8", None, {3: 1}),
        Header(1, 0, b"", (2, 2), "uint8", None, {16: b"x" * 2**16}),
        Header(1, 0, b"", (2, 2), "uint8", None, {16: [2**63]}),
    ],
)
def test_writer_refuses_bad_headers(header: Header) -> None:
    with pytest.raises(UsageError):
        container.write(header, [])


@pytest.mark.parametrize(
    "chunk",
    [
        Chunk(0, 0, b""),
        Chunk(64, 0, b""),
        Chunk(ChunkType.INDEX, 0, b""),
        Chunk(1, 1, b""),
        Chunk(1, 0, b"", 2**32),
        Chunk(1, 0, b"x" * 101),
    ],
)
def test_writer_refuses_bad_chunks(chunk: Chunk) -> None:
    with pytest.raises(UsageError):
        container.write(PICTURE, [chunk], Limits(max_chunk_bytes=100))


def test_limits_of_the_reader() -> None:
    data = container.write(PICTURE, data_chunks(3), Limits())
    for limits in (
        Limits(max_pixels=512 * 768 - 1),
        Limits(max_elements=512 * 768 * 3 - 1),
        Limits(max_header_bytes=10),
        Limits(max_chunk_bytes=49),
        Limits(max_chunks=2),
    ):
        for source in (data, Pipe(data)):
            with pytest.raises(LimitExceeded):
                container.verify(source, limits)
    with pytest.raises(LimitExceeded):
        _ = Reader(data, Limits(max_chunks=2)).entries
    container.verify(data, Limits(512 * 768, 512 * 768 * 3, 64, 50, 3))


def test_what_a_codec_asks_of_a_header() -> None:
    header = Header(2, 3, b"", (2, 2), "uint8", None, {16: 1, 17: 2, 18: 3})
    header.check_codec({2: 3})
    header.check_keys([17])
    for versions in ({}, {1: 9}, {2: 2}):
        with pytest.raises(UnsupportedVersion):
            header.check_codec(versions)
    with pytest.raises(UnsupportedVersion):
        header.check_keys([16, 18])


def edits(data: bytes) -> Iterator[tuple[Callable[[], object], type[BitstreamError]]]:
    entries = Reader(data).entries
    first, second = (data[entry.offset : entry.offset + entry.size] for entry in entries)
    swapped = data[: entries[0].offset] + second + first + data[entries[1].offset + entries[1].size :]
    yield lambda: container.verify(swapped), MalformedHeader
    yield lambda: [Reader(swapped).read(position) for position in (0, 1)], MalformedHeader
    yield lambda: container.verify(data + data), MalformedHeader
    yield lambda: container.verify(Pipe(data + data)), MalformedHeader


def test_chunks_put_together_wrongly() -> None:
    for read, error in edits(container.write(PICTURE, data_chunks(2))):
        with pytest.raises(error):
            read()


def test_the_header_needs_no_torch() -> None:
    program = "import sys, siglum.codecs.container; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_example_of_the_document() -> None:
    text = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
    lines = text[text.rindex("```\n89 53") + 4 :].splitlines()[:-1]
    data = bytes.fromhex(" ".join(line[:26] for line in lines))
    header = Header(1, 0, b"", (2, 3), "uint8")
    assert data == container.write(header, [Chunk(ChunkType.DATA, 0, b"payload")])
