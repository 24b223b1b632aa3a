from __future__ import annotations

import math

import numpy as np
import pytest

from siglum.benchmarks import metrics
from siglum.errors import UsageError


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A smooth picture with texture, (192, 201, 3) uint8: one side is odd at some scales."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:192, :201]
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 13)], axis=-1)
    return np.clip(128 + 60 * waves + rng.normal(0, 12, waves.shape), 0, 255).astype(np.uint8)


def noisy(picture: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(2).normal(0, sigma, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def test_psnr_has_its_defined_values() -> None:
    black = np.zeros((5, 7, 3), np.uint8)
    assert metrics.psnr(black, black) == math.inf
    assert metrics.psnr(black, black + 1) == pytest.approx(20 * math.log10(255))
    assert metrics.psnr(black, black + 255) == pytest.approx(0)
    assert metrics.psnr(black, black + 0.5, peak=1) == pytest.approx(20 * math.log10(2))
    # One pixel of 35 off by 16: no wrap-around of uint8 in either direction.
    one = black.copy()
    one[0, 0] = 16
    expected = 10 * math.log10(255**2 / (256 / 35))
    assert metrics.psnr(black, one) == metrics.psnr(one, black) == pytest.approx(expected)


def test_mse_of_many_rows_is_that_of_one_sum() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 256, (2, 3000, 500), dtype=np.uint8)
    assert metrics.mse(a, b) == pytest.approx(np.mean((a.astype(float) - b) ** 2), rel=1e-12)


def test_ms_ssim_of_equal_pictures_is_one(picture: np.ndarray) -> None:
    assert metrics.ms_ssim(picture, picture) == pytest.approx(1, abs=1e-12)
    assert metrics.ms_ssim_db(1.0) == math.inf
    assert metrics.ms_ssim_db(0.99) == pytest.approx(20)


def test_ms_ssim_is_symmetric_and_falls_with_noise(picture: np.ndarray) -> None:
    values = [metrics.ms_ssim(picture, noisy(picture, sigma)) for sigma in (1, 4, 16, 64)]
    assert values == sorted(values, reverse=True)
    assert 0 < values[-1] < values[0] < 1
    other = noisy(picture, 8)
    assert metrics.ms_ssim(picture, other) == pytest.approx(metrics.ms_ssim(other, picture), rel=1e-12)


def test_ms_ssim_of_constant_pictures_is_the_luminance_term() -> None:
    a, b = np.full((200, 200), 100.0), np.full((200, 200), 110.0)
    c1 = (0.01 * 255) ** 2
    luminance = (2 * 100 * 110 + c1) / (100**2 + 110**2 + c1)
    assert metrics.ms_ssim(a, b) == pytest.approx(luminance ** metrics.MS_SSIM_WEIGHTS[-1], rel=1e-6)


def test_ms_ssim_matches_a_direct_computation_at_one_place() -> None:
    """The map of the first scale, computed from its definition with a two-dimensional window."""
    rng = np.random.default_rng(4)
    x, y = rng.uniform(0, 255, (2, 11, 11))
    at = np.arange(11) - 5
    window = np.exp(-(at[:, None] ** 2 + at**2) / (2 * 1.5**2))
    window /= window.sum()
    mean_x, mean_y = (window * x).sum(), (window * y).sum()
    variance_x, variance_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
    covariance = (window * (x - mean_x) * (y - mean_y)).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance, structure = metrics._similarity(x, y, 255)
    assert luminance.shape == structure.shape == (1, 1)
    assert luminance[0, 0] == pytest.approx((2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1))
    assert structure[0, 0] == pytest.approx((2 * covariance + c2) / (variance_x + variance_y + c2))


def test_ms_ssim_averages_channels(picture: np.ndarray) -> None:
    other = noisy(picture, 10)
    planes = [metrics.ms_ssim(picture[..., c], other[..., c]) for c in range(3)]
    assert metrics.ms_ssim(picture, other) == pytest.approx(np.mean(planes), rel=1e-12)


def test_anticorrelated_pictures_give_zero_and_no_complex_number(picture: np.ndarray) -> None:
    assert metrics.ms_ssim(picture, 255 - picture) == 0


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match="differ in shape"):
        metrics.psnr(np.zeros((4, 4)), np.zeros((4, 5)))
    with pytest.raises(UsageError, match="at least one pixel"):
        metrics.psnr(np.zeros((0, 4)), np.zeros((0, 4)))
    with pytest.raises(UsageError, match="at least 176 pixels a side, not 300x175"):
        metrics.ms_ssim(np.zeros((175, 300)), np.zeros((175, 300)))
    assert metrics.ms_ssim(np.zeros((176, 176)), np.zeros((176, 176))) == pytest.approx(1)


def test_largest_difference() -> None:
    a, b = np.array([[0, 255]], np.uint8), np.array([[255, 250]], np.uint8)
    assert metrics.largest_difference(a, b) == 255
    assert metrics.largest_difference(a / 255, b / 255) == pytest.approx(1)
