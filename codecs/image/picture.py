"""Pictures in memory, and files of other formats into and out of them by Pillow."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from siglum.codecs.image.metadata import exif_of, fitting_profile, one_line, save_options, warn, xmp_of
from siglum.errors import UnsupportedInputError, UsageError

# The key in a header's ``extra`` for the format that the picture came in, so that decoding gives it back.
# Its value is one of the numbers here; a number is never given to another format.
SOURCE_FORMAT_KEY = 20
SOURCE_FORMATS = {
    1: "png",
    2: "jpeg",
    3: "webp",
    4: "tiff",
    5: "bmp",
    6: "gif",
    7: "ppm",
    8: "avif",
    9: "jpeg2000",
    10: "tga",  # read no more, as nothing in a TGA file tells its kind; the number stays taken
}
# What Pillow may open here. Absent on purpose: formats that start other programs (EPS) or are no pictures.
READ_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "AVIF", "JPEG2000")
WRITE_FORMATS = ("png", "jpeg", "webp", "tiff", "bmp", "ppm", "avif")
SUFFIXES = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".bmp": "bmp",
    ".ppm": "ppm",
    ".pgm": "ppm",
    ".pnm": "ppm",
    ".avif": "avif",
}
DEFAULT_MAX_PIXELS = 2**28

_CODING_OPTIONS: dict[str, dict[str, Any]] = {
    "jpeg": {"quality": 95, "subsampling": 0},
    "avif": {"quality": 95, "subsampling": "4:4:4"},
    "webp": {"lossless": True, "exact": True},
    "tiff": {"compression": "tiff_adobe_deflate"},
    "png": {"compress_level": 4},  # 2.4 times as fast as 6, files 3 % larger
}
_TIFF_SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_BLOCK_SAMPLES = 2**20  # deep samples that are reduced at a time

_pillow_limit = threading.Lock()


@dataclass(eq=False)
class Picture:
    """A picture as it is coded.

    Attributes
    ----------
    pixels
        uint8, (H, W) gray, (H, W, 3) RGB or (H, W, 4) RGBA with alpha not premultiplied.
    icc
        ICC profile, if there is one that fits the pixels.
    exif
        EXIF block from its TIFF header on; only the orientation unless all metadata was asked for.
    xmp
        XMP packet, if all metadata was asked for.
    source_format
        The format it was read from, a value of ``SOURCE_FORMATS``.

    Raises
    ------
    UsageError
        If the pixels are of another type or shape, or there are none.
    """

    pixels: NDArray[np.uint8]
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    source_format: str | None = None

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
            raise UsageError(
                "a picture is uint8 of shape (H, W), (H, W, 3) or (H, W, 4), "
                f"not {self.pixels.dtype} of shape {shape}"
            )
        if self.pixels.size == 0:
            raise UsageError("a picture has at least one pixel")

    @property
    def width(self) -> int:
        """Width in pixels, before any orientation is applied."""
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        """Height in pixels, before any orientation is applied."""
        return self.pixels.shape[0]

    @property
    def channels(self) -> int:
        """1, 3 or 4."""
        return 1 if self.pixels.ndim == 2 else self.pixels.shape[2]


def format_of_suffix(path: str | Path) -> str:
    """Return the format that a file name asks for, one of ``WRITE_FORMATS``.

    Raises
    ------
    UsageError
        If the suffix is not one that pictures are written to.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        known = " ".join(sorted(SUFFIXES))
        raise UsageError(
            f"{path}: no picture is written to the suffix {suffix or '(none)'}; use one of {known}"
        )
    return SUFFIXES[suffix]


def suffix_of_format(name: str) -> str:
    """Return the usual suffix of a format, with the dot: ``jpeg`` -> ``.jpg``."""
    return next((suffix for suffix, written in SUFFIXES.items() if written == name), f".{name}")


