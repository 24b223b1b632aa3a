"""CompressAI's zoo and LPIPS, with weights made up here: what they need, and that it is found on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siglum.benchmarks import perception
from siglum.benchmarks.coder import MissingPeer, make
from siglum.benchmarks.metric_list import METRICS
from siglum.benchmarks.torchvision_guard import import_beside_any_torch
from siglum.errors import BitstreamError

PICTURE = Path(__file__).parents[1] / "media" / "kodim23.png"
pytestmark = pytest.mark.filterwarnings("ignore")  # of old names within those packages


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of torch's."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def pixels() -> np.ndarray:
    """A part of a photograph, (100, 141, 3) uint8: no side is a multiple of 64."""
    return np.ascontiguousarray(np.asarray(Image.open(PICTURE).convert("RGB"))[200:300, 300:441])


def installed(module: str) -> object:
    pytest.importorskip("torch")
    try:
        return import_beside_any_torch(module)
    except ImportError as error:
        pytest.skip(str(error))


def test_a_model_of_the_zoo_makes_real_files(checkpoints: Path, pixels: np.ndarray) -> None:
    images = installed("compressai.zoo.image")
    import torch

    torch.manual_seed(3)
    network = images.model_architectures["bmshj2018-hyperprior"](*images.cfgs["bmshj2018-hyperprior"][2])  # type: ignore[attr-defined]
    url = images.model_urls["bmshj2018-hyperprior"]["mse"][2]  # type: ignore[attr-defined]
    torch.save(network.state_dict(), checkpoints / url.rsplit("/", 1)[1])
    coder = make("compressai-bmshj2018-hyperprior")
    assert coder.dials == (2.0,) and coder.quick == (2.0,) and coder.settings(2.0)["quality"] == 2
    data = coder.encode(pixels, 2.0)
    assert coder.encode(pixels, 2.0) == data
    decoded = coder.decode(data)
    assert decoded.shape == pixels.shape and decoded.dtype == np.uint8
    assert np.array_equal(coder.decode(data), decoded)
    with pytest.raises(BitstreamError, match="not a whole file"):
        coder.decode(data[:10])


def test_weights_that_are_not_there_are_named(checkpoints: Path) -> None:
    installed("compressai.zoo.image")
    with pytest.raises(
        MissingPeer, match=r"its weights are not on disk; mbt2018-mean-1-\w+.pth.tar .* go into"
    ):
        make("compressai-mbt2018-mean")


def test_lpips_grows_with_noise(
    checkpoints: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("lpips")
    import torch

    hint = METRICS["lpips"].missing()
    assert hint is not None and perception.ALEXNET in hint
    models = import_beside_any_torch("torchvision.models")
    torch.manual_seed(3)
    torch.save(models.alexnet().state_dict(), checkpoints / perception.ALEXNET)
    assert METRICS["lpips"].missing() is None
    perception._lpips_network.cache_clear()
    metric = METRICS["lpips"].load()
    noise = np.random.default_rng(0).normal(size=pixels.shape)
    values = [
        metric(pixels, np.clip(pixels + sigma * noise, 0, 255).astype(np.uint8)) for sigma in (0, 8, 32)
    ]
    perception._lpips_network.cache_clear()
    assert values[0] == 0 and values[0] < values[1] < values[2]
