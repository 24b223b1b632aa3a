"""Lossless picture sizes and speed: ``python -m siglum.benchmarks.lossless FOLDER``.

Each picture of the folder is encoded as lossless strips and compared with optimised PNG and lossless WebP
from Pillow, the strongest settings of both. Sizes are whole payloads of strips, plus 64 bytes for a file's
frame. Speed is megapixels a second on one thread, best of several runs, of our encoder and decoder.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, features

from siglum.codecs.image.lossless import decode_strip, encode_strip
from siglum.kernels import dispatch

FRAME_BYTES = 64
SUFFIXES = (".png", ".ppm", ".pgm", ".webp", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")

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


def measure(path: Path, strip_rows: int, repeats: int, downscale: int) -> Row:
    """Encode, decode, compare and time one picture.

    Raises
    ------
    RuntimeError
        If a strip does not come back exactly.
    """
    with Image.open(path) as opened:
        picture = opened.convert("RGBA" if "A" in opened.getbands() else "L" if opened.mode == "L" else "RGB")
    if downscale > 1:
        picture = picture.reduce(downscale)
    pixels = np.atleast_3d(np.asarray(picture))
    height, width, channels = pixels.shape
    rows = strip_rows or height
    strips = [np.ascontiguousarray(pixels[y : y + rows]) for y in range(0, height, rows)]

    encode_seconds, payloads = _best(lambda: [encode_strip(strip) for strip in strips], repeats)

    def decode() -> list[NDArray[np.uint8]]:
        return [decode_strip(p, len(s), width, channels) for p, s in zip(payloads, strips, strict=True)]

    decode_seconds, decoded = _best(decode, repeats)
    if not np.array_equal(np.concatenate(decoded), pixels):
        raise RuntimeError(f"{path} does not come back")
    megapixels = height * width / 1e6
    return Row(
        path.name,
        height * width,
        _saved(picture, "PNG", optimize=True, compress_level=9),
        _saved(picture, "WEBP", lossless=True, method=6, quality=100, exact=True),
        FRAME_BYTES + sum(len(payload) for payload in payloads),
        megapixels / encode_seconds,
        megapixels / decode_seconds,
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


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine() -> str:
    """One line: processor, instruction set, versions."""
    return (
        f"{_processor()}, isa {dispatch.isa()}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"Pillow {PIL.__version__}, libwebp {features.version('webp')}, zlib {features.version('zlib')}"
    )


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
    parser.add_argument("--strip-rows", type=int, default=0, help="rows of a strip; 0: the whole picture")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs, of which the best counts")
    parser.add_argument(
        "--downscale", type=int, default=1, help="shrink first: hides the blocks of JPEG sources"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a picture instead of the table")
    options = parser.parse_args(arguments)
    paths = sorted(p for p in options.folder.glob("*") if p.suffix.lower() in SUFFIXES)
    if not paths or options.repeats < 1 or options.downscale < 1 or options.strip_rows < 0:
        parser.error(f"no pictures in {options.folder}" if not paths else "numbers must be positive")
    print(machine(), file=sys.stderr)
    rows = [measure(path, options.strip_rows, options.repeats, options.downscale) for path in paths]
    print("\n".join(json.dumps(asdict(row)) for row in rows) if options.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
