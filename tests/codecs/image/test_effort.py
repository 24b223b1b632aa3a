from __future__ import annotations

from importlib import util
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import siglum
from siglum.cli.main import main
from siglum.codecs.image import effort, lossy
from siglum.codecs.image.codec import ImageCodec
from siglum.codecs.image.constants import LAMBDA_HIGH, LAMBDA_LOW, LEVELS
from siglum.codecs.image.weights import load_by_name
from siglum.errors import SiglumError, UsageError

PICTURE = Path(__file__).parents[2] / "media" / "kodim23.png"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(100, 150, 3) uint8."""
    with Image.open(PICTURE) as image:
        return np.asarray(image.convert("RGB").crop((250, 150, 400, 250))).copy()


def cost(pixels: np.ndarray, level: int, hard: int) -> float:
    """Bits of the payloads and the error's price, of what a decoder makes of them."""
    weights = load_by_name("small")
    tiles, _ = effort.encode(weights, pixels, level, hard, 1)
    y = lossy.decode_latents(weights, tiles, *pixels.shape[:2], level, 1)
    shown = lossy.synthesise(weights, y, level, *pixels.shape[:2], 1)
    error = float(np.sum((shown.astype(float) - pixels) ** 2))
    price = LAMBDA_LOW * (LAMBDA_HIGH / LAMBDA_LOW) ** (level / LEVELS) / 3
    return sum(8 * len(tile.payload) for tile in tiles) + price * error


@given(st.integers(0, 255))
@settings(deadline=None, max_examples=6)
def test_more_effort_never_costs_more(photo: np.ndarray, level: int) -> None:
    costs = [cost(photo, level, hard) for hard in (1, 5, 6, 7)]
    assert costs[0] == costs[1]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("level", [60, 160])
def test_gradients_cost_less(photo: np.ndarray, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(effort, "GRADIENTS", (8, 2))
    monkeypatch.setattr(effort, "CHANGES", (0, 3))
    costs = [cost(photo, level, hard) for hard in (7, 8, 9)]
    assert costs == sorted(costs, reverse=True)


def test_windows_are_refined_one_by_one(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from siglum.codecs.image import refine

    monkeypatch.setattr(refine, "WINDOW", 4)
    weights = load_by_name("small")
    search = effort.Search(weights, photo, 120, 1, "native")
    y = lossy.windows.analyse(weights.engine("native"), weights.preset, photo, 120, 1)
    _, usual = next(search.choices(y, 5))
    moved, z = refine.refine(weights, photo, y, usual.z, 120, refine.Plan(6, 1), 1)
    assert moved.shape == y.shape
    assert z.shape == usual.z.shape
    assert search.choice(moved, z, effort.STRAIGHT).cost < 1.2 * usual.cost
    assert not np.array_equal(moved[-1], y[-1])
    again, _ = refine.refine(weights, photo, y, usual.z, 120, refine.Plan(6, 1), 1)
    assert np.array_equal(moved, again)


def test_soft_rounding_hardens() -> None:
    torch = pytest.importorskip("torch")
    from siglum.codecs.image.refine import soft_round

    x = torch.linspace(-2, 2, 41)
    off = (x - torch.floor(x) - 0.5).abs() > 0.01
    assert torch.allclose(soft_round(x, 0.01)[off], torch.round(x)[off], atol=1e-3)
    assert (soft_round(x, 1.0) - x).abs().max() < 0.25


def test_files_of_all_efforts_decode(photo: np.ndarray) -> None:
    usual, thorough = (ImageCodec(quality=50, effort=hard, lossless=False).encode(photo) for hard in (5, 7))
    assert ImageCodec().decode_array(thorough).shape == photo.shape
    assert ImageCodec(quality=50, effort=1, lossless=False).encode(photo) == usual


def test_wrong_efforts(monkeypatch: pytest.MonkeyPatch, photo: np.ndarray) -> None:
    with pytest.raises(UsageError, match="effort is 1 to 9, not 10"):
        ImageCodec(effort=10)
    find_spec = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "torch" else find_spec(name))
    ImageCodec(effort=7)
    with pytest.raises(SiglumError, match=r"effort 8 needs torch.*siglum\[train\]"):
        ImageCodec(effort=8)


def test_a_model_for_another_measure_is_not_refined(
    photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_by_name("small"), "tune", "ms-ssim")
    ImageCodec(effort=5).encode(photo)
    with pytest.raises(UsageError, match="ms-ssim: use -e 5"):
        ImageCodec(effort=6).encode(photo)


def test_pictures_for_ms_ssim_are_of_another_model(photo: np.ndarray) -> None:
    tuned = ImageCodec(quality=50, tune="ms-ssim", lossless=False)
    data = tuned.encode(photo)
    assert (
        siglum.inspect(data).model == load_by_name("small-ms-ssim").id.hex()
        and tuned.weights().tune == "ms-ssim"
    )
    error = ImageCodec().decode_array(data).astype(float) - photo
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 32


def test_an_interruption_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from siglum.codecs.image import refine

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(refine, "refine", interrupted)
    result = CliRunner().invoke(
        main, ["encode", "--lossy", str(PICTURE), "-o", str(tmp_path / "out.sgl"), "-e", "8"]
    )
    assert result.exit_code != 0
    assert list(tmp_path.iterdir()) == []
