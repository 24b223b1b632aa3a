"""Write tests/golden: files that must decode for as long as their format version and model live.

Run it only when the format or the shipped model changes, and say so in CHANGELOG.md:
    python tests/make_golden.py
Each NAME.sgl has NAME.png beside it, what it decoded to (for the tiled picture every 16th pixel), and
EXPECTED.json holds what the integer prior must answer.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from siglum.codecs.image import lossy
from siglum.codecs.image.codec import ImageCodec
from siglum.codecs.image.picture import Picture
from siglum.codecs.image.weights import load_by_name
from siglum.kernels.checksum import crc32c

FOLDER = Path(__file__).parent / "golden"
PRIOR_LEVELS = (0, 77, 255)


def waves(height: int, width: int) -> np.ndarray:
    """A smooth RGB picture of any size, (height, width, 3) uint8."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = [128 + 100 * np.sin(rows / (50 + 9 * c)) * np.cos(columns / (70 - 8 * c)) for c in range(3)]
    return np.stack(planes, -1).astype(np.uint8)


def drawing() -> np.ndarray:
    """A few shapes on white, (90, 120, 3) uint8."""
    picture = np.full((90, 120, 3), 255, np.uint8)
    picture[10:80, 20:23] = 0
    picture[40:43, 10:110] = (200, 30, 0)
    picture[50:80:4, 60:110] = (0, 90, 200)
    return picture


def pictures(photo: np.ndarray) -> dict[str, tuple[ImageCodec, Picture]]:
    """What is encoded, by name."""
    crop = np.ascontiguousarray(photo[120:216, 300:412])
    alpha = np.clip(np.add.outer(np.arange(96), np.arange(112)) * 2, 0, 255).astype(np.uint8)
    exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    return {
        "rgb": (ImageCodec(level=150, lossless=False), Picture(crop)),
        "rgb-low": (ImageCodec(level=10, lossless=False), Picture(crop)),
        "rgb-high": (ImageCodec(level=255, lossless=False), Picture(crop)),
        "gray": (ImageCodec(level=120, lossless=False), Picture(np.ascontiguousarray(crop[..., 1]))),
        "rgba": (ImageCodec(level=120, lossless=False), Picture(np.dstack([crop, alpha]))),
        "metadata": (ImageCodec(level=60, lossless=False), Picture(crop, b"profile", exif, None, "jpeg")),
        "one-pixel": (ImageCodec(level=100, lossless=False), Picture(crop[:1, :1].copy())),
        "lossless-rgb": (ImageCodec(lossless=True), Picture(crop)),
        "lossless-rgba": (ImageCodec(lossless=True), Picture(np.dstack([crop, alpha]))),
        "lossless-drawing": (ImageCodec(lossless=True), Picture(drawing())),
        "lossless-gray-line": (ImageCodec(lossless=True), Picture(crop[:1, :, 0].copy())),
        "tiled": (ImageCodec(level=20, lossless=False), Picture(waves(2200, 2100))),
    }


def shown(name: str, pixels: np.ndarray) -> np.ndarray:
    """What of the decoded pixels is kept beside a file."""
    return pixels[::16, ::16] if name == "tiled" else pixels


def prior_checksums() -> dict[str, int]:
    """CRC32C of the table indices under fixed hyperlatents and symbols at some levels."""
    weights = load_by_name("small")

    def numbers(low: int, bits: int, *shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        return (np.arange(count) * 2654435761 % 2**32 // 2 ** (32 - bits) + low).reshape(shape)

    z = numbers(-8, 4, 5, 6, weights.preset["hyper"]).astype(np.int16)
    symbols = numbers(-4, 3, 19, 23, weights.preset["latent"]).astype(np.int32)
    return {
        str(level): crc32c(lossy.predict(weights, z, symbols, level, 1)[1].tobytes())
        for level in PRIOR_LEVELS
    }


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    with Image.open(FOLDER.parent / "media" / "kodim23.png") as image:
        photo = np.asarray(image.convert("RGB"))
    for old in FOLDER.iterdir():
        old.unlink()
    for name, (codec, picture) in pictures(photo).items():
        data = codec.encode(picture)
        (FOLDER / f"{name}.sgl").write_bytes(data)
        Image.fromarray(shown(name, codec.decode_array(data))).save(FOLDER / f"{name}.png", optimize=True)
        print(f"{name}: {len(data)} bytes")
    expected = {"model": load_by_name("small").id.hex(), "prior": prior_checksums()}
    (FOLDER / "EXPECTED.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