def read_picture(
    source: str | Path | bytes | BinaryIO, keep_metadata: bool = False, max_pixels: int = DEFAULT_MAX_PIXELS
) -> Picture:
    """Read a picture file of any of ``READ_FORMATS``.

    Parameters
    ----------
    source
        A path, the bytes of a file, or a binary file that can seek.
    keep_metadata
        Keep all of EXIF and XMP. Without it only a rotation or mirroring noted in EXIF is kept.
    max_pixels
        The largest picture to accept; checked before pixels are decoded.

    Returns
    -------
    Picture
        Gray stays gray; bilevel becomes gray; palettes and CMYK become RGB; whatever has transparency becomes
        RGBA. Of 16 bits 8 are kept, of an animation the first frame (both with a ``PictureWarning``).

    Raises
    ------
    UnsupportedInputError
        If it is no picture, is damaged, too large or of samples that do not reduce to 8 bits.
    OSError
        If the file cannot be read.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with _pillow_accepts(max_pixels), Image.open(cast(Any, stream), formats=READ_FORMATS) as image:
            return _picture_of(image, keep_metadata, max_pixels)
    except (UnsupportedInputError, UsageError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnsupportedInputError(_too_large(max_pixels)) from error
    except Image.UnidentifiedImageError as error:
        if _begins_like_tiff(stream):
            # TIFF allows far more layouts than Pillow knows, and it says of none which one it was.
            raise UnsupportedInputError(
                "a kind of TIFF that is not supported, or damaged; save it as 8-bit RGB or gray first"
            ) from error
        raise UnsupportedInputError("not a picture that can be read (PNG, JPEG, WebP, TIFF, …)") from error
    except MemoryError as error:
        raise UnsupportedInputError("not enough memory to open the picture") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        # Decoders of damaged data raise errors of every kind; none of them is of use to the reader.
        raise UnsupportedInputError(f"the picture is damaged: {one_line(error)}") from error


def write_picture(
    picture: Picture,
    target: str | Path | BinaryIO,
    format: str | None = None,  # noqa: A002
) -> None:
    """Write a picture with its ICC profile, EXIF and XMP.

    PNG, TIFF, BMP, PPM and WebP are lossless; JPEG and AVIF are written at quality 95 in 4:4:4. Metadata that
    makes the format's writer fail is left out with a ``PictureWarning``.

    Parameters
    ----------
    picture
        What to write.
    target
        A path, or a binary file.
    format
        One of ``WRITE_FORMATS``; by the suffix when the target is a path and none is given.

    Raises
    ------
    UsageError
        If the format is unknown, cannot hold the picture or fails to.
    OSError
        If the file cannot be written.
    """
    name = format
    if name is None:
        if not isinstance(target, str | Path):
            raise UsageError("a format is needed to write a picture to an open file")
        name = format_of_suffix(target)
    if name not in WRITE_FORMATS:
        raise UsageError(f"pictures are not written as {name!r}; there are {', '.join(WRITE_FORMATS)}")
    if picture.channels == 4 and name in ("jpeg", "bmp", "ppm"):
        raise UsageError(f"{name} holds no transparency: choose png, webp, tiff or avif")
    image = Image.fromarray(picture.pixels)
    try:
        if not (picture.icc or picture.exif or picture.xmp):
            image.save(cast(Any, target), format=name.upper(), **_CODING_OPTIONS.get(name, {}))
            return
        data = _with_metadata(image, name, picture)
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        size = f"{picture.width}x{picture.height}"
        raise UsageError(f"a picture of {size} cannot be written as {name}: {one_line(error)}") from error
    if isinstance(target, str | Path):
        Path(target).write_bytes(data)
    else:
        target.write(data)


def _with_metadata(image: Image.Image, name: str, picture: Picture) -> bytes:
    """Return the file with as much of the metadata as the format's writer takes.

    It is made in memory, since a writer that fails has written something already, perhaps into a pipe.
    """
    icc, exif, xmp = picture.icc, picture.exif, picture.xmp
    # The profile first: without it the colours are others.
    attempts = {
        (icc, exif, xmp): "",
        (icc, None, None): "EXIF and XMP are",
        (None, exif, xmp): "colour profile is",
        (None, None, None): "colour profile, EXIF and XMP are",
    }
    failure: Exception | None = None
    for kept, dropped in attempts.items():
        try:
            file = io.BytesIO()
            options = save_options(name, *kept) | _CODING_OPTIONS.get(name, {})
            image.save(file, format=name.upper(), **options)
        except MemoryError:
            raise
        except Exception as error:
            # Writers parse metadata, and raise errors of every kind where it is forged.
            failure = failure or error
            continue
        if failure is not None:
            warn(f"its {dropped} damaged or not for {name}, and dropped ({one_line(failure)})")
        return file.getvalue()
    assert failure is not None
    raise failure


@contextmanager
def _pillow_accepts(max_pixels: int) -> Iterator[None]:
    """Let Pillow open pictures of at most ``max_pixels``, and refuse larger ones as an error.

    Its own limit is a global variable, so one picture is opened at a time.
    """
    with _pillow_limit, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # Pillow's notes on odd metadata are of no use to whoever wants the pixels.
        warnings.filterwarnings("ignore", module=r"PIL\..*")
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _picture_of(image: Image.Image, keep_metadata: bool, max_pixels: int) -> Picture:
    if image.width * image.height > max_pixels:
        raise UnsupportedInputError(_too_large(max_pixels, image))
    frames = getattr(image, "is_animated", False)
    deep = _pillow_reduces(image)
    image.load()
    if frames:
        warn("it has several frames; only the first is kept")
    name = {"MPO": "jpeg", "DIB": "bmp"}.get(image.format or "", (image.format or "").lower())
    pixels, deep_here = _to_eight_bits(image)
    if deep or deep_here:
        warn("more than 8 bits a sample are reduced to 8")
    return Picture(
        pixels,
        icc=fitting_profile(image, pixels),
        exif=exif_of(image, keep_metadata),
        xmp=xmp_of(image) if keep_metadata else None,
        source_format=name if name in SOURCE_FORMATS.values() else None,
    )


def _pillow_reduces(image: Image.Image) -> bool:
    """Tell whether Pillow reduces deep colour to 8 bits by itself while it loads."""
    for tile in getattr(image, "tile", []):
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if image.mode.startswith("I") or not args:
            continue
        if ";16" in str(args[0]) or (
            tile[0].startswith("ppm") and isinstance(args[-1], int) and args[-1] > 255
        ):
            return True
    return False


def _to_eight_bits(image: Image.Image) -> tuple[NDArray[np.uint8], bool]:
    """Return the pixels in gray, RGB or RGBA, and whether bits were dropped."""
    mode = image.mode
    if mode.startswith("I"):
        return _reduced(image), True
    if mode == "F":
        raise UnsupportedInputError("its samples are floating-point numbers; reduce them to 8 bits first")
    if image.has_transparency_data:
        target = "RGBA"
    elif mode in ("1", "L"):
        target = "L"
    else:
        target = "RGB"
    # A copy in any case: the array must outlive the file, and be writable.
    return np.array(image if mode == target else _converted(image, target)), False


def _reduced(image: Image.Image) -> NDArray[np.uint8]:
    """Return gray samples of 16 bits as 8, some rows at a time: wide copies of all would take much memory."""
    pixels = np.empty((image.height, image.width), np.uint8)
    rows = max(1, _BLOCK_SAMPLES // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        deep = np.asarray(image.crop((0, top, image.width, bottom)))
        if deep.min() < 0 or deep.max() > 65535:
            raise UnsupportedInputError("its samples have 32 bits; reduce them to 16 or 8 first")
        pixels[top:bottom] = (deep.astype(np.uint32) * 255 + 32767) // 65535
    return pixels


def _converted(image: Image.Image, mode: str) -> Image.Image:
    try:
        return image.convert(mode)
    except MemoryError:
        raise
    except Exception as error:
        # Its data was decoded by now, so it is not damaged.
        raise UnsupportedInputError(
            f"pictures in the colour space {image.mode} are not supported; save it as RGB first"
        ) from error


def _begins_like_tiff(source: str | Path | BinaryIO) -> bool:
    try:
        if isinstance(source, str | Path):
            with Path(source).open("rb") as file:
                return file.read(4) in _TIFF_SIGNATURES
        source.seek(0)
        return source.read(4) in _TIFF_SIGNATURES
    except OSError:
        return False


def _too_large(max_pixels: int, image: Image.Image | None = None) -> str:
    size = f" ({image.width}x{image.height})" if image is not None else ""
    return f"the picture{size} has more than {max_pixels} pixels; --max-pixels sets the limit"


def gray_of(pixels: np.ndarray) -> np.ndarray:
    """Mean of three channels, rounded: (H, W, 3) -> (H, W) uint8."""
    total = pixels.sum(axis=2, dtype=np.uint16)
    return ((total + 1) // 3).astype(np.uint8)
