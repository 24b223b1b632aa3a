from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import siglum
from siglum.benchmarks.metrics import psnr
from siglum.codecs import container
from siglum.codecs.container import Chunk, ChunkType, Header
from siglum.codecs.image.picture import Picture
from siglum.codecs.image_fast import tiles
from siglum.codecs.image_fast.codec import PREFIXES, ImageFastCodec
from siglum.errors import (
    BitstreamError,
    ChecksumMismatch,
    MalformedHeader,
    Truncated,
    UnknownModel,
    UnsupportedInputError,
    UsageError,
)

MEDIA = Path(__file__).parents[2] / "media"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    with Image.open(MEDIA / "kodim23.png") as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB"))[100:356, 200:520])


def waves(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    planes = [128 + 90 * np.sin(rows / (31 + c)) * np.cos(columns / (37 - c)) for c in range(3)]
    return np.stack(planes, -1).astype(np.uint8)


def test_rate_and_quality_rise_with_the_level(photo: np.ndarray) -> None:
    sizes, ratios = [], []
    for quality in (0, 30, 60, 100):
        codec = ImageFastCodec(quality=quality)
        data = codec.encode(photo)
        sizes.append(len(data))
        ratios.append(psnr(photo, codec.decode_array(data)))
    assert sizes == sorted(sizes) and ratios == sorted(ratios)
    assert ratios[0] > 26 and ratios[-1] > 39
    assert sizes[1] * 8 < 0.5 * photo.shape[0] * photo.shape[1]


def test_any_prefix_of_channels_decodes(photo: np.ndarray) -> None:
    files = [ImageFastCodec(quality=50, channels=channels).encode(photo) for channels in PREFIXES]
    assert [len(data) for data in files] == sorted(len(data) for data in files)
    ratios = [psnr(photo, siglum.decode(data)) for data in files]
    assert ratios == sorted(ratios) and ratios[0] > 20


@settings(deadline=None, max_examples=12)
@given(height=st.integers(1, 70), width=st.integers(1, 70), channels=st.sampled_from([1, 3, 4]))
def test_any_size_and_kind(height: int, width: int, channels: int) -> None:
    planes = np.dstack([waves(height, width), np.full((height, width, 1), 77, np.uint8)])
    pixels = planes[..., 0] if channels == 1 else planes[..., :channels]
    codec = ImageFastCodec(quality=90)
    out = codec.decode_array(codec.encode(pixels))
    assert out.shape == pixels.shape and out.dtype == np.uint8
    colour = slice(0, 3)
    assert np.abs(out[..., colour].astype(int) - pixels[..., colour]).mean() < 6
    assert channels != 4 or np.array_equal(out[..., 3], pixels[..., 3])


def test_metadata_and_source_are_kept(photo: np.ndarray) -> None:
    exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    codec = ImageFastCodec(quality=20)
    found = codec.decode(codec.encode(Picture(photo, b"profile", exif, b"<x/>", "jpeg")))
    assert (found.icc, found.exif, found.xmp, found.source_format) == (b"profile", exif, b"<x/>", "jpeg")


def test_tiles_threads_and_regions() -> None:
    pixels = waves(1100, 1300)
    files = [ImageFastCodec(quality=40, threads=threads).encode(pixels) for threads in (1, 2, 5)]
    assert files[0] == files[1] == files[2]
    assert len(siglum.inspect(files[0]).chunks) == 4 == len(tiles.tiles(1100, 1300))
    whole = ImageFastCodec(threads=1).decode_array(files[0])
    assert np.array_equal(whole, ImageFastCodec(threads=2).decode_array(files[0]))
    for x, y, width, height in ((0, 0, 1300, 1100), (1290, 1090, 10, 10), (630, 530, 40, 50), (700, 3, 1, 1)):
        part = ImageFastCodec().decode_region(io.BytesIO(files[0]), (x, y, width, height)).pixels
        assert np.max(np.abs(part.astype(int) - whole[y : y + height, x : x + width])) <= 1
    with pytest.raises(UsageError):
        ImageFastCodec().decode_region(files[0], (1290, 0, 11, 1))


def test_a_search_meets_its_rate(photo: np.ndarray) -> None:
    prepared = ImageFastCodec().prepare(Picture(photo))
    assert prepared.exact is None
    assert np.array_equal(prepared.reconstruct(80), siglum.decode(prepared.encode(80)))


def test_settings_out_of_range_are_refused() -> None:
    for wrong in (
        {"level": 256},
        {"quality": 101},
        {"channels": 7},
        {"lossless": True},
        {"threads": 0},
        {"engine": "torch"},
    ):
        with pytest.raises(UsageError):
            ImageFastCodec(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedInputError):
        ImageFastCodec().encode(np.zeros((1, 2**18 + 1), np.uint8))
    with pytest.raises(UnknownModel):
        ImageFastCodec(model="none").encode(np.zeros((4, 4), np.uint8))
    with pytest.raises(UsageError):
        ImageFastCodec().encode(np.zeros((4, 4), np.float32))


def rewritten(data: bytes, payload: bytes | None = None, **fields: object) -> bytes:
    """The same file with other fields in its header or another payload, checksums of chunks made anew."""
    reader = container.Reader(data)
    header, [chunk] = reader.header, list(reader.chunks())
    values = {name: getattr(header, name) for name in Header.__dataclass_fields__} | fields
    new = Chunk(chunk.type, 0, chunk.payload if payload is None else payload, chunk.symbols_crc)
    return container.write(Header(**values), [new])  # type: ignore[arg-type]


def test_forged_files_are_refused(photo: np.ndarray) -> None:
    data = ImageFastCodec(quality=30).encode(photo[:64, :64])
    [chunk] = list(container.Reader(data).chunks())
    for forged, error in (
        (rewritten(data, b""), Truncated),
        (rewritten(data, b"\6"), MalformedHeader),
        (rewritten(data, b"\0"), ChecksumMismatch),
        (rewritten(data, chunk.payload[:-1]), BitstreamError),
        (rewritten(data, quality=None), MalformedHeader),
        (rewritten(data, quality=256), MalformedHeader),
        (rewritten(data, model=b""), MalformedHeader),
        (rewritten(data, model=b"12345678"), UnknownModel),
        (rewritten(data, dtype="uint16"), MalformedHeader),
        (rewritten(data, shape=(64, 64, 2)), MalformedHeader),
        (rewritten(data, shape=(64, 2048, 3)), Truncated),
        (rewritten(data, shape=(80, 64, 3)), BitstreamError),
        (rewritten(data, quality=200), BitstreamError),
    ):
        with pytest.raises(error):
            ImageFastCodec().decode(forged)
    flipped = bytearray(chunk.payload)
    flipped[len(flipped) // 2] ^= 16
    with pytest.raises(BitstreamError):
        ImageFastCodec().decode(rewritten(data, bytes(flipped)))


def test_random_damage_raises_a_typed_error(photo: np.ndarray) -> None:
    data = ImageFastCodec(quality=30).encode(photo[:96, :80])
    random = np.random.default_rng(3)
    for _ in range(300):
        bad = bytearray(data)
        for place in random.integers(0, len(bad), random.integers(1, 4)):
            bad[place] ^= 1 << random.integers(8)
        if bytes(bad) == data:
            continue
        with pytest.raises(BitstreamError):
            ImageFastCodec().decode(bytes(bad))


def test_a_flat_picture_costs_nearly_nothing() -> None:
    data = ImageFastCodec(quality=80).encode(np.full((1024, 1024, 3), 127, np.uint8))
    assert len(data) < 2000  # 0.015 bpp
    assert ChunkType.DATA in {chunk.type for chunk in container.Reader(data).chunks()}
