"""Write tests/damaged: files that must fail, and EXPECTED.json, which says with which error each must.

Run ``python tests/make_damaged.py`` after a change of the format. The files are the same on every run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from siglum.codecs.container import Chunk, ChunkType, Header, Limits, Reader, write
from siglum.codecs.container_chunks import frame
from siglum.codecs.container_source import append_varint
from siglum.kernels.checksum import crc32c

MODEL = bytes.fromhex("0123456789abcdef")
PICTURE = Header(codec=1, codec_version=0, model=MODEL, shape=(24, 32, 3), dtype="uint8", quality=60)
NO_LIMITS = Limits(max_pixels=2**62, max_elements=2**62)
PNG = bytes.fromhex(  # 1x1, gray
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6360000000020001488002a50000000049454e44ae426082"
)
GZIP = bytes.fromhex("1f8b08000000000000034b4c4a0600c241243503000000")


def payload(size: int) -> bytes:
    """Return bytes that look like coded data and are the same on every machine."""
    state, out = 1, bytearray()
    for _ in range(size):
        state = state * 6364136223846793005 + 1442695040888963407 & 2**64 - 1
        out.append(state >> 56)
    return bytes(out)


def single() -> bytes:
    """Return a good file of one chunk."""
    return write(PICTURE, [Chunk(ChunkType.DATA, 0, payload(200), symbols_crc=0x12345678)])


def several() -> bytes:
    """Return a good file of four chunks and an index."""
    data = [Chunk(ChunkType.DATA, number, payload(40 + number), symbols_crc=number) for number in range(3)]
    return write(PICTURE, [Chunk(ChunkType.ICC, 0, payload(30)), *data])


def flipped(data: bytes, offset: int, bit: int = 0) -> bytes:
    """Return the data with one bit turned."""
    return data[:offset] + bytes([data[offset] ^ 1 << bit]) + data[offset + 1 :]


def with_header(body: bytes, version: int = 1, size: int | None = None) -> bytes:
    """Return signature to checksum around any header, the checksum right."""
    raw = bytearray(single()[:8])
    raw.append(version)
    append_varint(raw, len(body) if size is None else size)
    raw += body
    return bytes(raw) + crc32c(raw).to_bytes(4, "little")


def header_body() -> bytes:
    """Return the header of the good files without what stands around it."""
    return single()[10 : Reader(single()).first - 4]


def rearranged(*order: int) -> bytes:
    """Return the several chunks in another order, with the old index."""
    data = several()
    reader = Reader(data)
    parts = [data[entry.offset : entry.offset + entry.size] for entry in reader.entries]
    end = reader.entries[-1].offset + reader.entries[-1].size
    return data[: reader.first] + b"".join(parts[position] for position in order) + data[end:]


def long_chunk(size: int) -> bytes:
    """Return a file whose only chunk announces ``size`` bytes and has three."""
    head = bytearray([ChunkType.DATA | 0x80])
    append_varint(head, size)
    return with_header(header_body()) + bytes(head) + b"\0abc" + bytes(4)


def odd_chunk(kind: int) -> bytes:
    """Return a file whose only chunk is of any type, with its checksum right."""
    chunk = Chunk(kind, 0, b"abc")
    head, tail = frame(chunk, alone=True)
    return with_header(header_body()) + head + chunk.payload + tail


def shaped(*shape: int) -> bytes:
    """Return a file whose header announces an array of any shape."""
    return write(Header(1, 0, MODEL, shape, "uint8", 60), [Chunk(1, 0, b"abc")], NO_LIMITS)


def cases() -> dict[str, tuple[bytes, str]]:
    """Return name -> (bytes, name of the error)."""
    one, many, body = single(), several(), header_body()
    first = Reader(one).first
    last = Reader(many).entries[-1]
    index = last.offset + last.size
    found: dict[str, tuple[bytes, str]] = {
        "empty": (b"", "NotSiglumFile"),
        "foreign-png": (PNG, "NotSiglumFile"),
        "foreign-gzip": (GZIP, "NotSiglumFile"),
        "signature-text-mode": (one.replace(b"\r\n", b"\n", 1), "NotSiglumFile"),
        "signature-unix-to-dos": (one[:6] + b"\r" + one[6:], "NotSiglumFile"),
        "signature-seven-bits": (bytes([one[0] & 0x7F]) + one[1:], "NotSiglumFile"),
        "version-future": (with_header(body, version=2), "UnsupportedVersion"),
        "version-zero": (with_header(body, version=0), "UnsupportedVersion"),
        "header-length-2e31": (with_header(body, size=2**31), "LimitExceeded"),
        "header-length-overlong": (one[:9] + b"\xff" * 10 + one[10:], "MalformedHeader"),
        "header-crc": (flipped(one, first - 1), "ChecksumMismatch"),
        "header-codec-zero": (with_header(b"\0" + body[1:]), "MalformedHeader"),
        "header-codec-unknown": (with_header(b"\x7f" + body[1:]), "UnsupportedVersion"),
        "header-codec-version-future": (with_header(body[:1] + b"\x63" + body[2:]), "UnsupportedVersion"),
        "header-dtype-unknown": (with_header(body[:2] + b"\xee" + body[3:]), "UnsupportedVersion"),
        "header-dimensions-9": (with_header(body[:3] + b"\x09" + body[4:]), "MalformedHeader"),
        "header-cut-inside": (with_header(body[:-3]), "MalformedHeader"),
        "header-key-unknown-odd": (with_header(body + b"\x34\x01"), "UnsupportedVersion"),
        "header-key-doubled": (with_header(body + b"\x0c\x3c"), "MalformedHeader"),
        "header-bytes-2e31": (with_header(body + b"\x42\x80\x80\x80\x80\x08"), "MalformedHeader"),
        "header-list-2e31": (with_header(body + b"\x43\x80\x80\x80\x80\x08"), "MalformedHeader"),
        "shape-2e31x2e31": (shaped(2**31, 2**31, 1), "LimitExceeded"),
        "shape-2e31x1": (shaped(2**31, 1), "LimitExceeded"),
        "chunk-length-2e31": (long_chunk(2**31), "LimitExceeded"),
        "chunk-length-2e27": (long_chunk(2**27), "Truncated"),
        "chunk-type-zero": (odd_chunk(0), "MalformedHeader"),
        "chunk-type-unknown": (odd_chunk(31), "UnsupportedVersion"),
        "chunk-crc": (flipped(one, len(one) - 1), "ChecksumMismatch"),
        "chunk-symbols-crc": (flipped(one, len(one) - 5), "ChecksumMismatch"),
        "chunk-payload-half": (one[: first + 100], "Truncated"),
        "chunk-missing": (rearranged(0, 1, 3), "MalformedHeader"),
        "chunk-doubled": (rearranged(0, 1, 1, 2, 3), "MalformedHeader"),
        "chunk-order": (rearranged(0, 2, 1, 3), "MalformedHeader"),
        "index-missing": (many[:index], "Truncated"),
        "index-half": (many[: index + (len(many) - index) // 2], "Truncated"),
        "index-altered": (flipped(many, index + 4), "ChecksumMismatch"),
        "index-of-other-chunks": (rearranged(1, 2, 3), "MalformedHeader"),
        "bytes-after-the-only-chunk": (one + b"\0", "MalformedHeader"),
        "bytes-after-the-index": (many + b"more", "MalformedHeader"),
    }
    for size in (1, 7):
        found[f"cut-at-{size}"] = (one[:size], "NotSiglumFile")
    for size in (8, 9, 10, 11, first - 4, first - 1, first, first + 1, first + 3, len(one) - 4, len(one) - 1):
        found[f"cut-at-{size}"] = (one[:size], "Truncated")
    for name, offset, error in (
        ("signature", 3, "NotSiglumFile"),
        ("version", 8, "UnsupportedVersion"),
        ("header-body", 12, "ChecksumMismatch"),
        ("chunk-type", first, "ChecksumMismatch"),
        ("payload", first + 50, "ChecksumMismatch"),
    ):
        found[f"flip-in-{name}"] = (flipped(one, offset, 1), error)
    return found


def main(folder: Path) -> None:
    """Write the files and their list into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, (data, error) in sorted(cases().items()):
        (folder / f"{name}.sgl").write_bytes(data)
        expected[f"{name}.sgl"] = error
    (folder / "EXPECTED.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "damaged")
