from __future__ import annotations

import io
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs import container
from siglum.codecs.container import Chunk, ChunkType, Header, Reader
from siglum.codecs.container_header import SIGNATURE
from siglum.codecs.container_source import Source, append_varint, varint_size
from siglum.errors import BitstreamError, LimitExceeded, MalformedHeader, Truncated, UsageError
from siglum.kernels.checksum import crc32c

HEADER = Header(1, 0, b"8 bytes!", (5, 7, 3), "uint8", 60, {16: 5, 18: b"abc", 20: [1, 2]})
CHUNKS = [Chunk(ChunkType.ICC, 0, b"profile"), Chunk(1, 0, b"first", 1), Chunk(1, 1, b"second", 2)]
FILES = [container.write(HEADER, CHUNKS), container.write(HEADER, CHUNKS[1:2])]
WHOLE = [CHUNKS, CHUNKS[1:2]]


class Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False


def explore(data: bytes) -> None:
    """Read in every way: nothing but a BitstreamError, of one line, may come out."""
    for partial in (False, True):
        for source in (data, Pipe(data)):
            try:
                list(Reader(source, partial=partial).chunks(unknown=True))
            except BitstreamError as error:
                assert "\n" not in str(error)
        try:
            reader = Reader(data, partial=partial)
            for entry in reader.entries:
                reader.read(entry)
        except BitstreamError as error:
            assert "\n" not in str(error)
    for edit in (
        lambda: container.append(io.BytesIO(data), [Chunk(ChunkType.EXIF, 0, b"")]),
        lambda: container.truncate_chunks(data, count=1),
    ):
        with suppress(BitstreamError, UsageError):
            edit()


@pytest.mark.parametrize("which", [0, 1])
def test_every_flipped_bit_is_found(which: int) -> None:
    data = FILES[which]
    for bit in range(8 * len(data)):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        for source in (bytes(altered), Pipe(altered)):
            with pytest.raises(BitstreamError):
                container.verify(source)


@pytest.mark.parametrize("which", [0, 1])
def test_a_flipped_bit_never_alters_a_chunk(which: int) -> None:
    data = FILES[which]
    for bit in range(8 * len(data)):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        for partial in (False, True):
            try:
                reader = Reader(altered, partial=partial)
                for position, entry in enumerate(reader.entries):
                    assert reader.read(entry) == WHOLE[which][position]
            except BitstreamError:
                continue


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    with pytest.raises(BitstreamError):
        container.verify(data)
    explore(data)


def sealed(body: bytes) -> bytes:
    raw = bytearray(SIGNATURE + b"\1")
    append_varint(raw, len(body))
    raw += body
    return bytes(raw) + crc32c(raw).to_bytes(4, "little")


def sealed_chunk(body: bytes) -> bytes:
    return body + crc32c(body).to_bytes(4, "little")


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_random_headers_with_right_checksums(body: bytes, rest: bytes) -> None:
    explore(sealed(body) + rest)


good_bodies = st.sampled_from([b"\1\0\2\3\5\7\3", b"\x28\0\2\0", b"\1\0\2\2\1\1\x0c\x3c"])
chunk_bodies = st.tuples(
    st.sampled_from([0x01, 0x81, 0x41, 0xC1, 0x06, 0x86, 0x28, 0x00, 0x1F]),
    st.integers(0, 40),
    st.integers(0, 3),
    st.binary(max_size=40),
).map(lambda parts: bytes(parts[:3]) + parts[3])


@settings(deadline=None, max_examples=400)
@given(good_bodies, st.lists(chunk_bodies.map(sealed_chunk), max_size=5), st.binary(max_size=20))
def test_random_chunks_with_right_checksums(body: bytes, chunks: list[bytes], rest: bytes) -> None:
    explore(sealed(body) + b"".join(chunks) + rest)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=40))
def test_random_index_with_a_right_checksum(entries: bytes) -> None:
    data = FILES[0]
    last = Reader(data).entries[-1]
    size = len(entries) + 8
    chunk = bytes([ChunkType.INDEX, size, 0]) + entries + (size + 7).to_bytes(4, "little") + b"SGLx"
    explore(data[: last.offset + last.size] + sealed_chunk(chunk))


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=4), st.integers(0, 9)))
)
def test_random_edits(data: bytes, edits: list[tuple[int, bytes, int]]) -> None:
    for offset, piece, removed in edits:
        data = data[:offset] + piece + data[offset + removed :]
    if data not in FILES:
        with pytest.raises(BitstreamError):
            container.verify(data)
    explore(data)


@pytest.mark.parametrize("make", [bytes, Pipe])
@pytest.mark.parametrize("size", [2**20 - 1, 2**27, 2**28, 2**28 + 1, 2**31, 2**32 - 1, 2**62])
def test_announced_sizes_allocate_nothing(size: int, make: type) -> None:
    head = bytearray(b"\x81")
    append_varint(head, size)
    chunk = sealed(b"\1\0\2\2\1\1") + bytes(head) + b"\0abc"
    shape = bytearray(b"\1\0\2\2")
    append_varint(shape, size)
    append_varint(shape, size)
    fields = [bytearray(b"\1\0\2\2\1\1" + tag) for tag in (b"\x42", b"\x43")]
    for body in fields:
        append_varint(body, size)
    tracemalloc.start()
    try:
        for data, errors in (
            (chunk, (Truncated, LimitExceeded)),
            (sealed(bytes(shape)), LimitExceeded),
            *((sealed(bytes(body)), MalformedHeader) for body in fields),
        ):
            with pytest.raises(errors):
                container.verify(make(data))
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**63 - 1), st.binary(max_size=3))
def test_varints(value: int, rest: bytes) -> None:
    coded = bytearray()
    append_varint(coded, value)
    assert len(coded) == varint_size(value)
    source, raw = Source(bytes(coded) + rest), bytearray()
    assert source.read_varint("a number", raw) == value
    assert raw == coded
    with pytest.raises(Truncated):
        Source(bytes(coded[:-1])).read_varint("a number")
    longer = bytes(coded[:-1]) + bytes([coded[-1] | 0x80, 0])
    with pytest.raises(MalformedHeader):
        Source(longer).read_varint("a number")


def test_varint_bounds() -> None:
    for value in (-1, 2**63):
        with pytest.raises(ValueError, match="varint"):
            append_varint(bytearray(), value)
