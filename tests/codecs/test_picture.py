from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from siglum.codecs.image import metadata
from siglum.codecs.image import picture as module
from siglum.codecs.image.metadata import PictureWarning
from siglum.codecs.image.picture import Picture, read_picture, write_picture
from siglum.errors import UnsupportedInputError, UsageError

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (9, 13, 3), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_with_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def deep_png(channels: int) -> tuple[np.ndarray, bytes]:
    """A PNG of 16 bits a sample, written by hand: Pillow writes only gray ones."""
    values = RNG.integers(0, 65536, (4, 5, channels)).astype(">u2")
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\x00" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 5, 4, 16, color_type, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return values, b"\x89PNG\r\n\x1a\n" + data


@pytest.mark.parametrize(
    ("image", "shape"),
    [
        (Image.fromarray(RGB[..., 0]), (9, 13)),
        (Image.fromarray(RGB), (9, 13, 3)),
        (Image.fromarray(np.dstack([RGB, RGB[..., 0]])), (9, 13, 4)),
        (
            Image.fromarray(RGB).convert("LA"),
            (9, 13, 4),
        ),
        (Image.fromarray(RGB).convert("1"), (9, 13)),
        (Image.fromarray(RGB).quantize(7), (9, 13, 3)),
    ],
    ids=["gray", "rgb", "rgba", "la", "bilevel", "palette"],
)
def test_modes_are_read_exactly(image: Image.Image, shape: tuple[int, ...]) -> None:
    picture = read_picture(saved(image))
    assert picture.pixels.shape == shape and picture.pixels.dtype == np.uint8
    assert picture.source_format == "png"
    mode = {2: "L", 3: "RGB" if shape[-1] == 3 else "RGBA"}[len(shape)]
    assert np.array_equal(picture.pixels, np.asarray(image.convert(mode)))
    picture.pixels[0, 0] = 1  # writable


@pytest.mark.parametrize("mode", ["P", "RGB", "L"])
def test_a_transparent_colour_becomes_alpha(mode: str) -> None:
    if mode == "P":
        image, key = Image.fromarray(RGB).quantize(4), 0
        transparent = np.asarray(image) == 0
    elif mode == "RGB":
        image, key = Image.fromarray(RGB), tuple(int(v) for v in RGB[2, 3])
        transparent = (RGB[2, 3] == RGB).all(axis=-1)
    else:
        image, key = Image.fromarray(RGB[..., 0]), int(RGB[2, 3, 0])
        transparent = RGB[..., 0] == RGB[2, 3, 0]
    picture = read_picture(saved(image, transparency=key))
    assert picture.channels == 4 and transparent.any()
    assert np.array_equal(picture.pixels[..., 3] == 0, transparent)


