"""A real photograph and a real key-value cache through the installed `codec`. Run by `make demo`."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "tests" / "media" / "kodim23.png"
CACHE = ROOT / "tests" / "media" / "smollm2-kv.safetensors"
OUT = ROOT / "demo"
CODEC = Path(sys.executable).with_name("codec")


def run(*arguments: str | Path) -> None:
    """Run the command line, showing what is run."""
    shown = [str(a.relative_to(ROOT)) if isinstance(a, Path) else a for a in arguments]
    print("$ codec", *shown, flush=True)
    subprocess.run([CODEC, *shown], check=True, cwd=ROOT)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """PSNR in dB of two uint8 arrays."""
    return float(10 * np.log10(255.0**2 / np.mean((one.astype(np.float64) - other) ** 2)))


def jpeg_of(picture: np.ndarray, goal: float) -> tuple[bytes, float, int]:
    """The smallest JPEG (4:2:0, optimised, progressive) that reaches a PSNR, its PSNR and its quality."""
    for quality in range(1, 101):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality, optimize=True, progressive=True)
        reached = psnr(np.asarray(Image.open(file)), picture)
        if reached >= goal:
            break
    return file.getvalue(), reached, quality


def main() -> None:
    """Encode, inspect, decode, compare."""
    OUT.mkdir(exist_ok=True)
    small, exact = OUT / "kodim23.sgl", OUT / "kodim23-lossless.sgl"
    run("encode", PHOTO, "-o", small, "-f", "--psnr")
    run("info", small)
    run("decode", small, "-o", OUT / "kodim23.png", "-f")
    run("compare", PHOTO, OUT / "kodim23.png")
    run("encode", PHOTO, "-o", exact, "-f", "--lossless")
    run("verify", small, exact)

    picture = np.asarray(Image.open(PHOTO).convert("RGB"))
    decoded = np.asarray(Image.open(OUT / "kodim23.png").convert("RGB"))
    ours, quality = small.stat().st_size, psnr(decoded, picture)
    jpeg, jpeg_quality, setting = jpeg_of(picture, quality)
    print(f"\nsiglum     {ours:7,} bytes  {quality:.2f} dB   demo/kodim23.sgl")
    print(f"JPEG q{setting:<4} {len(jpeg):7,} bytes  {jpeg_quality:.2f} dB   optimised, progressive, 4:2:0")
    print(f"PNG        {PHOTO.stat().st_size:7,} bytes  exact")
    print(f"siglum     {exact.stat().st_size:7,} bytes  exact      demo/kodim23-lossless.sgl")
    print(f"\nAt the same PSNR the JPEG is {len(jpeg) / ours - 1:+.0%} larger. Look at demo/kodim23.png.")

    memory, back = OUT / "smollm2-kv.sgl", OUT / "smollm2-kv.safetensors"
    print("\nThe key-value cache of a language model (SmolLM2-135M after 128 tokens):\n", flush=True)
    run("encode", CACHE, "-o", memory, "-f")
    run("verify", memory)
    run("decode", memory, "-o", back, "-f")
    packed, plain = memory.stat().st_size, CACHE.stat().st_size
    print(f"\n{plain:,} bytes of fp16 -> {packed:,} bytes, {plain / packed:.1f} times fewer.")


if __name__ == "__main__":
    main()
