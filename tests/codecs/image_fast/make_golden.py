"""Write the golden files of the image-fast codec beside this script: python tests/codecs/image_fast/make_golden.py.

Run it only when the format or the shipped model changes, and say so in CHANGELOG.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from siglum.codecs.image.picture import Picture
from siglum.codecs.image_fast.codec import ImageFastCodec

FOLDER = Path(__file__).parent / "golden"
MEDIA = Path(__file__).parents[2] / "media"


def waves(height: int, width: int) -> np.ndarray:
    """A smooth RGB picture of any size, (height, width, 3) uint8."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = [128 + 100 * np.sin(rows / (50 + 9 * c)) * np.cos(columns / (70 - 8 * c)) for c in range(3)]
    return np.stack(planes, -1).astype(np.uint8)


def pictures() -> dict[str, tuple[ImageFastCodec, Picture]]:
    """What is encoded, by name."""
    with Image.open(MEDIA / "kodim23.png") as image:
        crop = np.ascontiguousarray(np.asarray(image.convert("RGB"))[120:216, 300:412])
    alpha = np.clip(np.add.outer(np.arange(96), np.arange(112)) * 2, 0, 255).astype(np.uint8)
    return {
        "rgb": (ImageFastCodec(level=150), Picture(crop)),
        "rgb-low": (ImageFastCodec(level=10), Picture(crop)),
        "rgb-high": (ImageFastCodec(level=255), Picture(crop)),
        "prefix": (ImageFastCodec(level=150, channels=32), Picture(crop)),
        "gray": (ImageFastCodec(level=120), Picture(np.ascontiguousarray(crop[:90, :50, 1]))),
        "rgba": (ImageFastCodec(level=60), Picture(np.dstack([crop, alpha]))),
        "one-pixel": (ImageFastCodec(level=100), Picture(crop[:1, :1].copy())),
        "tiled": (ImageFastCodec(level=20), Picture(waves(1050, 1100))),
    }


def shown(name: str, pixels: np.ndarray) -> np.ndarray:
    """What of the decoded pixels is kept beside a file."""
    return pixels[::16, ::16] if name == "tiled" else pixels


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, (codec, picture) in pictures().items():
        data = codec.encode(picture)
        (FOLDER / f"{name}.sgl").write_bytes(data)
        Image.fromarray(shown(name, codec.decode_array(data))).save(FOLDER / f"{name}.png", optimize=True)
