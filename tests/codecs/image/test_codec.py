"""The image codec: every kind of picture there and back, the frame, bad settings and bad files."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import siglum
from siglum import errors
from siglum.codecs import container
from siglum.codecs.container import Chunk, ChunkType, Header
from siglum.codecs.image import codec as image
from siglum.codecs.image import lossy
from siglum.codecs.image.codec import ImageCodec, ImageConfig, level_of_quality
from siglum.codecs.image.picture import Picture

CHANNELS = [(), (3,), (4,)]


def smooth(height: int, width: int, channels: tuple[int, ...] = (3,), seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width].astype(float)
    planes = [
        128
        + 100
        * np.sin(rows / random.uniform(5, 40) + random.uniform(0, 6))
        * np.cos(columns / random.uniform(5, 40))
        for _ in range(int(np.prod(channels)))
    ]
    return np.stack(planes, axis=-1).reshape(height, width, *channels).astype(np.uint8)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (16, 16), (17, 33), (100, 64)])
@pytest.mark.parametrize("lossless", [True, False, None])
def test_round_trip(size: tuple[int, int], channels: tuple[int, ...], lossless: bool | None) -> None:
    picture = smooth(*size, channels)
    data = ImageCodec(quality=90, lossless=lossless).encode(picture)
    out = ImageCodec().decode_array(data)
    assert out.shape == picture.shape
    assert out.dtype == np.uint8
    if lossless:
        assert np.array_equal(out, picture)
    if channels == (4,):
        assert np.array_equal(out[..., 3], picture[..., 3])
    if lossless is None and size[0] * size[1] >= 256:
        assert np.mean((out.astype(float) - picture) ** 2) < 400


@given(
    st.integers(1, 90), st.integers(1, 90), st.sampled_from(CHANNELS), st.integers(0, 255), st.integers(0, 9)
)
@settings(deadline=None, max_examples=12)
def test_any_size_and_level_decodes(
    height: int, width: int, channels: tuple[int, ...], level: int, seed: int
) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, *channels), dtype=np.uint8)
    codec = ImageCodec(level=level, lossless=False)
    data = codec.encode(picture)
    assert codec.decode_array(data).shape == picture.shape
    assert siglum.inspect(data).quality == level


def test_quality_buys_fidelity(photo: np.ndarray) -> None:
    part = photo[100:292, 200:456]
    sizes, distortions = [], []
    for quality in (0, 25, 50, 75, 100):
        data = siglum.encode(part, quality=quality, lossless=False)
        sizes.append(len(data))
        distortions.append(float(np.mean((siglum.decode(data).astype(float) - part) ** 2)))
    assert sizes == sorted(sizes)
    assert distortions == sorted(distortions, reverse=True)
    assert distortions[-1] < 20


def test_smaller_than_the_best_jpeg_of_the_same_quality(photo: np.ndarray) -> None:
    from PIL import Image

    def error(other: np.ndarray) -> float:
        return float(np.mean((other.astype(float) - photo) ** 2))

    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=30, optimize=True, progressive=True)
    jpeg = error(np.asarray(Image.open(file)))
    codec = ImageCodec()
    prepared = codec.prepare(Picture(photo))
    level = next(level for level in range(40, 256, 10) if error(prepared.reconstruct(level)) <= jpeg)
    assert len(prepared.encode(level)) < 0.9 * len(file.getvalue())


def test_frame_is_at_most_64_bytes(photo: np.ndarray) -> None:
    data = ImageCodec(level=60).encode(photo)
    assert len(data) - siglum.inspect(data).payload_bytes <= 64


def test_same_bytes_every_time(photo: np.ndarray) -> None:
    codec = ImageCodec(level=90, threads=1)
    assert codec.encode(photo[:128, :128]) == codec.encode(photo[:128, :128])


def test_drawings_are_kept_exactly_by_themselves() -> None:
    drawing = np.full((120, 160, 3), 255, np.uint8)
    drawing[20:100, 30:34] = 0
    drawing[50:54, 30:130] = (200, 0, 0)
    data = siglum.encode(drawing, quality=90)
    assert siglum.inspect(data).lossless
    assert np.array_equal(siglum.decode(data), drawing)
    assert not siglum.inspect(siglum.encode(drawing, lossless=False)).lossless


def test_profile_and_orientation_come_back() -> None:
    picture = Picture(smooth(20, 30), icc=b"profile", exif=b"II*\0exif", xmp=b"<x/>", source_format="jpeg")
    for lossless in (True, False):
        out = ImageCodec(lossless=lossless).decode(ImageCodec(lossless=lossless).encode(picture))
        assert (out.icc, out.exif, out.xmp, out.source_format) == (b"profile", b"II*\0exif", b"<x/>", "jpeg")


def test_search_reconstruction_is_what_the_file_decodes_to(photo: np.ndarray) -> None:
    rgba = np.dstack([photo[:80, :96], photo[:80, :96, 0]])
    for pixels in (rgba, rgba[..., :3], rgba[..., 0]):
        codec = ImageCodec(threads=1)
        prepared = codec.prepare(Picture(np.ascontiguousarray(pixels)))
        assert np.array_equal(prepared.reconstruct(77), codec.decode_array(prepared.encode(77)))


def test_config_round_trips_through_json() -> None:
    import json

    codec = ImageCodec(quality=33.5, lossless=False, threads=1)
    again = ImageCodec(**json.loads(json.dumps(codec.config.to_dict())))
    assert again.config == codec.config == ImageConfig(33.5, None, False, "small", 1, "native")


@pytest.mark.parametrize(
    "wrong", [{"quality": -1}, {"quality": 101}, {"level": 256}, {"level": -1}, {"threads": 0}]
)
def test_settings_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(errors.UsageError):
        ImageCodec(**wrong)  # type: ignore[arg-type]


def test_quality_maps_to_every_end() -> None:
    assert (level_of_quality(0), level_of_quality(100)) == (0, 255)


def test_arrays_that_are_no_pictures() -> None:
    for array in (np.zeros((4, 4), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros(7, np.uint8)):
        assert siglum.inspect(siglum.encode(array)).codec == "tensor"
        with pytest.raises(errors.UsageError):
            ImageCodec().encode(array)
    with pytest.raises(errors.UnsupportedInputError):
        siglum.encode(np.zeros(3, np.complex64))


def header(**changes: object) -> Header:
    fields: dict[str, object] = {
        "codec": 1,
        "codec_version": 0,
        "model": image.ImageCodec()._weights().id,
        "shape": (32, 32, 3),
        "dtype": "uint8",
        "quality": 100,
        "extra": {},
    }
    return Header(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"shape": (32, 32, 2)}, errors.MalformedHeader),
        ({"dtype": "float32"}, errors.MalformedHeader),
        ({"quality": 256}, errors.MalformedHeader),
        ({"quality": None}, errors.MalformedHeader),
        ({"model": b""}, errors.MalformedHeader),
        ({"model": b"12345678"}, errors.UnknownModel),
        ({"codec_version": 1}, errors.UnsupportedVersion),
        ({"extra": {17: 2}}, errors.MalformedHeader),
        ({"extra": {19: 2}}, errors.UnsupportedVersion),
        ({"shape": (4096, 4096, 3)}, errors.Truncated),
        ({"shape": (1, 2**24, 3)}, errors.LimitExceeded),
        ({"shape": (2**19, 1)}, errors.LimitExceeded),
    ],
)
def test_headers_of_no_picture(changes: dict[str, object], error: type[Exception]) -> None:
    data = container.write(header(**changes), [Chunk(ChunkType.DATA, 0, b"\0", 0)])
    with pytest.raises(error):
        siglum.decode(data)


def test_too_many_or_unchecked_parts() -> None:
    data = ImageCodec(level=50).encode(smooth(32, 32))
    payload = next(iter(container.Reader(data).chunks()))
    twice = [payload, Chunk(ChunkType.DATA, 1, payload.payload, payload.symbols_crc)]
    with pytest.raises(errors.MalformedHeader):
        siglum.decode(container.write(header(), twice))
    with pytest.raises(errors.MalformedHeader):
        siglum.decode(container.write(header(), [Chunk(ChunkType.DATA, 0, payload.payload, None)]))


@pytest.mark.parametrize(
    "claim", [{"shape": (2**14, 2**14, 3)}, {"shape": (1, 2**24, 3), "quality": None, "extra": {17: 1}}]
)
def test_a_huge_claim_allocates_nothing(claim: dict[str, object]) -> None:
    data = container.write(header(**claim), [Chunk(ChunkType.DATA, 0, b"\0" * 100, 0)])
    tracemalloc.start()
    with pytest.raises(errors.BitstreamError):
        siglum.decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


def test_metadata_and_opacity_where_there_can_be_none() -> None:
    data = ImageCodec(level=50).encode(Picture(smooth(32, 32), icc=b"profile"))
    chunks = list(container.Reader(data).chunks())
    for extra in (Chunk(ChunkType.ICC, 1, b"again"), Chunk(ChunkType.ALPHA, 0, b"\0", 0)):
        with pytest.raises(errors.MalformedHeader):
            siglum.decode(container.write(header(quality=50), [*chunks, extra]))


@given(st.integers(0, 2**32 - 1), st.integers(0, 255))
@settings(deadline=None, max_examples=30)
def test_any_symbols_with_right_checksums_decode_or_are_refused(seed: int, level: int) -> None:
    weights = ImageCodec()._weights()
    random = np.random.default_rng(seed)
    wild = random.choice([3, 130, 2**15, 2**31 - 1])
    z = random.integers(-min(wild, 2**15), min(wild, 2**15 - 1) + 1, (1, 1, weights.preset["hyper"])).astype(
        np.int32
    )
    symbols = random.integers(
        -wild - (wild == 2**31 - 1), wild, (2, 2, weights.preset["latent"]), dtype=np.int64
    )
    symbols = symbols.astype(np.int32)
    _, index = lossy.predict(weights, np.clip(z, -127, 127).astype(np.int16), symbols, level, 1)
    symbols = np.where(index < weights.skip, 0, symbols).astype(np.int32)
    payload = lossy.encode_symbols(weights, z, symbols, index, level)
    chunk = Chunk(ChunkType.DATA, 0, payload, lossy.symbols_checksum(z, symbols))
    data = container.write(header(quality=level, shape=(32, 32, 3)), [chunk])
    if max(np.abs(z).max(), 0) > 127 or np.abs(symbols.astype(np.int64)).max() > 2**15 - 1:
        with pytest.raises(errors.MalformedHeader):
            siglum.decode(data)
    else:
        assert siglum.decode(data).shape == (32, 32, 3)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_damage_is_always_noticed(data: st.DataObject) -> None:
    good = GOOD[data.draw(st.integers(0, len(GOOD) - 1))]
    kind = data.draw(st.sampled_from(["flip", "cut", "splice"]))
    bad = bytearray(good)
    place = data.draw(st.integers(0, len(bad) - 1))
    if kind == "flip":
        bad[place] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del bad[place:]
    else:
        bad[place : place + 4] = data.draw(st.binary(min_size=0, max_size=6))
    if bytes(bad) != good:
        with pytest.raises(errors.BitstreamError):
            siglum.decode(bytes(bad))


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_payloads_forged_with_right_checksums_never_crash(data: st.DataObject) -> None:
    """An attacker can compute every CRC but that of symbols he does not know: damage must still end in an error."""
    index = data.draw(st.integers(0, len(GOOD) - 1))
    reader = container.Reader(GOOD[index])
    chunks = list(reader.chunks())
    victim = data.draw(st.integers(0, len(chunks) - 1))
    payload = bytearray(chunks[victim].payload)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(payload) - 1))
        payload[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        payload = payload[: data.draw(st.integers(0, len(payload)))]
    old = chunks[victim]
    chunks[victim] = Chunk(old.type, old.sequence, bytes(payload), old.symbols_crc)
    forged = container.write(reader.header, chunks)
    if bytes(payload) != old.payload:
        try:
            out = siglum.decode(forged)
        except errors.BitstreamError:
            return
        assert np.array_equal(out, siglum.decode(GOOD[index]))  # filling bits may change nothing


GOOD = [
    ImageCodec(level=60, lossless=False, threads=1).encode(smooth(48, 40)),
    ImageCodec(level=200, lossless=False, threads=1).encode(smooth(33, 20, (4,))),
    ImageCodec(lossless=True, threads=1).encode(smooth(24, 31)),
    ImageCodec(lossless=True, threads=1).encode(np.zeros((9, 300), np.uint8)),
]
