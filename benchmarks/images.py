"""Rate and distortion of picture codecs over a folder: whole files, as they would lie on a disk."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from siglum.benchmarks.bd_rate import bd_rate
from siglum.benchmarks.metrics import MS_SSIM_SMALLEST_SIDE, ms_ssim, ms_ssim_db, psnr
from siglum.errors import UsageError

Pixels = NDArray[np.uint8]
RATE_RANGE = (0.1, 1.5)  # bits per pixel over which curves are compared
OUR_QUALITIES = (5, 15, 25, 35, 45, 55, 65, 75, 85, 95)
PEER_QUALITIES: dict[str, tuple[int, ...]] = {
    "jpeg": (5, 10, 15, 25, 50, 75, 90),
    "webp": (1, 10, 25, 50, 75, 90),
    "avif": (15, 25, 35, 50, 65, 80),
}
PEER_SETTINGS: dict[str, dict[str, Any]] = {
    "jpeg": {"optimize": True, "progressive": True, "subsampling": "4:2:0"},
    "webp": {"method": 6},
    "avif": {"speed": 6, "subsampling": "4:2:0"},
}


@dataclass(frozen=True)
class Measurement:
    """One picture, coded once.

    Attributes
    ----------
    codec, quality, picture
        What was coded how.
    bpp
        Bits of the whole file for each pixel.
    psnr_db, ms_ssim_db
        Over RGB; MS-SSIM is None for pictures with a side below 176 pixels.
    encode_seconds, decode_seconds, pixels
        For speeds.
    """

    codec: str
    quality: float
    picture: str
    bpp: float
    psnr_db: float
    ms_ssim_db: float | None
    encode_seconds: float
    decode_seconds: float
    pixels: int


@dataclass(frozen=True)
class Point:
    """Means over all pictures at one quality of one codec."""

    codec: str
    quality: float
    bpp: float
    psnr_db: float
    ms_ssim_db: float | None
    encode_mps: float
    decode_mps: float


def measure(
    paths: Iterable[Path],
    codecs: Sequence[str] = ("siglum", "jpeg"),
    qualities: Sequence[float] = OUR_QUALITIES,
    threads: int | None = None,
) -> Iterator[Measurement]:
    """Code every picture (as RGB) with every codec at every quality.

    Parameters
    ----------
    paths
        Picture files.
    codecs
        "siglum", or a peer that Pillow has: "jpeg", "webp", "avif".
    qualities
        Of siglum; the peers have their own.
    threads
        For siglum; the peers use what they like.

    Raises
    ------
    UsageError
        If a codec is unknown.
    """
    for codec in codecs:
        if codec != "siglum" and codec not in PEER_QUALITIES:
            raise UsageError(f"unknown codec {codec!r}; there are siglum, {', '.join(PEER_QUALITIES)}")
    if "siglum" in codecs:
        # Once in vain, so that the loading of the networks is in nobody's time.
        encode, decode = _siglum(qualities[0], threads)
        decode(encode(np.zeros((64, 64, 3), np.uint8)))
    for path in paths:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        for codec in codecs:
            for quality in qualities if codec == "siglum" else PEER_QUALITIES[codec]:
                coder = _siglum(quality, threads) if codec == "siglum" else _peer(codec, quality)
                yield _measure_one(coder, codec, quality, path.name, pixels)


def means(measurements: Iterable[Measurement]) -> list[Point]:
    """Return the mean of rates and of decibels over the pictures, for each codec and quality in order."""
    groups: dict[tuple[str, float], list[Measurement]] = {}
    for item in measurements:
        groups.setdefault((item.codec, item.quality), []).append(item)
    points = []
    for (codec, quality), items in groups.items():
        pixels = sum(item.pixels for item in items) / 1e6
        similar = [item.ms_ssim_db for item in items if item.ms_ssim_db is not None]
        points.append(
            Point(
                codec,
                quality,
                bpp=float(np.mean([item.bpp for item in items])),
                psnr_db=float(np.mean([item.psnr_db for item in items])),
                ms_ssim_db=float(np.mean(similar)) if len(similar) == len(items) else None,
                encode_mps=pixels / sum(item.encode_seconds for item in items),
                decode_mps=pixels / sum(item.decode_seconds for item in items),
            )
        )
    return points


def bd_rates(points: Sequence[Point], anchor: str = "jpeg") -> dict[str, dict[str, float | None]]:
    """Return the BD-rates in per cent of every codec against the anchor, by PSNR and by MS-SSIM.

    Only what lies within ``RATE_RANGE`` counts. A value is None where the curves do not overlap or are not
    monotone.
    """

    def against(codec: str, of: Callable[[Point], float | None]) -> float | None:
        curves = {}
        for name in (anchor, codec):
            curve = [(point.bpp, of(point)) for point in points if point.codec == name]
            if any(value is None for _, value in curve):
                return None
            curves[name] = [rate for rate, _ in curve], [value or 0.0 for _, value in curve]
        try:
            return bd_rate(*curves[anchor], *curves[codec], rate_range=RATE_RANGE)
        except UsageError:
            return None

    others = [codec for codec in dict.fromkeys(point.codec for point in points) if codec != anchor]
    return {
        codec: {
            "psnr": against(codec, lambda point: point.psnr_db),
            "ms_ssim": against(codec, lambda point: point.ms_ssim_db),
        }
        for codec in others
    }


Coder = tuple[Callable[[Pixels], bytes], Callable[[bytes], Pixels]]


def _siglum(quality: float, threads: int | None) -> Coder:
    from siglum import codecs

    codec = codecs.get("image", quality=quality, lossless=False, threads=threads)
    return codec.encode, codec.decode_array


def _peer(name: str, quality: float) -> Coder:
    def encode(pixels: Pixels) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, name.upper(), quality=int(quality), **PEER_SETTINGS[name])
        return file.getvalue()

    def decode(data: bytes) -> Pixels:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))

    return encode, decode


def _measure_one(coder: Coder, codec: str, quality: float, name: str, pixels: Pixels) -> Measurement:
    encode, decode = coder
    start = time.perf_counter()
    data = encode(pixels)
    middle = time.perf_counter()
    decoded = decode(data)
    end = time.perf_counter()
    count = pixels.shape[0] * pixels.shape[1]
    large = min(pixels.shape[:2]) >= MS_SSIM_SMALLEST_SIDE
    return Measurement(
        codec,
        quality,
        name,
        bpp=8 * len(data) / count,
        psnr_db=psnr(pixels, decoded),
        ms_ssim_db=ms_ssim_db(ms_ssim(pixels, decoded)) if large else None,
        encode_seconds=middle - start,
        decode_seconds=end - middle,
        pixels=count,
    )