def test_cmyk_becomes_rgb_without_its_profile() -> None:
    image = Image.fromarray(RGB).convert("CMYK")
    profile = bytearray(SRGB)
    profile[16:20] = b"CMYK"
    with pytest.warns(PictureWarning, match="other channels"):
        picture = read_picture(saved(image, "TIFF", icc_profile=bytes(profile)))
    assert picture.pixels.shape == (9, 13, 3) and picture.icc is None
    assert np.array_equal(picture.pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_are_reduced_with_a_warning(channels: int) -> None:
    values, data = deep_png(channels)
    with pytest.warns(PictureWarning, match="reduced to 8"):
        pixels = read_picture(data).pixels
    wanted = values[..., [0, 0, 0, 1]] if channels == 2 else values.squeeze()
    assert pixels.shape == wanted.shape
    assert np.abs(pixels - wanted.astype(float) / 257).max() <= 1


def test_sixteen_bit_ppm_and_tiff_warn_too() -> None:
    with pytest.warns(PictureWarning, match="reduced to 8"):
        pixels = read_picture(b"P6 1 1 65535\n" + b"\xff\xff\x80\x00\x00\x00").pixels
    assert pixels.tolist() == [[[255, 128, 0]]]
    deep = Image.fromarray(np.array([[0, 65535, 32896, 129, 128]], np.uint16))
    with pytest.warns(PictureWarning, match="reduced to 8"):
        assert read_picture(saved(deep, "TIFF")).pixels.tolist() == [[0, 255, 128, 1, 0]]


def test_sixteen_bits_are_reduced_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_SAMPLES", 200)
    values = np.arange(65536, dtype=np.uint16).reshape(1024, 64)
    with pytest.warns(PictureWarning, match="reduced to 8"):
        pixels = read_picture(saved(Image.fromarray(values))).pixels
    assert np.array_equal(pixels, (values.astype(np.int64) * 255 + 32767) // 65535)


def test_other_kinds_of_tiff_are_not_called_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    # RGB samples of 32 bits: a directory of width, height, bits and colour space.
    entries = [
        (256, 3, 1, 4),
        (257, 3, 1, 4),
        (258, 3, 1, 32),
        (262, 3, 1, 2),
        (277, 3, 1, 3),
        (273, 4, 1, 8),
    ]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    data = b"II*\x00" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4 + 4 * 4 * 12)
    with pytest.raises(UnsupportedInputError, match="a kind of TIFF that is not supported"):
        read_picture(data)

    def fail(image: Image.Image, mode: str) -> None:
        raise ValueError(f"conversion from {image.mode} to {mode} not supported")

    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(UnsupportedInputError, match="the colour space LAB are not supported"):
        read_picture(saved(Image.new("LAB", (4, 4)), "TIFF"))


def test_tga_is_not_read() -> None:
    # Nothing in it tells what it is; but its number is never given to another format.
    with pytest.raises(UnsupportedInputError, match="not a picture"):
        read_picture(saved(Image.fromarray(RGB), "TGA"))
    assert module.SOURCE_FORMATS[10] == "tga"


def test_samples_that_do_not_reduce_are_refused() -> None:
    with pytest.raises(UnsupportedInputError, match="floating-point"):
        read_picture(saved(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"))
    with pytest.raises(UnsupportedInputError, match="32 bits"):
        read_picture(saved(Image.fromarray(np.full((2, 2), -7, np.int32)), "TIFF"))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame_with_a_warning(kind: str) -> None:
    frames = [Image.fromarray(np.full((4, 4, 3), value, np.uint8)) for value in (200, 10, 90)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    with pytest.warns(PictureWarning, match="only the first"):
        picture = read_picture(data)
    assert np.abs(picture.pixels[..., :3].astype(int) - 200).max() <= 1


@pytest.mark.parametrize("orientation", range(10))
def test_only_a_real_orientation_is_kept(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "A camera"
    picture = read_picture(saved(Image.fromarray(RGB), "JPEG", exif=exif))
    if not 2 <= orientation <= 8:
        assert picture.exif is None
        return
    assert picture.exif == metadata.orientation_block(orientation) and len(picture.exif) == 26
    parsed = Image.Exif()
    parsed.load(picture.exif)
    assert dict(parsed) == {0x0112: orientation}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_profile_exif_and_xmp_come_back(kind: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    source = Picture(RGB, icc=SRGB, exif=exif.tobytes().removeprefix(b"Exif\0\0"), xmp=b"<x:xmpmeta/>")
    file = io.BytesIO()
    write_picture(source, file, kind.lower())
    plain = read_picture(file.getvalue())
    assert plain.icc == SRGB and plain.exif is None and plain.xmp is None
    kept = read_picture(file.getvalue(), keep_metadata=True)
    assert kept.xmp == source.xmp and kept.source_format == kind.lower()
    parsed = Image.Exif()
    parsed.load(kept.exif)
    assert parsed[0x010F] == "A camera"


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".bmp", ".ppm"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_lossless_formats_round_trip_by_suffix(suffix: str, channels: int, tmp_path: Path) -> None:
    pixels = {1: RGB[..., 0], 3: RGB, 4: np.dstack([RGB, RGB[..., 1]])}[channels]
    path = tmp_path / f"picture{suffix}"
    if channels == 4 and suffix in (".bmp", ".ppm"):
        with pytest.raises(UsageError, match="holds no transparency"):
            write_picture(Picture(pixels), path)
        return
    write_picture(Picture(pixels), path)
    back = read_picture(path).pixels
    assert np.array_equal(back if channels != 1 or back.ndim == 2 else back[..., 0], pixels)


def test_jpeg_and_avif_are_written_at_high_quality() -> None:
    smooth = np.tile(np.linspace(0, 255, 64, dtype=np.uint8)[:, None, None], (1, 64, 3))
    for kind in ("jpeg", "avif"):
        file = io.BytesIO()
        write_picture(Picture(smooth), file, kind)
        assert np.abs(read_picture(file.getvalue()).pixels.astype(int) - smooth).max() <= 6


@pytest.mark.parametrize("kind", ["tiff", "avif", "webp", "jpeg", "png"])
def test_forged_metadata_never_keeps_a_picture_from_being_written(kind: str) -> None:
    for exif in (b"II*\0\xff\xff\xff\xff", b"forged", b"II*\0" + bytes(3)):
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whether there is one is up to the writer
            write_picture(Picture(RGB, icc=SRGB, exif=exif, xmp=b"\xff<"), file, kind)
            assert read_picture(file.getvalue()).icc == SRGB


def test_metadata_that_a_writer_refuses_is_dropped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    save = Image.Image.save

    def refuse(image: Image.Image, target: object, **options: object) -> None:
        if "icc_profile" in options:
            raise struct.error("forged")
        save(image, target, **options)

    monkeypatch.setattr(Image.Image, "save", refuse)
    path = tmp_path / "a.png"
    with pytest.warns(PictureWarning, match="its colour profile is damaged or not for png, and dropped"):
        write_picture(Picture(RGB, icc=SRGB, exif=metadata.orientation_block(6)), path)
    assert read_picture(path).icc is None and read_picture(path).exif == metadata.orientation_block(6)

    def never(image: Image.Image, *_: object, **__: object) -> None:
        raise TypeError("nothing works")

    monkeypatch.setattr(Image.Image, "save", never)
    for picture in (Picture(RGB), Picture(RGB, icc=SRGB)):
        with pytest.raises(UsageError, match="a picture of 13x9 cannot be written as png: nothing works"):
            write_picture(picture, io.BytesIO(), "png")


def test_formats_without_metadata_say_so() -> None:
    with pytest.warns(PictureWarning, match="bmp holds no colour profile"):
        write_picture(Picture(RGB, icc=SRGB), io.BytesIO(), "bmp")


def test_names_and_formats() -> None:
    assert module.format_of_suffix("a/b.JPG") == "jpeg" and module.suffix_of_format("jpeg") == ".jpg"
    assert module.suffix_of_format("tiff") == ".tif"
    with pytest.raises(UsageError, match=r"suffix \.xyz; use one of \.avif"):
        module.format_of_suffix("b.xyz")
    with pytest.raises(UsageError, match="not written as 'gif'"):
        write_picture(Picture(RGB), io.BytesIO(), "gif")
    with pytest.raises(UsageError, match="a format is needed"):
        write_picture(Picture(RGB), io.BytesIO())
    assert len(set(module.SOURCE_FORMATS.values())) == len(module.SOURCE_FORMATS)


@pytest.mark.parametrize(
    "pixels", [np.zeros((0, 4), np.uint8), np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4))]
)
def test_what_is_no_picture_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(UsageError):
        Picture(pixels)


def test_bad_files_are_refused_and_pillow_keeps_its_limit(tmp_path: Path) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    for size in ((2**31 - 1, 2**31 - 1), (2**16, 2**16)):
        with pytest.raises(UnsupportedInputError, match="more than 268435456 pixels"):
            read_picture(png_with_size(*size))
    with pytest.raises(UnsupportedInputError, match="more than 100 pixels"):
        read_picture(saved(Image.fromarray(RGB)), max_pixels=100)
    for data in (b"", b"hello, world", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"):
        with pytest.raises(UnsupportedInputError, match="not a picture"):
            read_picture(data)
    with pytest.raises(UnsupportedInputError, match="damaged"):
        read_picture(saved(Image.fromarray(RGB))[:200])
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "absent.png")
    with pytest.raises(IsADirectoryError):
        read_picture(tmp_path)
    assert limit == Image.MAX_IMAGE_PIXELS


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damage_raises_our_error_or_none(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM"]))
    file = bytearray(saved(Image.fromarray(RGB), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    del file[data.draw(st.integers(1, len(file))) :]
    with warnings.catch_warnings(), contextlib.suppress(UnsupportedInputError):
        warnings.simplefilter("ignore", PictureWarning)
        assert read_picture(bytes(file), max_pixels=2**20).pixels.size
