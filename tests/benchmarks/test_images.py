from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siglum.benchmarks import images
from siglum.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:180, :190]
    paths = []
    for i in range(2):
        waves = np.stack([np.sin(x / (9 + i)), np.cos(y / 7), np.sin((x + y) / 13)], axis=-1)
        pixels = np.clip(128 + 60 * waves + rng.normal(0, 5, waves.shape), 0, 255).astype(np.uint8)
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_peers_make_a_table_with_bd_rates(folder: list[Path]) -> None:
    measured = list(images.measure(folder, ["jpeg", "webp"]))
    assert len(measured) == 2 * sum(len(images.PEER_QUALITIES[name]) for name in ("jpeg", "webp"))
    points = images.means(measured)
    assert [point.quality for point in points if point.codec == "jpeg"] == [5, 10, 15, 25, 50, 75, 90]
    first = [item for item in measured if (item.codec, item.quality) == ("jpeg", 50)]
    point = next(point for point in points if (point.codec, point.quality) == ("jpeg", 50))
    assert point.bpp == pytest.approx(np.mean([item.bpp for item in first]))
    assert point.psnr_db == pytest.approx(np.mean([item.psnr_db for item in first]))
    assert point.encode_mps > 0 and point.decode_mps > 0
    rates = images.bd_rates(points)
    assert list(rates) == ["webp"] and rates["webp"]["psnr"] is not None


def test_curves_that_do_not_overlap_have_no_bd_rate() -> None:
    near = [images.Point("jpeg", q, q / 10, 30.0 + q, None, 1, 1) for q in (1, 2, 3)]
    far = [images.Point("webp", q, q / 10, 90.0 + q, None, 1, 1) for q in (1, 2, 3)]
    assert images.bd_rates(near + far) == {"webp": {"psnr": None, "ms_ssim": None}}


def test_an_unknown_codec_is_refused(folder: list[Path]) -> None:
    with pytest.raises(UsageError, match="unknown codec 'gif'; there are siglum, jpeg"):
        next(images.measure(folder, ["gif"]))
