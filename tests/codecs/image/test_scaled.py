from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import siglum.pillow
from siglum.codecs.image import lossy, scale, strips, windows
from siglum.codecs.image.codec import ImageCodec
from siglum.codecs.image.native_engine import NativeEngine
from siglum.codecs.image.weights import load_by_name
from siglum.errors import BitstreamError, UsageError

PICTURE = Path(__file__).parents[2] / "media" / "kodim23.png"
assert siglum.pillow.FORMAT == "SGL"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(203, 298, 4) uint8: no side is a multiple of anything."""
    with Image.open(PICTURE) as image:
        pixels = np.asarray(image.convert("RGBA").crop((250, 150, 548, 353))).copy()
    pixels[..., 3] = np.arange(298) % 256
    return pixels


def error(first: np.ndarray, second: np.ndarray) -> float:
    """Root of the mean squared difference, without the last row and column, which stand for fewer pixels."""
    difference = first[:-1, :-1].astype(float) - second[:-1, :-1]
    return float(np.sqrt(np.mean(difference**2)))


@pytest.mark.parametrize("factor", scale.FACTORS)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("lossless", [True, False])
def test_a_small_picture_is_the_means_of_the_whole(
    photo: np.ndarray, factor: int, channels: int, lossless: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", 298 * 13)
    codec = ImageCodec(lossless=lossless, threads=2)
    data = codec.encode(photo[..., 0] if channels == 1 else photo[..., :channels])
    small = codec.decode_scaled(data, factor).pixels
    whole = codec.decode_array(data)
    wanted = scale.means([whole], factor)
    assert small.shape == wanted.shape
    if lossless:
        assert (small == wanted).all()
        return
    plain = scale.means([whole[..., :3]], factor) if channels == 4 else wanted  # colours are not weighted
    assert error(small[..., :3] if channels == 4 else small, plain) < 3.0
    if channels == 4:
        assert (small[..., 3] == wanted[..., 3]).all()


@pytest.mark.parametrize("factor", scale.FACTORS)
def test_without_a_short_cut_the_last_layers_are_averaged(photo: np.ndarray, factor: int) -> None:
    weights = load_by_name("small")
    tensors = {k: v for k, v in weights._native._tensors.items() if not k.startswith(scale.PREVIEW)}
    pixels = np.ascontiguousarray(photo[:192, :288, :3])
    _, y = lossy.encode(weights, pixels, 200, 1)
    whole = lossy.synthesise(weights, y, 200, 192, 288, 1)
    out = np.empty((192 // factor, 288 // factor, 3), np.uint8)
    NativeEngine(tensors, weights.preset).synthesise_scaled(y, 200, out, 0, 0, 1, factor)
    assert error(out, scale.means([whole], factor)) < 0.75  # clamping and rounding


def test_engines_agree(photo: np.ndarray) -> None:
    pytest.importorskip("torch")
    data = ImageCodec(level=200).encode(photo[..., :3])
    native, torch = (ImageCodec(engine=name).decode_scaled(data, 4).pixels for name in ("native", "torch"))
    assert error(native, torch) < 3.0


@pytest.mark.parametrize("lossless", [True, False])
def test_a_part_of_a_small_picture(
    photo: np.ndarray, lossless: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lossy, "TILE", 4)
    monkeypatch.setattr(windows, "WINDOW", 3)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 298 * 30)
    codec = ImageCodec(lossless=lossless, threads=1)
    data = codec.encode(photo[..., :3])
    whole = {factor: codec.decode_scaled(data, factor).pixels.astype(int) for factor in scale.FACTORS}

    @settings(deadline=None, max_examples=12)
    @given(st.sampled_from(scale.FACTORS), st.tuples(*[st.integers(0, 300)] * 4))
    def check(factor: int, numbers: tuple[int, int, int, int]) -> None:
        x, y = numbers[0] % 298 // factor * factor, numbers[1] % 203 // factor * factor
        width, height = 1 + numbers[2] % (298 - x), 1 + numbers[3] % (203 - y)
        part = codec.decode_scaled(data, factor, (x, y, width, height)).pixels
        rows, columns = scale.scaled(height, factor), scale.scaled(width, factor)
        assert part.shape == (rows, columns, 3)
        same = whole[factor][y // factor :, x // factor :][: height // factor, : width // factor]
        difference = np.abs(part[: height // factor, : width // factor] - same)
        assert difference.max(initial=0) <= (0 if lossless else 1)

    check()


def test_tiles_give_what_one_pass_gives(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lossy, "TILE", 4)
    codec = ImageCodec(threads=1)
    data = codec.encode(photo[..., :3])
    one_pass = codec.decode_scaled(data, 2).pixels.astype(int)
    monkeypatch.setattr(windows, "WINDOW", 2)
    assert np.abs(codec.decode_scaled(data, 2).pixels - one_pass).max() <= 1


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(scale.FACTORS), st.integers(1, 9), st.data())
@settings(deadline=None, max_examples=40)
def test_means_do_not_depend_on_strips(
    height: int, width: int, factor: int, rows: int, data: st.DataObject
) -> None:
    channels = data.draw(st.sampled_from([(), (3,), (4,)]))
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, *channels), np.uint8)
    parts = [pixels[top : top + rows] for top in range(0, height, rows)]
    small = scale.means(parts, factor)
    assert (small == scale.means([pixels], factor)).all()
    if channels != (4,):
        for y, x in ((0, 0), (small.shape[0] - 1, small.shape[1] - 1)):
            block = pixels[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
            assert np.abs(small[y, x] - block.astype(float).mean((0, 1))).max() <= 0.5


def test_what_is_transparent_lends_no_colour() -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (200, 100, 40, 255)
    assert scale.means([pixels], 2).tolist() == [[[200, 100, 40, 64]]]


def test_wrong_factors_and_regions(photo: np.ndarray) -> None:
    codec = ImageCodec()
    data = codec.encode(photo[..., :3])
    with pytest.raises(UsageError, match="1/2, 1/4 or 1/8, not at 1/3"):
        codec.decode_scaled(data, 3)
    with pytest.raises(UsageError, match="multiple of 8 pixels, not at 4,8"):
        codec.decode_scaled(data, 8, (4, 8, 16, 16))
    with pytest.raises(UsageError, match="not within"):
        codec.decode_scaled(data, 8, (0, 0, 299, 16))
    with pytest.raises(BitstreamError):
        codec.decode_scaled(data[:-9], 8)


def test_pillow_drafts(photo: np.ndarray) -> None:
    data = ImageCodec().encode(photo[..., :3])
    image = Image.open(io.BytesIO(data))
    assert image.draft("RGB", (60, 40)) == ("RGB", (0, 0, 298 / 4, 203 / 4))
    assert image.size == (75, 51)
    assert error(np.asarray(image), ImageCodec().decode_scaled(data, 4).pixels) == 0
    assert image.draft("RGB", (2, 2)) is None
    whole = Image.open(io.BytesIO(data))
    assert whole.draft(None, (200, 200)) is None
    assert whole.size == (298, 203)
    small = Image.open(io.BytesIO(data))
    small.thumbnail((30, 30))
    assert small.size == (30, 20)
