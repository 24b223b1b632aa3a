"""A quick codec without a model, in place of the real one: it is the command line that is tested."""

from __future__ import annotations

import struct
import types
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import siglum
from siglum import codecs
from siglum.codecs import container
from siglum.codecs.container import Limits
from siglum.codecs.image.codec import LOSSLESS, MODE_KEY
from siglum.codecs.image.picture import SOURCE_FORMAT_KEY, SOURCE_FORMATS, Picture
from siglum.errors import ChecksumMismatch, LimitExceeded, NotSiglumFile, Truncated, UnknownModel

SIGNATURE = b"\x89SGL\r\n\x1a\n"
HEADER = struct.Struct("<BBIIBI")
calls: list[dict[str, Any]] = []


@dataclass
class Info:
    codec: str
    shape: tuple[int, ...]
    bits_per_element: float
    chunks: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class ImageCodec:
    def __init__(
        self,
        quality: float = 60.0,
        level: int | None = None,
        lossless: bool | None = None,
        model: str = "small",
        threads: int | None = None,
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

    def decode(self, data: bytes, limits: Limits | None = None) -> Picture:
        if not data.startswith(SIGNATURE):
            raise NotSiglumFile("not a siglum file")
        body = data[len(SIGNATURE) :]
        if len(body) < HEADER.size:
            raise Truncated("the file ends within its header")
        step, source, height, width, channels, crc = HEADER.unpack_from(body)
        if limits is not None and height * width > limits.max_pixels:
            raise LimitExceeded(f"more than {limits.max_pixels} pixels")
        if zlib.crc32(body[HEADER.size :]) != crc:
            raise ChecksumMismatch("a checksum does not fit")
        flat = np.frombuffer(zlib.decompress(body[HEADER.size :]), np.uint8)
        pixels = flat.reshape((height, width, channels) if channels > 1 else (height, width))
        return Picture(dequantise(pixels, step), source_format=SOURCE_FORMATS.get(source))


class Prepared:
    exact: bytes | None = None  # the picture never looks drawn, unless a test sets this

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


def parse(data: bytes, limits: Limits | None = None) -> tuple[int, int, tuple[int, int, int]]:
    if not data.startswith(SIGNATURE):
        raise NotSiglumFile("not a siglum file")
    if len(data) < len(SIGNATURE) + HEADER.size:
        raise Truncated("the file ends within its header")
    step, source, height, width, channels, _ = HEADER.unpack_from(data, len(SIGNATURE))
    if limits is not None and height * width > limits.max_pixels:
        raise LimitExceeded(f"more than {limits.max_pixels} pixels")
    return step, source, (height, width, channels)


def inspect(data: bytes, limits: Limits | None = None) -> Info:
    shape = parse(data, limits)[2]
    chunks = ({"type": "data", "sequence": 0, "bytes": 700}, {"type": "data", "sequence": 1, "bytes": 800})
    return Info("image", shape, 8 * len(data) / (shape[0] * shape[1]), chunks)


def read_header(data: bytes, limits: Limits | None = None) -> types.SimpleNamespace:
    step, source, _ = parse(data, limits)
    mode = {MODE_KEY: LOSSLESS} if step == 1 else {}
    return types.SimpleNamespace(codec=1, extra={SOURCE_FORMAT_KEY: source, **mode})


def truncate_chunks(data: bytes, *, count: int | None = None, max_bytes: int | None = None) -> bytes:
    """Stand in for a file of two chunks, of which the first is half of the payload."""
    half = len(data) // 2
    return data if count != 1 and (max_bytes is None or max_bytes >= len(data)) else data[:half]


# What the command line asks for, and where it finds it.
REPLACED = {
    "get": (codecs, lambda name, **config: ImageCodec(**config)),
    "codec_of_file": (codecs, lambda data, limits=None, **config: ImageCodec(**config)),
    "inspect": (siglum, inspect),
    "read_header": (container, read_header),
    "truncate_chunks": (container, truncate_chunks),
}


def install() -> None:
    """Put the fake where the command line looks for the codec."""
    for name, (owner, replacement) in REPLACED.items():
        setattr(owner, name, replacement)
