"""What a file says about itself: its header and its chunks, read without weights and without decoding."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from siglum.codecs import CODECS, container, name_of_id
from siglum.codecs.container import ChunkType
from siglum.codecs.container_header import PICTURE_CODECS


@dataclass(frozen=True)
class Info:
    """A summary of a file.

    Attributes
    ----------
    codec
        Name, or None if the codec is not installed.
    codec_id, codec_version
        As in the header.
    model
        Sixteen hexadecimal digits that name the weights, or None.
    shape, dtype
        Of the decoded array.
    quality
        The codec's own setting (the image codec's level, 0..255), or None.
    lossless
        Whether decoding gives the encoded array exactly; None if that is not known.
    file_bytes
        Size of the whole file.
    payload_bytes
        Bytes of it that are coded samples.
    bits_per_element
        Bits of the whole file for each position of the array: for a picture, bits per pixel.
    chunks
        Type, sequence number and payload bytes of each chunk.
    """

    codec: str | None
    codec_id: int
    codec_version: int
    model: str | None
    shape: tuple[int, ...]
    dtype: str
    quality: int | None
    lossless: bool | None
    file_bytes: int
    payload_bytes: int
    bits_per_element: float
    chunks: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def inspect(source: bytes | str | PathLike[str], limits: container.Limits | None = None) -> Info:
    """Read header and chunk index of a file; every chunk's checksum is verified on the way.

    Raises
    ------
    BitstreamError
        If the file is damaged.
    OSError
        If it cannot be read.
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    reader = container.Reader(data, limits)
    header = reader.header
    name = name_of_id(header.codec)
    count = None if name is None else getattr(CODECS.find(name), "positions", None)
    chunks: list[dict[str, Any]] = []
    counted = 0
    for chunk in reader.chunks():
        chunks.append(
            {"type": _type_name(chunk.type), "sequence": chunk.sequence, "bytes": len(chunk.payload)}
        )
        counted += 0 if count is None else count(header, [chunk])
    samples = {ChunkType.DATA.name.lower(), ChunkType.ALPHA.name.lower()}
    picture = header.codec in PICTURE_CODECS
    is_lossless = None if name is None else getattr(CODECS.find(name), "is_lossless", None)
    positions = math.prod(header.shape[:2] if picture else header.shape) if count is None else counted
    return Info(
        codec=name,
        codec_id=header.codec,
        codec_version=header.codec_version,
        model=header.model.hex() or None,
        shape=header.shape,
        dtype=header.dtype,
        quality=header.quality,
        lossless=None if is_lossless is None else is_lossless(header),
        file_bytes=len(data),
        payload_bytes=sum(chunk["bytes"] for chunk in chunks if chunk["type"] in samples),
        bits_per_element=8 * len(data) / max(positions, 1),
        chunks=tuple(chunks),
    )


def _type_name(number: int) -> str:
    return ChunkType(number).name.lower() if number in set(ChunkType) else str(number)
