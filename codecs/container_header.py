"""The header of a .sgl file: what it says, how it is coded, and the limits that a reader sets."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

from siglum.codecs.container_source import MAX_VARINT, Source, SourceLike, append_varint
from siglum.errors import (
    ChecksumMismatch,
    LimitExceeded,
    MalformedHeader,
    NotSiglumFile,
    Truncated,
    UnsupportedVersion,
    UsageError,
)
from siglum.kernels.checksum import crc32c

__all__ = [
    "DTYPES",
    "FORMAT_VERSION",
    "SIGNATURE",
    "Header",
    "Limits",
    "encode_header",
    "parse_header",
    "read_header",
]

SIGNATURE = b"\x89SGL\r\n\x1a\n"
FORMAT_VERSION = 1
DTYPES = ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
          "float16", "bfloat16", "float32", "float64")  # fmt: skip  # code = position + 1
PICTURE_CODECS = range(1, 32)  # codec ids whose shape begins with height and width
MAX_DIMENSIONS = 8
MODEL_BYTES = 8
FIRST_CODEC_KEY = 16  # smaller keys belong to the container
_KEY_MODEL, _KEY_QUALITY = 1, 3
_UNSIGNED, _BYTES, _LIST = range(3)  # the low two bits of a field's tag

Value: TypeAlias = int | bytes | list[int]


@dataclass(frozen=True)
class Limits:
    """What a reader accepts; each is checked before anything of that size is allocated.

    Raise them by hand for larger data: ``Limits(max_pixels=2**32)``.
    """

    max_pixels: int = 2**28  # height * width of a picture
    max_elements: int = 2**32  # product of the shape, of any medium
    max_header_bytes: int = 2**16
    max_chunk_bytes: int = 2**28
    max_chunks: int = 2**18

    def check_shape(self, codec: int, shape: tuple[int, ...], where: str = "shape") -> None:
        """Raise :class:`LimitExceeded` if an array of this shape is larger than the limits."""
        size = "x".join(map(str, shape))
        elements = math.prod(max(extent, 1) for extent in shape)
        if elements > self.max_elements:
            raise LimitExceeded(
                f"{where}: {size} is {elements} elements, more than the limit of "
                f"{self.max_elements}; raise max_elements if you trust the file"
            )
        if codec in PICTURE_CODECS and math.prod(shape[:2]) > self.max_pixels:
            raise LimitExceeded(
                f"{where}: {size} is {math.prod(shape[:2])} pixels, more than the limit of "
                f"{self.max_pixels}; raise max_pixels if you trust the file"
            )


@dataclass(frozen=True)
class Header:
    """What a file says about itself before its data.

    Parameters
    ----------
    codec
        Id of the codec, from 1: 1-31 pictures, 32-63 audio, 64-95 key-value caches, 96-127 tensors, 128 and
        above third parties.
    codec_version
        Version of that codec's payload, from 0.
    model
        First 8 bytes of a SHA-256 over the tensors that decoding uses, or empty where there are none.
    shape
        Of the decoded array, at most 8 extents. A picture is (height, width) or (height, width, channels).
    dtype
        Of the decoded array, one of :data:`DTYPES`.
    quality
        The setting that the encoder was given, in the codec's own integer scale, or None.
    extra
        What the codec needs besides: keys from 16. A reader of the codec may ignore an even key that it does
        not know, and must reject an odd one (:meth:`check_keys`).
    """

    codec: int
    codec_version: int
    model: bytes
    shape: tuple[int, ...]
    dtype: str
    quality: int | None = None
    extra: Mapping[int, Value] = field(default_factory=dict)

    def check_codec(self, versions: Mapping[int, int]) -> None:
        """Raise :class:`UnsupportedVersion` unless ``versions`` (id -> newest version) has this codec."""
        if self.codec not in versions:
            raise UnsupportedVersion(
                f"the file needs codec {self.codec}, which this siglum does not have; "
                "upgrade siglum or install the package that wrote it"
            )
        if self.codec_version > versions[self.codec]:
            raise UnsupportedVersion(
                f"the file needs version {self.codec_version} of codec {self.codec}, this siglum has "
                f"{versions[self.codec]}; upgrade siglum"
            )

    def check_keys(self, known: Collection[int]) -> None:
        """Raise :class:`UnsupportedVersion` if ``extra`` has an odd key that is not among ``known``."""
        for key in self.extra:
            if key % 2 and key not in known:
                _unknown_key(key)


def _unknown_key(key: int) -> NoReturn:
    raise UnsupportedVersion(
        f"the header has key {key}, which this siglum must not ignore and does not know; upgrade siglum"
    )


def encode_header(header: Header, limits: Limits) -> bytes:
    """Return signature, version, length, header and CRC32C. Raises :class:`UsageError` on a bad field."""
    body = bytearray()
    try:
        append_varint(body, header.codec)
        append_varint(body, header.codec_version)
        body.append(DTYPES.index(header.dtype) + 1)
        body.append(len(header.shape))
        for extent in header.shape:
            append_varint(body, extent)
        fields: dict[int, Value] = {}
        if header.model:
            fields[_KEY_MODEL] = header.model
        if header.quality is not None:
            fields[_KEY_QUALITY] = header.quality
        if any(not FIRST_CODEC_KEY <= key <= MAX_VARINT >> 2 for key in header.extra):
            raise ValueError("keys of extra begin at 16")
        for key, value in sorted({**fields, **header.extra}.items()):
            _append_field(body, key, value)
        _check(header.codec, header.shape, header.model)
        limits.check_shape(header.codec, header.shape)
    except (ValueError, TypeError, LimitExceeded) as error:
        raise UsageError(f"this header cannot be written: {error}") from error
    if len(body) > limits.max_header_bytes:
        raise UsageError(
            f"the header takes {len(body)} bytes, more than {limits.max_header_bytes}; "
            "put long values into chunks"
        )
    out = bytearray(SIGNATURE)
    out.append(FORMAT_VERSION)
    append_varint(out, len(body))
    out += body
    return bytes(out) + crc32c(out).to_bytes(4, "little")


def _append_field(body: bytearray, key: int, value: Value) -> None:
    if isinstance(value, bytes):
        append_varint(body, key << 2 | _BYTES)
        append_varint(body, len(value))
        body += value
    elif isinstance(value, int):
        append_varint(body, key << 2 | _UNSIGNED)
        append_varint(body, value)
    else:
        append_varint(body, key << 2 | _LIST)
        append_varint(body, len(value))
        for item in value:
            append_varint(body, item)


def parse_header(source: Source, limits: Limits) -> Header:
    """Read everything up to the first chunk, in the order of checks that docs/format.md gives."""
    _check_signature(source)
    raw = bytearray(SIGNATURE)
    raw += source.read(1, "the format version")
    if raw[-1] != FORMAT_VERSION:
        raise UnsupportedVersion(
            f"the file is in version {raw[-1]} of the format (byte 8), this siglum reads "
            f"version {FORMAT_VERSION}; upgrade siglum"
        )
    size = source.read_varint("the header's length", raw)
    if size > limits.max_header_bytes:
        raise LimitExceeded(
            f"the header at byte {source.offset} announces {size} bytes, more than the limit of "
            f"{limits.max_header_bytes}; the file is damaged or hostile"
        )
    start = source.offset
    body = source.read(size, "the header")
    stored = int.from_bytes(source.read(4, "the header's checksum"), "little")
    if crc32c(body, crc32c(raw)) != stored:
        raise ChecksumMismatch(
            f"the header (bytes 0 to {source.offset}) does not fit its checksum; get the file again"
        )
    return _parse_body(body, start, limits)


def _check_signature(source: Source) -> None:
    try:
        found = source.read(len(SIGNATURE), "the signature")
    except Truncated:
        raise NotSiglumFile("fewer than 8 bytes: this is not a .sgl file") from None
    if found != SIGNATURE:
        if found[1:4] == SIGNATURE[1:4]:
            raise NotSiglumFile(
                "the signature was damaged as by a transfer in text mode; "
                "transfer the original again in binary mode"
            )
        raise NotSiglumFile(f"this is not a .sgl file: it begins with {found!r}, not with {SIGNATURE!r}")


def _parse_body(body: bytes, start: int, limits: Limits) -> Header:
    where = f"the header at byte {start}"
    source = Source(body)
    try:
        codec = source.read_varint("the codec id")
        codec_version = source.read_varint("the codec version")
        dtype, dimensions = source.read(2, "the type and the number of dimensions")
        if dimensions > MAX_DIMENSIONS:
            raise ValueError(f"it has {dimensions} dimensions, more than {MAX_DIMENSIONS}")
        shape = tuple(source.read_varint("the shape") for _ in range(dimensions))
        fields = _parse_fields(source)
    except (Truncated, MalformedHeader, ValueError) as error:
        raise MalformedHeader(f"{where} is malformed: {error}") from error
    if not 1 <= dtype <= len(DTYPES):
        raise UnsupportedVersion(
            f"{where} names data type {dtype}, which this siglum does not know; upgrade siglum"
        )
    model, quality = fields.pop(_KEY_MODEL, b""), fields.pop(_KEY_QUALITY, None)
    for key in [key for key in fields if key < FIRST_CODEC_KEY]:
        if key % 2:
            _unknown_key(key)
        del fields[key]
    if not isinstance(model, bytes) or not isinstance(quality, (int, type(None))):
        raise MalformedHeader(f"{where} has a model or a quality of the wrong kind")
    try:
        _check(codec, shape, model)
    except ValueError as error:
        raise MalformedHeader(f"{where} is malformed: {error}") from error
    limits.check_shape(codec, shape, where)
    return Header(codec, codec_version, model, shape, DTYPES[dtype - 1], quality, fields)


def _parse_fields(source: Source) -> dict[int, Value]:
    fields: dict[int, Value] = {}
    last = -1
    while not source.at_end():
        tag = source.read_varint("a field's tag")
        key, kind = tag >> 2, tag & 3
        if key <= last:
            raise ValueError(f"key {key} comes after key {last}")
        last = key
        number = source.read_varint(f"field {key}")
        if kind == _UNSIGNED:
            fields[key] = number
        elif kind == _BYTES:
            fields[key] = source.read(number, f"field {key}")
        elif kind == _LIST:
            if number > (source.end or 0) - source.offset:
                raise ValueError(f"field {key} announces {number} numbers, more than there are bytes")
            fields[key] = [source.read_varint(f"field {key}") for _ in range(number)]
        else:
            raise ValueError(f"field {key} is of the unknown kind {kind}")
    return fields


def _check(codec: int, shape: tuple[int, ...], model: bytes) -> None:
    if codec < 1:
        raise ValueError("the codec id is 0")
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"the shape has {len(shape)} dimensions, more than {MAX_DIMENSIONS}")
    if codec in PICTURE_CODECS and (len(shape) not in (2, 3) or min(shape) < 1):
        raise ValueError(f"{shape} is not the shape of a picture")
    if len(model) not in (0, MODEL_BYTES):
        raise ValueError(f"the model id has {len(model)} bytes, not 0 or {MODEL_BYTES}")


def read_header(source: SourceLike, limits: Limits | None = None) -> Header:
    """Return the header alone: no chunk is read, neither torch nor weights are needed.

    Parameters
    ----------
    source
        The bytes of a file (or its beginning), or a binary file object at its first byte.
    limits
        What is accepted; the default limits where None.

    Raises
    ------
    NotSiglumFile, UnsupportedVersion, Truncated, ChecksumMismatch, LimitExceeded, MalformedHeader
        All of them :class:`siglum.errors.BitstreamError`.
    """
    return parse_header(Source(source), limits or Limits())
