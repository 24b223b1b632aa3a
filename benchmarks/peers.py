"""The picture codecs that siglum is measured against, as Pillow has them, at settings that do them well."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, features

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Coder:
    """A codec as the benchmarks see it.

    Attributes
    ----------
    name
        One word.
    qualities
        The values of its own quality dial to measure, in order of growing rate.
    settings
        Everything else that was set, in words that let one repeat it.
    version
        Of the library that does the work; None if it is missing on this machine.
    encode
        RGB pixels (H, W, 3) and a value of the dial -> the whole file.
    decode
        The whole file -> pixels (H, W, 3).
    cached
        Whether an earlier measurement of the same version on the same machine may stand in for a new one.
    """

    name: str
    qualities: tuple[int, ...]
    settings: str
    version: str | None
    encode: Callable[[Pixels, int], bytes]
    decode: Callable[[bytes], Pixels]
    cached: bool = False


def peers() -> dict[str, Coder]:
    """Return the peers by name; one that this Pillow lacks is among them, with no version.

    JPEG's tables are optimised and its scans progressive: Pillow's defaults cost it a ninth of the rate.
    """
    jpeg = {"optimize": True, "progressive": True, "subsampling": "4:2:0"}
    # One thread, as JPEG and WebP have, so that speeds compare and the bytes do not depend on the machine;
    # no tiles, which serve threads and cost a small picture 1 or 2 % of the rate.
    avif = {"speed": 6, "subsampling": "4:2:0", "max_threads": 1, "autotiling": False}
    listed = [
        _peer("jpeg", (5, 10, 15, 25, 50, 75, 90), jpeg, _jpeg_version()),
        _peer("webp", (1, 10, 25, 50, 75, 90), {"method": 6}, _module_version("webp", "libwebp")),
        _peer("avif", (10, 20, 30, 40, 50, 60, 70, 80), avif, _module_version("avif", "libavif")),
    ]
    return {coder.name: coder for coder in listed}


def _peer(name: str, qualities: tuple[int, ...], options: dict[str, Any], version: str | None) -> Coder:
    def encode(pixels: Pixels, quality: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, name.upper(), quality=quality, **options)
        return file.getvalue()

    def decode(data: bytes) -> Pixels:
        with Image.open(io.BytesIO(data), formats=[name.upper()]) as image:
            return np.asarray(image.convert("RGB"))

    settings = " ".join(f"{key}={value}" for key, value in options.items())
    return Coder(name, qualities, settings, version, encode, decode, cached=True)


def _jpeg_version() -> str | None:
    if not features.check_codec("jpg"):
        return None
    turbo = features.version_feature("libjpeg_turbo")
    library = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version_codec('jpg')}"
    return f"{library}, Pillow {PIL.__version__}"


def _module_version(module: str, library: str) -> str | None:
    if module not in features.modules or not features.check_module(module):
        return None
    return f"{library} {features.version_module(module)}, Pillow {PIL.__version__}"
