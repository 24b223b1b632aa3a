from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from siglum.codecs import container
from siglum.codecs.container import Chunk, ChunkType, Header
from siglum.codecs.image.picture import Picture
from siglum.codecs.image_vq.codec import ConcealedWarning, ImageVqCodec
from siglum.codecs.image_vq.frame import GROUPS_KEY, LANES_KEY
from siglum.codecs.image_vq.weights import load_by_name
from siglum.errors import BitstreamError, MalformedHeader, Truncated, UsageError

MEDIA = Path(__file__).parents[2] / "media"


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    with Image.open(MEDIA / "kodim23.png") as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:256, :320])


@pytest.fixture(scope="module")
def coded(photo: np.ndarray) -> bytes:
    return ImageVqCodec(quality=50, lanes=5).encode(photo)


def rebuilt(data: bytes, without: set[int]) -> bytes:
    """The file without some of its chunks, put together so that their heads tell their numbers."""
    reader = container.Reader(data)
    gone = [entry for number, entry in enumerate(reader.entries) if number in without]
    kept = bytearray(data)
    for entry in reversed(gone):
        del kept[entry.offset : entry.offset + entry.size]
    return bytes(kept)


def test_more_quality_is_more_bytes_and_more_fidelity(photo: np.ndarray) -> None:
    found = []
    for quality in (0, 30, 60, 100):
        data = ImageVqCodec(quality=quality).encode(photo)
        found.append((len(data), psnr(ImageVqCodec().decode_array(data), photo)))
    assert found == sorted(found) and found[0][1] > 25 and found[-1][1] > 40


def test_shapes_profiles_and_opacity(photo: np.ndarray) -> None:
    alpha = np.arange(256 * 320, dtype=np.uint32).reshape(256, 320).astype(np.uint8)
    picture = Picture(
        np.dstack([photo, alpha]), icc=b"profile", exif=b"II*\0\x08\0\0\0\0\0", source_format="png"
    )
    out = ImageVqCodec().decode(ImageVqCodec(quality=20).encode(picture))
    assert np.array_equal(out.pixels[..., 3], alpha)
    assert (out.icc, out.exif, out.source_format) == (b"profile", picture.exif, "png")
    for shape in ((1, 1, 3), (17, 33), (40, 1, 3), (3, 70, 3)):
        pixels = np.resize(photo, shape)
        assert ImageVqCodec().decode_array(ImageVqCodec(quality=20).encode(pixels)).shape == shape


def test_any_first_chunks_are_a_picture(coded: bytes, photo: np.ndarray) -> None:
    count = len(container.Reader(coded).entries)
    qualities = []
    for kept in range(1, count + 1):
        shorter = container.truncate_chunks(coded, count=kept)
        qualities.append(psnr(ImageVqCodec().decode_array(shorter), photo))
    assert qualities[0] > 15 and qualities[-1] > 33
    steps = qualities[0::5]
    assert steps == sorted(steps)


def test_a_file_cut_anywhere_is_truncated_unless_partial(coded: bytes) -> None:
    first = container.Reader(coded).entries[0]
    random = np.random.default_rng(0)
    for place in [*random.integers(first.offset + first.size, len(coded), 12), len(coded) - 1]:
        with pytest.raises(Truncated):
            ImageVqCodec().decode_array(coded[:place])
        assert ImageVqCodec(partial=True).decode_array(coded[:place]).shape == (256, 320, 3)
    for place in (0, 5, 30, first.offset + 3):
        with pytest.raises(BitstreamError):
            ImageVqCodec(partial=True).decode_array(coded[:place])


def test_lost_chunks_are_concealed_with_a_warning(coded: bytes, photo: np.ndarray) -> None:
    whole = psnr(ImageVqCodec().decode_array(coded), photo)
    entries = container.Reader(coded).entries
    lane = {number for number in range(1, len(entries)) if (number - 1) % 5 == 2}
    for data in (rebuilt(coded, lane), damaged(coded, lane)):
        with pytest.raises(BitstreamError):
            ImageVqCodec().decode_array(data)
        with pytest.warns(ConcealedWarning, match="guess"):
            pixels = ImageVqCodec(conceal=True).decode_array(data)
        assert 20 < psnr(pixels, photo) < whole
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert psnr(ImageVqCodec(conceal=True).decode_array(coded), photo) == whole


