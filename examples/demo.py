"""A real photograph, recording and key-value cache through the installed `codec`, beside others (make demo)."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image
from safetensors.numpy import load_file

from siglum.benchmarks import audio_metrics
from siglum.benchmarks.audio import fit, resample
from siglum.benchmarks.coder import MissingPeer
from siglum.benchmarks.items import Audio
from siglum.benchmarks.peers_audio import opus

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "tests" / "media" / "kodim23.png"
SPEECH = ROOT / "tests" / "media" / "sense-and-sensibility.flac"
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


def photograph() -> None:
    """Encode, inspect, decode, compare."""
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
    print(f"\nAt the same PSNR the JPEG is {len(jpeg) / ours - 1:+.0%} larger. Look at demo/kodim23.png.\n")


def pesq_of(original: Audio, decoded: Audio) -> str:
    """PESQ-WB, where the package for it is installed."""
    try:
        return f"PESQ-WB {audio_metrics.pesq(original, decoded):.2f}"
    except MissingPeer:
        return "PESQ-WB not measured (pip install pesq)"


def recording() -> None:
    """Encode, inspect, decode, compare, take a part; and Opus, as small as it gets."""
    small, part = OUT / "speech.sgl", OUT / "part.sgl"
    run("encode", SPEECH, "-o", small, "-f", "-b", "3kbps")
    run("info", small)
    run("decode", small, "-o", OUT / "speech.wav", "-f")
    run("compare", SPEECH, OUT / "speech.wav")
    run("cut", small, "--from", "1s", "--to", "2.5s", "-o", part, "-f")
    run("decode", part, "-o", OUT / "part.flac", "-f")

    samples, rate = soundfile.read(SPEECH, dtype="float32")
    decoded, _ = soundfile.read(OUT / "speech.wav", dtype="float32")
    original = Audio(samples[None], rate)
    size = small.stat().st_size
    rows = [("siglum", size, pesq_of(original, Audio(decoded[None], rate)), "demo/speech.wav")]
    try:
        coder = opus("opus", 1)
        for dial in (6, 12):
            data = coder.encode(original, dial)
            there = fit(resample(coder.decode(data), rate), len(samples))
            (OUT / f"speech-{dial}.opus").write_bytes(data)
            rows.append(("Opus", len(data), pesq_of(original, there), f"demo/speech-{dial}.opus"))
    except MissingPeer as error:
        print(error)
    print()
    for name, count, quality, file in rows:
        print(
            f"{name:<7} {count:6,} bytes  {8 * count / original.seconds / 1000:5.2f} kbps  {quality}  {file}"
        )
    flac = SPEECH.stat().st_size
    print(f"FLAC    {flac:6,} bytes  {8 * flac / original.seconds / 1000:5.0f} kbps  exact\n")


def cache() -> None:
    """The cache of SmolLM2-135M after 128 tokens of text: at a quality, a part of it, bit for bit."""
    small, exact = OUT / "cache.sgl", OUT / "cache-lossless.sgl"
    run("encode", CACHE, "-o", small, "-f", "-q", "60")
    run("info", small)
    run("decode", small, "-o", OUT / "cache.safetensors", "-f")
    run("decode", small, "-o", OUT / "part.safetensors", "-f", "--tokens", "64:128", "--layers", "0-5")
    run("encode", CACHE, "-o", exact, "-f", "--lossless")
    run("decode", exact, "-o", OUT / "cache-exact.safetensors", "-f")

    before, after = load_file(CACHE), load_file(OUT / "cache-exact.safetensors")
    if any(not np.array_equal(before[name], after[name]) for name in before):
        raise SystemExit("the lossless cache is not what it was")
    fp16 = sum(array.nbytes for array in before.values())
    print(f"\nfp16    {fp16:9,} bytes")
    for name, path in (("exact", exact), ("-q 60", small)):
        size = path.stat().st_size
        print(
            f"{name:<7} {size:9,} bytes  {fp16 / size:5.2f}x smaller  {16 * size / fp16:.2f} bits an element"
        )


def main() -> None:
    """All three."""
    OUT.mkdir(exist_ok=True)
    photograph()
    recording()
    cache()


if __name__ == "__main__":
    main()
