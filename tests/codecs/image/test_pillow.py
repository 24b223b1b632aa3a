from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

import siglum
import siglum.pillow

PICTURE = Path(__file__).parents[2] / "media" / "kodim23.png"


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    with Image.open(PICTURE) as image:
        return image.convert("RGB").crop((300, 200, 460, 330))


def saved(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "SGL", **options)
    return file.getvalue()


def test_a_picture_is_saved_and_opened_by_its_suffix(photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "photo.sgl"
    photo.save(path, quality=40)
    assert path.read_bytes() == siglum.encode(np.asarray(photo), quality=40)
    with Image.open(path) as image:
        assert (image.format, image.size, image.mode) == ("SGL", (160, 130), "RGB")
        assert image.get_format_mimetype() == "image/x-siglum"
        assert np.array_equal(np.asarray(image), siglum.decode(path.read_bytes()))
        assert image.resize((20, 20)).size == (20, 20)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "P", "LA", "CMYK"])
def test_every_mode_keeps_what_it_shows(photo: Image.Image, mode: str) -> None:
    image = photo.convert("RGBA").convert(mode) if mode == "LA" else photo.convert(mode)
    with Image.open(io.BytesIO(saved(image, lossless=True))) as opened:
        wanted = image.convert(opened.mode)
        assert opened.mode == {"L": "L", "1": "L", "RGBA": "RGBA", "LA": "RGBA"}.get(mode, "RGB")
        assert np.array_equal(np.asarray(opened), np.asarray(wanted))


def test_profile_and_metadata_are_kept(photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[274] = 6
    data = saved(photo, icc_profile=b"a profile" * 20, exif=exif, xmp=b"<x/>")
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.info["icc_profile"] == b"a profile" * 20 and opened.info["xmp"] == b"<x/>"
        assert opened.getexif()[274] == 6
        again = saved(opened)
    with Image.open(io.BytesIO(again)) as opened:
        assert opened.info["icc_profile"] == b"a profile" * 20 and opened.getexif()[274] == 6


def test_what_is_no_picture_or_damaged_is_one_error(photo: Image.Image) -> None:
    data = saved(photo)
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(data[:20]))
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 16
    with Image.open(io.BytesIO(bytes(damaged))) as image, pytest.raises(OSError, match="checksum"):
        image.load()
    with pytest.raises(siglum.errors.UsageError, match="quality"):
        saved(photo, quality=101)
