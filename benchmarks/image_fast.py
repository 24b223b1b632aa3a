"""Encoding speed of `image-fast` at 1080p: ``python -m siglum.benchmarks.image_fast FOLDER --rate 0.2``.

A 1920 x 1080 picture is put together of pictures of the folder, side by side. Each codec is set to the quality whose
whole file is nearest to the rate; then encoding, from the array to the bytes of the whole file, is timed on one and
on more threads, the best of several runs. The peers are Pillow's: AVIF at its fastest speed (9), WebP at its fastest
method (0), JPEG as it comes. Decoding of the same file is timed once a thread count, as it is not what this codec is
for.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from siglum.benchmarks.machine import describe
from siglum.benchmarks.metrics import psnr
from siglum.datasets.images import find_images, load_rgb

Pixels = NDArray[np.uint8]
HEIGHT, WIDTH = 1080, 1920
QUICK = 3  # of the runs asked for, of peers that take a second each


@dataclass(frozen=True)
class Row:
    """One codec on one number of threads."""

    codec: str
    quality: float
    threads: int
    bpp: float
    psnr_db: float
    encode_ms: float
    encode_mps: float
    decode_mps: float


@dataclass(frozen=True)
class Contender:
    """A codec: `encode` takes pixels, quality and threads."""

    name: str
    encode: Callable[[Pixels, float, int], bytes]
    decode: Callable[[bytes, int], Pixels]
    whole: bool  # qualities are whole numbers
    threaded: bool


def ours(channels: int | None = None) -> Contender:
    """The codec itself, all channels that pay or a prefix."""
    from siglum.codecs.image_fast.codec import ImageFastCodec

    def encode(pixels: Pixels, quality: float, threads: int) -> bytes:
        return ImageFastCodec(quality=quality, threads=threads, channels=channels).encode(pixels)

    def decode(data: bytes, threads: int) -> Pixels:
        return ImageFastCodec(threads=threads).decode_array(data)

    name = "image-fast" if channels is None else f"image-fast, {channels} channels"
    return Contender(name, encode, decode, whole=False, threaded=True)


def pillow(name: str, kind: str, **options: Any) -> Contender:
    """A codec of Pillow."""

    def encode(pixels: Pixels, quality: float, threads: int) -> bytes:
        file = io.BytesIO()
        more = {"max_threads": threads} if kind == "AVIF" else {}
        Image.fromarray(pixels).save(file, kind, quality=round(quality), **options, **more)
        return file.getvalue()

    def decode(data: bytes, threads: int) -> Pixels:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            return np.asarray(image.convert("RGB"))

    return Contender(name, encode, decode, whole=True, threaded=kind == "AVIF")


def contenders() -> list[Contender]:
    """Whoever is installed."""
    found = [ours(), ours(64)]
    if features.check("avif"):
        found.append(pillow("AVIF speed 9", "AVIF", speed=9, subsampling="4:2:0"))
    if features.check("webp"):
        found.append(pillow("WebP method 0", "WEBP", method=0))
    found.append(pillow("JPEG", "JPEG", subsampling="4:2:0"))
    return found


def canvas(paths: list[Path]) -> Pixels:
    """Pictures side by side, row by row, until 1920 x 1080 are full."""
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    sources = (load_rgb(paths[i % len(paths)]) for i in range(10**6))
    top = 0
    while top < HEIGHT:
        left, lowest = 0, HEIGHT
        while left < WIDTH:
            part = next(sources)[: HEIGHT - top, : WIDTH - left]
            out[top : top + part.shape[0], left : left + part.shape[1]] = part
            left, lowest = left + part.shape[1], min(lowest, part.shape[0])
        top += lowest
    return out


def quality_for(contender: Contender, pixels: Pixels, rate: float) -> float:
    """The quality, 0 to 100, whose file is nearest to a rate in bits per pixel, by bisection."""
    low, high = 0.0, 100.0

    def found(quality: float) -> float:
        return 8 * len(contender.encode(pixels, quality, 1)) / (HEIGHT * WIDTH)

    while high - low > (1.0 if contender.whole else 0.4):
        middle = (low + high) / 2
        if contender.whole:
            middle = float(round(middle))
            if middle in (low, high):
                break
        low, high = (middle, high) if found(middle) < rate else (low, middle)
    return min((low, high), key=lambda quality: abs(found(quality) - rate))


def measure(
    contender: Contender, pixels: Pixels, quality: float, threads: int, runs: int, seconds: float
) -> Row:
    """Time one codec: the best of so many runs, fewer if they would take longer than so many seconds."""
    data = contender.encode(pixels, quality, threads)
    best, begun, done = float("inf"), time.perf_counter(), 0
    while done < runs and (done < QUICK or time.perf_counter() - begun < seconds):
        start = time.perf_counter()
        contender.encode(pixels, quality, threads)
        best, done = min(best, time.perf_counter() - start), done + 1
    start = time.perf_counter()
    out = contender.decode(data, threads)
    decode = time.perf_counter() - start
    count = HEIGHT * WIDTH
    return Row(
        contender.name,
        quality,
        threads,
        8 * len(data) / count,
        psnr(pixels, out),
        1e3 * best,
        count / 1e6 / best,
        count / 1e6 / decode,
    )


def table(rows: list[Row]) -> str:
    """Readable table."""
    lines = [
        f"{'codec':26} {'quality':>7} {'threads':>7} {'bpp':>6} {'dB':>6} {'ms':>8} {'enc MP/s':>9} {'dec MP/s':>9}"
    ]
    lines += [
        f"{r.codec:26} {r.quality:7.1f} {r.threads:7d} {r.bpp:6.3f} {r.psnr_db:6.2f} {r.encode_ms:8.2f} "
        f"{r.encode_mps:9.1f} {r.decode_mps:9.1f}"
        for r in rows
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m siglum.benchmarks.image_fast", description="Encoding speed at 1080p against peers."
    )
    parser.add_argument("folder", type=Path, help="folder of pictures")
    parser.add_argument("--rate", type=float, default=0.2, help="bits per pixel")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=30, help="timed runs, of which the best counts")
    parser.add_argument("--seconds", type=float, default=3.0, help="that the runs of a codec may take")
    parser.add_argument("--json", action="store_true", help="one JSON object a row instead of the table")
    options = parser.parse_args(arguments)
    if options.rate <= 0 or options.runs < 1 or min(options.threads) < 1:
        parser.error("numbers must be positive")
    pixels = canvas(find_images(options.folder))
    versions = f"libavif {features.version('avif')}, libwebp {features.version('webp')}"
    print(describe(versions, ("siglum", "numpy", "pillow")), file=sys.stderr)
    rows = []
    for contender in contenders():
        quality = quality_for(contender, pixels, options.rate)
        for threads in options.threads if contender.threaded else options.threads[:1]:
            rows.append(measure(contender, pixels, quality, threads, options.runs, options.seconds))
    print("\n".join(json.dumps(asdict(row)) for row in rows) if options.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
