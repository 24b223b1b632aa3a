"""Lossless picture sizes and speed: ``python -m siglum.benchmarks.lossless FOLDER``.

Each picture of the folder becomes a whole file and is compared with optimised PNG and lossless WebP from
Pillow, the strongest settings of both. Speed is megapixels a second on one thread, best of several runs, of
our encoder and decoder.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, features

from siglum.benchmarks.machine import describe
from siglum.codecs.image.codec import ImageCodec
from siglum.datasets.images import find_images

Result = TypeVar("Result")


@dataclass(frozen=True)
class Row:
    """Sizes in bytes, speeds in megapixels a second."""

    name: str
    pixels: int
    png_bytes: int
    webp_bytes: int
    siglum_bytes: int
    encode_mps: float
    decode_mps: float


def measure(path: Path, repeats: int, downscale: int) -> Row:
    """Encode, decode, compare and time one picture.

    Raises
    ------
    RuntimeError
        If the picture does not come back exactly.
    """
    with Image.open(path) as opened:
        picture = opened.convert("RGBA" if "A" in opened.getbands() else "L" if opened.mode == "L" else "RGB")
    if downscale > 1:
        picture = picture.reduce(downscale)
    pixels = np.asarray(picture)
    codec = ImageCodec(lossless=True, threads=1)
    encode_seconds, data = _best(lambda: codec.encode(pixels), repeats)
    decode_seconds, decoded = _best(lambda: codec.decode_array(data), repeats)
    if not np.array_equal(decoded, pixels):
        raise RuntimeError(f"{path} does not come back")
    count = picture.width * picture.height
    return Row(
        path.name,
        count,
        _saved(picture, "PNG", optimize=True, compress_level=9),
        _saved(picture, "WEBP", lossless=True, method=6, quality=100, exact=True),
        len(data),
        count / 1e6 / encode_seconds,
        count / 1e6 / decode_seconds,
    )


def _best(run: Callable[[], Result], repeats: int) -> tuple[float, Result]:
    best, result = float("inf"), None
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - start)
    assert result is not None
    return best, result


def _saved(picture: Image.Image, form: str, **options: object) -> int:
    file = BytesIO()
    picture.save(file, form, **options)
    return file.tell()


def table(rows: list[Row]) -> str:
    """Readable table with a closing line of totals."""
    total = Row(
        f"total of {len(rows)}",
        sum(r.pixels for r in rows),
        sum(r.png_bytes for r in rows),
        sum(r.webp_bytes for r in rows),
        sum(r.siglum_bytes for r in rows),
        sum(r.pixels for r in rows) / sum(r.pixels / r.encode_mps for r in rows),
        sum(r.pixels for r in rows) / sum(r.pixels / r.decode_mps for r in rows),
    )
    lines = [
        f"{'picture':24} {'png -o':>9} {'webp -m6':>9} {'siglum':>9} {'/ png':>7} {'/ webp':>7} "
        f"{'bpp':>7} {'enc MP/s':>9} {'dec MP/s':>9}"
    ]
    lines += [
        f"{r.name[:24]:24} {r.png_bytes:9} {r.webp_bytes:9} {r.siglum_bytes:9} "
        f"{100 * (r.siglum_bytes / r.png_bytes - 1):+6.1f}% "
        f"{100 * (r.siglum_bytes / r.webp_bytes - 1):+6.1f}% "
        f"{8 * r.siglum_bytes / r.pixels:7.3f} {r.encode_mps:9.1f} {r.decode_mps:9.1f}"
        for r in [*rows, total]
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m siglum.benchmarks.lossless", description="Lossless sizes against PNG and WebP."
    )
    parser.add_argument("folder", type=Path, help="folder of pictures")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs, of which the best counts")
    parser.add_argument(
        "--downscale", type=int, default=1, help="shrink first: hides the blocks of JPEG sources"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a picture instead of the table")
    options = parser.parse_args(arguments)
    if options.repeats < 1 or options.downscale < 1:
        parser.error("numbers must be positive")
    paths = find_images(options.folder)
    peers = f"libwebp {features.version('webp')}, zlib {features.version('zlib')}"
    print(describe(peers, ("siglum", "numpy", "pillow")), file=sys.stderr)
    rows = [measure(path, options.repeats, options.downscale) for path in paths]
    print("\n".join(json.dumps(asdict(row)) for row in rows) if options.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
