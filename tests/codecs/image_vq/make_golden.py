"""Write the golden files of image-vq beside this script: python tests/codecs/image_vq/make_golden.py.

Run it only when the format or the shipped model changes, and say so in CHANGELOG.md. Each NAME.sgl has NAME.png
beside it, what it decoded to.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from siglum.codecs import container
from siglum.codecs.image.picture import Picture
from siglum.codecs.image_vq.codec import ImageVqCodec

FOLDER = Path(__file__).parent / "golden"


def pictures() -> dict[str, tuple[ImageVqCodec, Picture]]:
    """What is encoded, by name."""
    with Image.open(FOLDER.parents[2] / "media" / "kodim23.png") as image:
        photo = np.asarray(image.convert("RGB"))
    crop = np.ascontiguousarray(photo[120:216, 300:412])
    alpha = np.clip(np.add.outer(np.arange(96), np.arange(112)) * 2, 0, 255).astype(np.uint8)
    return {
        "rgb": (ImageVqCodec(level=150), Picture(crop)),
        "rgb-low": (ImageVqCodec(level=10), Picture(crop)),
        "rgb-high": (ImageVqCodec(level=255), Picture(crop)),
        "lanes": (ImageVqCodec(level=120, lanes=3), Picture(crop)),
        "gray": (ImageVqCodec(level=120), Picture(np.ascontiguousarray(crop[..., 1]))),
        "rgba": (ImageVqCodec(level=60), Picture(np.dstack([crop, alpha]))),
        "large": (ImageVqCodec(level=200), Picture(np.ascontiguousarray(photo[:192, :256]))),
        "one-pixel": (ImageVqCodec(level=100), Picture(crop[:1, :1].copy())),
    }


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    files = {name: codec.encode(picture) for name, (codec, picture) in pictures().items()}
    files["cut"] = container.truncate_chunks(files.pop("large"), count=3)
    for name, data in files.items():
        (FOLDER / f"{name}.sgl").write_bytes(data)
        Image.fromarray(ImageVqCodec().decode_array(data)).save(FOLDER / f"{name}.png", optimize=True)
        print(f"{name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
