from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from siglum.benchmarks import image_fast

MEDIA = Path(__file__).parents[1] / "media"


def test_the_canvas_is_full() -> None:
    pixels = image_fast.canvas([MEDIA / "kodim23.png"])
    assert pixels.shape == (1080, 1920, 3)
    with Image.open(MEDIA / "kodim23.png") as image:
        photo = np.asarray(image.convert("RGB"))
    assert np.array_equal(pixels[:512, 768:1536], photo)
    assert np.array_equal(pixels[1024:, 1536:], photo[:56, :384])


def test_a_quality_is_found_and_timed() -> None:
    pixels = image_fast.canvas([MEDIA / "kodim23.png"])
    for contender in (image_fast.ours(), image_fast.pillow("JPEG", "JPEG")):
        quality = image_fast.quality_for(contender, pixels, 0.3)
        data = contender.encode(pixels, quality, 1)
        assert abs(8 * len(data) / pixels[..., 0].size - 0.3) < 0.05
    row = image_fast.measure(contender, pixels, quality, 1, 2, 1.0)
    assert row.encode_mps > 0 and 20 < row.psnr_db < 45
    assert "JPEG" in image_fast.table([row])
