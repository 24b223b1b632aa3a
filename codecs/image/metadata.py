"""Colour profile, EXIF and XMP: out of files that Pillow opened, and into those it writes."""

from __future__ import annotations

import struct
import warnings
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ORIENTATION_TAG = 0x0112
_EXIF_PREFIX = b"Exif\x00\x00"
_XMP_TIFF_TAG = 700
# Tags of a TIFF file that describe how its pixels, profile and XMP are stored: no metadata of the picture.
_TIFF_LAYOUT_TAGS = frozenset(
    {*range(254, 260), 262, 266, 273, *range(277, 282), 284, 317, *range(320, 326)}
) | {
    *range(338, 342),
    347,
    *range(530, 533),
    _XMP_TIFF_TAG,
    34675,
}


class PictureWarning(UserWarning):
    """Something of a picture is not kept: bits beyond eight, later frames, a profile that no longer fits."""


def fitting_profile(image: Image.Image, pixels: NDArray[np.uint8]) -> bytes | None:
    """Return the ICC profile, if it describes the channels that are kept."""
    icc = image.info.get("icc_profile")
    if not icc:
        return None
    if bytes(icc[16:20]) != (b"GRAY" if pixels.ndim == 2 else b"RGB "):
        warn("its colour profile is for other channels than are kept, and is dropped")
        return None
    return bytes(icc)


def exif_of(image: Image.Image, keep_metadata: bool) -> bytes | None:
    """Return the whole EXIF block, or the smallest one with the orientation, if it has one."""
    try:
        # Read after loading: a PNG may keep it at its end, and TIFF pixels are upright by then.
        exif = image.getexif()
        orientation = exif.get(ORIENTATION_TAG)
        if keep_metadata and len(exif):
            if image.format != "TIFF":
                return bytes(image.info.get("exif") or exif.tobytes()).removeprefix(_EXIF_PREFIX)
            for tag in _TIFF_LAYOUT_TAGS & set(exif):
                del exif[tag]
            return exif.tobytes().removeprefix(_EXIF_PREFIX) if len(exif) else None
    except Exception as error:
        warn(f"its EXIF block is damaged and is dropped ({one_line(error)})")
        return None
    if not isinstance(orientation, int) or not 2 <= orientation <= 8:
        return None
    return orientation_block(orientation)


def orientation_block(orientation: int) -> bytes:
    """Return the smallest EXIF block (26 bytes) that notes an orientation, 1 to 8."""
    # Header, one directory of one entry (a SHORT), no next directory.
    return struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, ORIENTATION_TAG, 3, 1, orientation, 0, 0)


def xmp_of(image: Image.Image) -> bytes | None:
    """Return the XMP packet."""
    xmp = image.info.get("xmp")
    if xmp is None and image.format == "TIFF":
        xmp = cast(Any, image).tag_v2.get(_XMP_TIFF_TAG)
    if isinstance(xmp, str):
        xmp = xmp.encode()
    return bytes(xmp) if xmp else None


def save_options(name: str, icc: bytes | None, exif: bytes | None, xmp: bytes | None) -> dict[str, Any]:
    """Return Pillow's arguments that carry profile, EXIF and XMP in this format."""
    if name in ("bmp", "ppm"):
        if icc or exif or xmp:
            warn(f"{name} holds no colour profile or metadata; they are dropped")
        return {}
    options: dict[str, Any] = {}
    if icc:
        options["icc_profile"] = icc
    if exif:
        if name == "jpeg" and len(exif) > 65527:
            warn("its EXIF block is too large for JPEG and is dropped")
        else:
            options["exif"] = _EXIF_PREFIX + exif
    if xmp:
        if name == "png":
            from PIL.PngImagePlugin import PngInfo

            options["pnginfo"] = PngInfo()
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        elif name == "tiff":
            # Pillow takes either EXIF or further tags, so the packet goes into the EXIF directory.
            directory = Image.Exif()
            directory.load(exif or b"")
            directory[_XMP_TIFF_TAG] = xmp
            options["exif"] = directory
        else:
            options["xmp"] = xmp
    return options


def one_line(error: BaseException) -> str:
    """Return an error's message without line breaks, at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def warn(message: str) -> None:
    """Warn that something of a picture is not kept."""
    warnings.warn(message, PictureWarning, stacklevel=2)
