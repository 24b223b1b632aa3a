"""Rows as a run leaves them, made up: curves of known shape with noise of a fixed seed."""

from __future__ import annotations

import json
import math
import struct
import wave
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

# (codec, factor of rate at equal quality, encode and decode in megapixels a second)
IMAGE_CODECS = (
    ("image", 0.62, 3.1, 4.0),
    ("jpeg", 1.0, 61.0, 118.0),
    ("webp", 0.74, 4.4, 71.0),
    ("avif", 0.55, 1.9, 33.0),
    ("jxl", 0.6, 2.4, 24.0),
    ("jpeg2000", 0.85, 6.0, 9.0),
)
MACHINE = {"cpu": "Test CPU", "cores": 2, "isa": "avx2", "os": "Linux", "python": "3.11"}

MakeRows = Callable[..., list[dict[str, Any]]]


def run_line(path: str = "kodak", items: int = 24) -> dict[str, Any]:
    return {
        "run": {
            "command": f"codec bench {path} -c image,jpeg --json rows.jsonl",
            "date": "2026-11-21T12:00:00+00:00",
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "machine": MACHINE,
            "versions": {"siglum": "0.1.0", "pillow": "12.0"},
            "data": [{"path": path, "items": items, "sha256": "ab" * 32}],
            "threads": 1,
            "seed": 0,
        }
    }


def image_rows(
    items: int = 24,
    codecs: Sequence[Any] = IMAGE_CODECS,
    dials: int = 6,
    *,
    path: str = "kodak",
    seed: int = 0,
) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows = [run_line(path, items)]
    for i in range(items):
        busy = float(np.exp(rng.normal(0, 0.45)))
        for name, factor, encode, decode in codecs:
            own = factor * float(np.exp(rng.normal(0, 0.06)))
            for k in range(dials):
                plain = 0.12 * 1.72**k
                rate = round(plain * busy * own, 6)
                psnr = 26.5 + 7.2 * math.log2(1 + 2.2 * plain) + float(rng.normal(0, 0.03))
                ours = name == "image"
                size = int(rate * 393216 / 8)
                row = {
                    "item": f"kodim{i + 1:02}.png",
                    "item_sha256": sha256(str(i).encode()).hexdigest(),
                    "medium": "image",
                    "codec": name,
                    "dial": 10 + 15 * k,
                    "settings": {"quality": 10 + 15 * k, "threads": 1},
                    "version": "siglum 0.1.0" if ours else f"lib{name} 1.0",
                    "bytes": size,
                    "units": 393216,
                    "rate": rate,
                    "rate_unit": "bpp",
                    "encode_s": 0.393216 / encode,
                    "decode_s": 0.393216 / decode,
                    "threads": 1,
                    "metrics": {"psnr": psnr, "psnr_y": psnr + 1.1, "ms_ssim": psnr / 1.9 - 2},
                    "sha256": sha256(f"{i}{name}{k}".encode()).hexdigest(),
                    "failure": None,
                }
                if ours:
                    row["health"] = {"ideal_bits": 7.9 * size, "actual_bits": 7.92 * size}
                rows.append(row)
    return rows


def audio_rows(items: int = 2, path: str = "speech") -> list[dict[str, Any]]:
    rows = []
    for row in image_rows(items, [("opus", 1.0, 90.0, 200.0), ("mp3", 1.6, 40.0, 150.0)], 4, path=path):
        if "run" not in row:
            k = row["dial"]
            row |= {"medium": "audio", "item": row["item"].replace(".png", ".wav"), "rate_unit": "kbps"}
            row |= {"rate": 30 * row["rate"], "units": 1.0}
            row["metrics"] = {"visqol": 3 + k / 50, "mel": 1 / (k + 5), "stoi": 0.9 + k / 1000}
        rows.append(row)
    return rows


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_media(folder: Path, rows: Sequence[dict[str, Any]]) -> tuple[Path, Path]:
    """Make originals and what decoders would have left of them; returns (dataset, kept)."""
    data, kept = folder / "data", folder / "kept"
    for row in rows:
        if "run" in row or row["item"] is None:
            continue
        place = kept / row["codec"] / f"{row['dial']:g}" / row["item"]
        place.parent.mkdir(parents=True, exist_ok=True)
        data.mkdir(exist_ok=True)
        place.with_name(place.name + ".bin").write_bytes(bytes(8))
        if row["medium"] == "image":
            picture(row["dial"] // 4).save(place.with_name(place.name + ".png"))
            picture(0).save(data / row["item"])
        else:
            tone(place.with_name(place.name + ".wav"), 440 + row["dial"])
            tone(data / row["item"], 440)
    return data, kept


def picture(noise: int) -> Image.Image:
    y, x = np.mgrid[0:96, 0:144]
    base = np.stack([x * 1.7, y * 2.5, (x + y) * 1.0], axis=-1)
    rng = np.random.default_rng(noise)
    return Image.fromarray(
        np.clip(base + rng.normal(0, noise / 4 + 0.01, base.shape), 0, 255).astype(np.uint8)
    )


def tone(path: Path, frequency: float, *, seconds: float = 1.0) -> None:
    samples = [int(9000 * math.sin(2 * math.pi * frequency * i / 8000)) for i in range(int(8000 * seconds))]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))


@pytest.fixture(scope="session")
def make_images() -> MakeRows:
    return image_rows


@pytest.fixture(scope="session")
def make_sounds() -> MakeRows:
    return audio_rows


@pytest.fixture(scope="session")
def write() -> Callable[[Path, Sequence[dict[str, Any]]], Path]:
    return write_rows


@pytest.fixture(scope="session")
def make_media() -> Callable[[Path, Sequence[dict[str, Any]]], tuple[Path, Path]]:
    return write_media
