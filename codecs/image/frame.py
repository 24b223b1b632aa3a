"""What of a picture's file is not pixels: the header's fields, the chunks that there may be, metadata."""

from __future__ import annotations

from siglum.codecs import container
from siglum.codecs.container import Chunk, ChunkType, Header
from siglum.codecs.image.constants import LEVELS
from siglum.codecs.image.picture import SOURCE_FORMAT_KEY, SOURCE_FORMATS, Picture
from siglum.errors import LimitExceeded, MalformedHeader, Truncated

CODEC_ID = 1
CODEC_VERSION = 0
MODE_KEY = 17  # extra: absent for lossy, 1 for lossless
LOSSLESS = 1
MAX_LEVEL = LEVELS - 1
MAX_SIDE = 2**18  # pixels; a row of lossless contexts of this width takes 100 MB


def is_lossless(header: Header) -> bool:
    """Whether a file decodes to exactly what was encoded."""
    return header.extra.get(MODE_KEY) == LOSSLESS


def check_header(header: Header) -> None:
    """Refuse a header that the image codec cannot decode.

    Raises
    ------
    UnsupportedVersion
        If the codec or a key in it is of a later version.
    MalformedHeader
        If shape, type or quality make no picture.
    """
    header.check_codec({CODEC_ID: CODEC_VERSION})
    header.check_keys({MODE_KEY})
    check_shape(header)
    mode = header.extra.get(MODE_KEY)
    if mode not in (None, LOSSLESS):
        raise MalformedHeader(f"mode {mode!r} is none of the image codec's: the file is damaged")
    if mode is None and not _has_lossy_fields(header):
        raise MalformedHeader("a lossy picture needs a level of 0 to 255 and a model: the file is damaged")


def check_shape(header: Header) -> None:
    """Refuse a header whose shape or type is that of no picture.

    Raises
    ------
    MalformedHeader, LimitExceeded
        If it is none, or a side is beyond `MAX_SIDE`.
    """
    shape = header.shape
    if (
        header.dtype != "uint8"
        or len(shape) not in (2, 3)
        or min(shape) < 1
        or shape[2:] not in ((), (3,), (4,))
    ):
        raise MalformedHeader(f"{header.dtype} of shape {shape} is no picture: the file is damaged")
    if max(shape[:2]) > MAX_SIDE:
        raise LimitExceeded(
            f"a side of {max(shape[:2])} pixels is beyond the {MAX_SIDE} that this codec takes"
        )


def level_of(header: Header) -> int:
    """The level of a picture that is always lossy.

    Raises
    ------
    MalformedHeader
        If it or the model is missing or out of range.
    """
    if not _has_lossy_fields(header):
        raise MalformedHeader("a picture needs a level of 0 to 255 and a model: the file is damaged")
    assert header.quality is not None
    return header.quality


def _has_lossy_fields(header: Header) -> bool:
    return header.quality is not None and 0 <= header.quality <= MAX_LEVEL and len(header.model) == 8


def source_format(header: Header) -> str | None:
    """The format that the picture was read from, if the header tells."""
    number = header.extra.get(SOURCE_FORMAT_KEY)
    return SOURCE_FORMATS.get(number) if isinstance(number, int) else None


def expect(chunks: list[Chunk], count: int) -> None:
    """Refuse another number of parts than the picture has."""
    if len(chunks) < count:
        raise Truncated(f"the file has {len(chunks)} of the picture's {count} parts: it was cut off")
    if len(chunks) > count:
        raise MalformedHeader(f"the file has {len(chunks)} parts where the picture has {count}")
    if any(chunk.symbols_crc is None for chunk in chunks):
        raise MalformedHeader("a part of the picture has no checksum of its symbols")


def check_chunks(header: Header, found: dict[int, list[Chunk]]) -> None:
    """Refuse chunks that such a picture cannot have."""
    for kind in (ChunkType.ICC, ChunkType.EXIF, ChunkType.XMP):
        if len(found.get(kind, [])) > 1:
            raise MalformedHeader(f"the file has more than one {kind.name} chunk")
    lossy_rgba = header.shape[2:] == (4,) and not is_lossless(header)
    if ChunkType.ALPHA in found and not lossy_rgba:
        raise MalformedHeader("the file has opacity, but its picture has none apart")


def only(found: dict[int, list[Chunk]], kind: ChunkType) -> bytes | None:
    """The payload of a chunk that there is at most once."""
    return found[kind][0].payload if kind in found else None


def write_file(header: Header, chunks: list[Chunk]) -> bytes:
    """The file of a header and its chunks."""
    # Whoever had the memory to encode a picture may write it; readers have limits of their own.
    pixels = header.shape[0] * header.shape[1]
    return container.write(
        header, chunks, container.Limits(max_pixels=max(pixels, container.Limits.max_pixels))
    )


def metadata_chunks(picture: Picture) -> list[Chunk]:
    """Profile and metadata as chunks."""
    kinds = ((ChunkType.ICC, picture.icc), (ChunkType.EXIF, picture.exif), (ChunkType.XMP, picture.xmp))
    return [Chunk(kind, 0, payload) for kind, payload in kinds if payload]


def source_key(picture: Picture) -> dict[int, int]:
    """What the header says of the format that a picture came in."""
    numbers = {name: number for number, name in SOURCE_FORMATS.items()}
    number = numbers.get(picture.source_format or "")
    return {} if number is None else {SOURCE_FORMAT_KEY: number}
