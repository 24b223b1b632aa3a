from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from siglum.codecs.image import lossy, strips
from siglum.codecs.image.codec import ImageCodec
from siglum.errors import BitstreamError, UsageError

PICTURE = Path(__file__).parents[2] / "media" / "kodim23.png"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(200, 300, 4) uint8."""
    with Image.open(PICTURE) as image:
        pixels = np.asarray(image.convert("RGBA").crop((250, 150, 550, 350))).copy()
    pixels[..., 3] = np.arange(300) % 256
    return pixels


class Counted(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


regions = st.tuples(st.integers(0, 299), st.integers(0, 199), st.integers(1, 300), st.integers(1, 200))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("lossless", [True, False])
def test_a_region_is_the_part_of_the_whole(
    photo: np.ndarray, channels: int, lossless: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lossy, "TILE", 4)  # of 64 pixels, so that there are 20
    monkeypatch.setattr(strips, "STRIP_PIXELS", 300 * 30)
    codec = ImageCodec(lossless=lossless, threads=1)
    data = codec.encode(photo[..., 0] if channels == 1 else photo[..., :channels])
    whole = codec.decode_array(data).astype(int)

    @settings(deadline=None, max_examples=10)
    @given(regions)
    def check(region: tuple[int, int, int, int]) -> None:
        x, y, width, height = (*region[:2], min(region[2], 300 - region[0]), min(region[3], 200 - region[1]))
        part = codec.decode_region(data, (x, y, width, height)).pixels
        error = np.abs(part - whole[y : y + height, x : x + width]).max()
        assert error <= (0 if lossless else 1)

    check()


def test_only_what_holds_it_is_read(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lossy, "TILE", 2)
    data = ImageCodec().encode(photo[..., :3])
    file = Counted(data)
    part = ImageCodec().decode_region(file, (2, 0, 5, 9)).pixels
    assert part.shape == (9, 5, 3)
    assert file.count < 0.5 * len(data)


def test_regions_outside_and_damage_are_refused(photo: np.ndarray) -> None:
    codec = ImageCodec()
    data = codec.encode(photo[..., :3])
    for region in ((0, 0, 0, 5), (-1, 0, 5, 5), (290, 0, 11, 5), (0, 0, 5, 201)):
        with pytest.raises(UsageError, match="region"):
            codec.decode_region(data, region)
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    with pytest.raises(BitstreamError):
        codec.decode_region(bytes(damaged), (0, 0, 5, 5))
    with pytest.raises(BitstreamError):
        codec.decode_region(data[:-30], (0, 0, 5, 5))
