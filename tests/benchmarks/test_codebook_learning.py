import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from siglum.benchmarks import codebook_priors, codebooks  # noqa: E402
from siglum.benchmarks.codebook_data import Latents, latents  # noqa: E402
from siglum.quantizers.vector import VectorQuantizer  # noqa: E402

PICTURE = Path(__file__).parents[1] / "media" / "kodim23.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures")
    with Image.open(PICTURE) as image:
        for number in range(4):
            image.crop((0, 64 * number, 512, 64 * number + 64)).save(path / f"{number}.png")
    return path


@pytest.fixture(scope="module")
def data(folder: Path) -> Latents:
    return latents(folder)


def test_every_fourth_picture_is_held_out(data: Latents) -> None:
    assert (len(data.known), len(data.held)) == (3, 1)
    assert data.positions == (3 * 4 * 32, 4 * 32)
    known, held = data.vectors(8, 500)
    assert known.shape == held.shape == (500, 8)
    every = np.concatenate([grid.reshape(-1, 64) for grid in data.known])
    np.testing.assert_allclose(every.std(axis=0), 1, rtol=1e-3)
    np.testing.assert_allclose(every.mean(axis=0), 0, atol=1e-3)


def test_training_reports_usage_and_curves(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        codebooks.Run("own", 16, {"kind": "ema"}, start="own", batch=64, passes=4, settle=0.5),
        codebooks.Run("data", 16, "gradient", start="data", batch=64, passes=1),
        codebooks.Run("others", 32, "gradient", batch=64, passes=1),
    ]
    monkeypatch.setattr(codebooks, "RUNS", runs)
    path = tmp_path / "results.json"
    arguments = ["codebooks", str(folder), "--codewords", "16", "--json", str(path)]
    monkeypatch.setattr("sys.argv", arguments)
    codebooks.main()
    first = capsys.readouterr().out
    assert "| 16 | 8 | own |" in first and "others" not in first
    results = json.loads(path.read_text())["results"]
    assert [result["run"]["name"] for result in results] == ["own", "data"]
    for result in results:
        assert 0 < result["usage"] <= 1
        assert 1 <= result["perplexity"] <= 16
        assert len(result["curve"]) > 3
    codebooks.main()  # nothing is trained again
    assert capsys.readouterr().out.splitlines()[-2:] == first.splitlines()[-2:]


def test_priors_are_measured_after_a_round_trip(data: Latents, capsys: pytest.CaptureFixture[str]) -> None:
    quantizer = VectorQuantizer(dim=8, codewords=16, codebook="ema")
    codebook_priors.experiment(data, "small", quantizer, 2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines] == [
        "small: no prior",
        "small: frequencies",
        "small: Gaussian from the vector before",
    ]