def damaged(data: bytes, which: set[int]) -> bytes:
    bad = bytearray(data)
    for number in which:
        entry = container.Reader(data).entries[number]
        bad[entry.offset + entry.size // 2] ^= 0x55
    return bytes(bad)


def test_a_lost_base_is_concealed_too(coded: bytes) -> None:
    for data in (damaged(coded, {0}), rebuilt(coded, set(range(len(container.Reader(coded).entries))))):
        with pytest.warns(ConcealedWarning):
            assert ImageVqCodec(conceal=True).decode_array(data).shape == (256, 320, 3)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_random_damage_is_a_typed_error_or_is_concealed(coded: bytes, seed: int) -> None:
    random = np.random.default_rng(seed)
    bad = bytearray(coded)
    for _ in range(random.integers(1, 5)):
        place = int(random.integers(len(bad)))
        if random.integers(3) == 0:
            length = int(random.integers(1, 300))
            bad[place : place + length] = random.bytes(int(random.integers(length)))
        else:
            bad[place] ^= 1 << int(random.integers(8))
    if bytes(bad) == coded:
        return
    with pytest.raises(BitstreamError):
        ImageVqCodec().decode_array(bytes(bad))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConcealedWarning)
        try:
            assert ImageVqCodec(conceal=True).decode_array(bytes(bad)).shape == (256, 320, 3)
        except BitstreamError:
            assert bytes(bad[:64]) != coded[:64]  # only the header cannot be done without


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_forged_payloads_are_typed_errors(coded: bytes, seed: int) -> None:
    random = np.random.default_rng(seed)
    header, chunks = container.read(coded)
    number = int(random.integers(len(chunks)))
    payload = random.bytes(int(random.integers(1, 2 * len(chunks[number].payload))))
    chunks[number] = Chunk(ChunkType.DATA, number, payload, chunks[number].symbols_crc)
    with pytest.raises(BitstreamError):
        ImageVqCodec().decode_array(container.write(header, chunks))


@pytest.mark.parametrize(
    ("lanes", "groups"), [(0, (1,)), (17, (1,)), (1, ()), (1, (0,)), (1, (65,)), (2, (1,) * 65)]
)
def test_a_plan_that_makes_no_sense_is_malformed(lanes: int, groups: tuple[int, ...]) -> None:
    extra = {LANES_KEY: lanes, GROUPS_KEY: groups}
    header = Header(2, 0, load_by_name("vq-small").id, (32, 32, 3), "uint8", 100, extra)
    data = container.write(header, [Chunk(ChunkType.DATA, 0, b"\0", 0)])
    with pytest.raises(MalformedHeader):
        ImageVqCodec().decode_array(data)


def test_more_layers_than_the_model_has_are_malformed(coded: bytes) -> None:
    header, chunks = container.read(coded)
    extra = {LANES_KEY: 5, GROUPS_KEY: (9,)}
    forged = Header(2, 0, header.model, header.shape, "uint8", header.quality, extra)
    with pytest.raises(MalformedHeader):
        ImageVqCodec().decode_array(container.write(forged, chunks[:6]))


def test_threads_and_batches_do_not_change_symbols(photo: np.ndarray) -> None:
    files = {ImageVqCodec(quality=40, threads=threads).encode(photo) for threads in (1, 2)}
    assert len(files) == 1
    data = files.pop()
    one, two = (ImageVqCodec(threads=threads).decode_array(data) for threads in (1, 2))
    assert np.abs(one.astype(int) - two).max() <= 1


def test_a_region_is_cut_out_of_the_whole(coded: bytes) -> None:
    whole = ImageVqCodec().decode_array(coded)
    part = ImageVqCodec().decode_region(coded, (30, 17, 101, 64)).pixels
    assert np.array_equal(part, whole[17:81, 30:131])
    with pytest.raises(UsageError):
        ImageVqCodec().decode_region(coded, (300, 0, 30, 10))


def test_settings_out_of_range() -> None:
    for wrong in ({"quality": 101}, {"level": 256}, {"lanes": 17}, {"threads": 0}, {"lossless": True}):
        with pytest.raises(UsageError):
            ImageVqCodec(**wrong)
    with pytest.raises(UsageError):
        ImageVqCodec(engine="torch")
