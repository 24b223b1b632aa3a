"""The recipe from pictures to weights that code, in small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from siglum.codecs import models
from siglum.codecs.image_vq import gather, train


def photos(folder: Path) -> Path:
    random = np.random.default_rng(0)
    for i in range(13):
        small = random.integers(0, 256, (36, 36, 3)).astype(np.uint8)
        picture = np.asarray(Image.fromarray(small).resize((288, 288), Image.Resampling.BICUBIC)).astype(int)
        noisy = np.clip(picture + random.integers(-12, 13, picture.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{i:02}.png")
    return folder


@pytest.mark.slow
def test_a_small_run_makes_weights_that_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The picture's sensitivity takes 1,500 syntheses.
    monkeypatch.setattr(gather, "sensitivity", lambda model, data: np.ones(192, np.float32))
    recipe = train.Recipe(crops=24, held_out=8, book_steps=3, minutes=0.02)
    lines: list[str] = []
    path = train.main(photos(tmp_path), tmp_path / "run", recipe, lines.append, name="tiny", command="test")
    assert any("step 3" in line for line in lines)

    from siglum.codecs.image_vq.codec import ImageVqCodec

    monkeypatch.setenv("SIGLUM_MODELS", str(path.parent))
    assert models.named("tiny", "image-vq").path == path
    pixels = np.asarray(Image.open(tmp_path / "00.png"))
    data = ImageVqCodec(quality=60, model="tiny").encode(pixels)
    shown = ImageVqCodec().decode_array(data).astype(float)
    assert 10 * np.log10(255**2 / np.mean((shown - pixels) ** 2)) > 20

    # What a run holds is not done again.
    books = (tmp_path / "run" / "books.pt").stat().st_mtime_ns
    again = train.main(tmp_path, tmp_path / "run", recipe, lines.append, name="tiny")
    assert again == path and (tmp_path / "run" / "books.pt").stat().st_mtime_ns == books


def test_worth_follows_sensitivity_within_bounds() -> None:
    worth = train.channel_worth(10.0, np.array([1.0, 1.0, 1.2, 9.0, 0.1]))
    assert np.allclose(worth, [10, 10, 12, 15, 10 / 1.5])
