from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siglum.benchmarks import metrics

torch = pytest.importorskip("torch")

from siglum.codecs.image.ms_ssim import ms_ssim  # noqa: E402
from siglum.codecs.image.tuning import COSTS  # noqa: E402

PICTURE = Path(__file__).parents[2] / "media" / "kodim23.png"


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A photograph of odd sides, and one with noise: (181, 233, 3) uint8."""
    with Image.open(PICTURE) as image:
        photo = np.array(image.convert("RGB"))[100:281, 200:433]
    noise = np.random.default_rng(1).normal(0, 12, photo.shape)
    return photo, np.clip(photo + noise, 0, 255).astype(np.uint8)


def of(*pictures: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(picture)[None].float() / 255 for picture in pictures]


def test_it_is_the_metric_of_the_benchmark(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert ms_ssim(*of(*pair)).item() == pytest.approx(metrics.ms_ssim(*pair), abs=1e-5)
    assert ms_ssim(*of(pair[0], pair[0])).item() == pytest.approx(1.0, abs=1e-6)


def test_low_precision_around_it_does_not_matter(pair: tuple[np.ndarray, np.ndarray]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        value = ms_ssim(*of(*pair)).item()
    assert value == pytest.approx(metrics.ms_ssim(*pair), abs=1e-5)


def test_gradients_lead_to_the_reference(pair: tuple[np.ndarray, np.ndarray]) -> None:
    reference, start = of(*pair)
    picture = start.clone().requires_grad_()
    level = torch.full((1,), 100.0)
    for name in ("ms-ssim", "psnr"):
        before = COSTS[name](reference, picture, level).sum()
        (slope,) = torch.autograd.grad(before, picture)
        assert torch.isfinite(slope).all()
        moved = picture.detach() - 0.01 * slope / slope.abs().max()
        assert COSTS[name](reference, moved, level).item() < before.item()


def test_unrelated_pictures_have_finite_slopes() -> None:
    black = torch.zeros(1, 176, 176, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(ms_ssim(torch.rand(1, 176, 176, 3), black).sum(), black)
    assert torch.isfinite(slope).all()


def test_wrong_shapes() -> None:
    x = torch.zeros(1, 176, 176, 3)
    with pytest.raises(ValueError, match="same"):
        ms_ssim(x, x[..., :1])
    with pytest.raises(ValueError, match="at least 176"):
        ms_ssim(x[:, :175], x[:, :175])
