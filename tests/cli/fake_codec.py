"""A quick codec without a model, in place of the real one: it is the command line that is tested."""

from __future__ import annotations

import struct
import sys
import types
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import siglum
from siglum.codecs.image.picture import SOURCE_FORMATS, Picture
from siglum.errors import ChecksumMismatch, NotSiglumFile, Truncated, UnknownModel

SIGNATURE = b"\x89SGL\r\n\x1a\n"
HEADER = struct.Struct("<BBIIBI")
calls: list[dict[str, Any]] = []


@dataclass
class Info:
    codec: str
    shape: tuple[int, ...]
    bits_per_pixel: float
    source_format: str | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class ImageCodec:
    def __init__(
        self,
        quality: float = 60.0,
        level: int | None = None,
        lossless: bool | None = False,
        model: str = "small",
        threads: int | None = None,
        keep_metadata: bool = False,
    ) -> None:
        calls.append({"quality": quality, "lossless": lossless, "model": model, "threads": threads})
        if model != "small":
            raise UnknownModel(f"no model {model!r}")
        self.level = round(quality * 2.55) if level is None else level
        self.lossless = lossless

    def encode(self, picture: Picture) -> bytes:
        return self.prepare(picture).encode(self.level)

    def prepare(self, picture: Picture) -> Prepared:
        return Prepared(picture, self.lossless)

    def decode(self, data: bytes) -> Picture:
        if not data.startswith(SIGNATURE):
            raise NotSiglumFile("not a siglum file")
        body = data[len(SIGNATURE) :]
        if len(body) < HEADER.size:
            raise Truncated("the file ends within its header")
        step, source, height, width, channels, crc = HEADER.unpack_from(body)
        if zlib.crc32(body[HEADER.size :]) != crc:
            raise ChecksumMismatch("a checksum does not fit")
        flat = np.frombuffer(zlib.decompress(body[HEADER.size :]), np.uint8)
        pixels = flat.reshape((height, width, channels) if channels > 1 else (height, width))
        return Picture(dequantise(pixels, step), source_format=SOURCE_FORMATS.get(source))


class Prepared:
    def __init__(self, picture: Picture, lossless: bool | None) -> None:
        self.picture = picture
        self.lossless = lossless

    def step(self, level: int) -> int:
        return 1 if self.lossless else 2 + (255 - level) // 4

    def encode(self, level: int) -> bytes:
        step = self.step(level)
        payload = zlib.compress((self.picture.pixels // step).tobytes(), 1)
        source = {name: key for key, name in SOURCE_FORMATS.items()}.get(self.picture.source_format or "", 0)
        size = (self.picture.height, self.picture.width, self.picture.channels)
        return SIGNATURE + HEADER.pack(step, source, *size, zlib.crc32(payload)) + payload

    def reconstruct(self, level: int) -> np.ndarray:
        step = self.step(level)
        return dequantise(self.picture.pixels // step, step)


def dequantise(values: np.ndarray, step: int) -> np.ndarray:
    return np.clip(values.astype(int) * step + step // 2, 0, 255).astype(np.uint8)


def inspect(source: bytes | str | Path) -> Info:
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if not data.startswith(SIGNATURE):
        raise NotSiglumFile("not a siglum file")
    if len(data) < len(SIGNATURE) + HEADER.size:
        raise Truncated("the file ends within its header")
    _, source_format, height, width, channels, _ = HEADER.unpack_from(data, len(SIGNATURE))
    shape = (height, width, channels)
    return Info("image", shape, 8 * len(data) / (height * width), SOURCE_FORMATS.get(source_format))


def truncate_chunks(data: bytes, *, count: int | None = None, max_bytes: int | None = None) -> bytes:
    """Stand in for a file of two chunks, of which the first is half of the payload."""
    half = len(data) // 2
    return data if count != 1 and (max_bytes is None or max_bytes >= len(data)) else data[:half]


def install() -> None:
    """Put the fake where the command line imports the codec from."""
    codec = types.ModuleType("siglum.codecs.image.codec")
    codec.ImageCodec = ImageCodec  # type: ignore[attr-defined]
    container = types.ModuleType("siglum.codecs.container")
    container.truncate_chunks = truncate_chunks  # type: ignore[attr-defined]
    sys.modules[codec.__name__] = codec
    sys.modules[container.__name__] = container
    sys.modules["siglum.codecs"].container = container  # type: ignore[attr-defined]
    siglum.inspect = inspect  # type: ignore[attr-defined]
