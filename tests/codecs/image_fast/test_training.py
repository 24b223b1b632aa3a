from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from siglum.benchmarks.metrics import psnr  # noqa: E402
from siglum.codecs import models  # noqa: E402
from siglum.codecs.image_fast import bank, export, tiles, train, transform  # noqa: E402
from siglum.codecs.image_fast.constants import CHANNELS  # noqa: E402
from siglum.codecs.image_fast.weights import FastWeights  # noqa: E402
from siglum.entropy.gaussian import gaussian_tables  # noqa: E402

MEDIA = Path(__file__).parents[2] / "media"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    with Image.open(MEDIA / "kodim23.png") as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB"))[128:384, 256:512])


@pytest.fixture(scope="module")
def model(photo: np.ndarray) -> transform.FastModel:
    from siglum.codecs.image.weights import load_by_name

    torch.manual_seed(0)
    made = transform.FastModel()
    transform.start(made, load_by_name("small").model.state_dict(), torch.from_numpy(photo)[None] / 255.0)
    made.set_quantised(True)
    return made.eval()


def test_the_integer_form_does_what_its_float_twin_does(
    model: transform.FastModel, photo: np.ndarray
) -> None:
    found = export.Calibration(
        12.0,
        np.zeros((64, 2), np.float32),
        gaussian_tables(),
        np.zeros((8, 3), np.int8),
        export.context.export(model).first,
    )
    tensors = export.collect(model, found)
    weights = FastWeights(tensors, models.model_id(tensors))
    model.round_as_coded(torch.from_numpy(export.thresholds(found.tables, 12.0)), found.skip)
    for level in (40, 160):
        payloads, y = export.coded(weights, photo, weights.level(level))
        pixels = tiles.synthesise(weights, y, level, *photo.shape[:2], 1)
        with torch.no_grad():
            out, bits = model(
                torch.from_numpy(photo)[None] / 255.0, torch.tensor([float(level)]), noise=False
            )
        twin = np.rint(out[0].clamp(0, 1).numpy() * 255).astype(np.uint8)
        assert psnr(photo, pixels) == pytest.approx(psnr(photo, twin), abs=0.15)
        assert 0.5 * bits.item() < 8 * sum(map(len, payloads)) < 1.05 * bits.item()


def test_a_prefix_hides_all_other_channels(model: transform.FastModel, photo: np.ndarray) -> None:
    x, level = torch.from_numpy(photo[:64, :64])[None] / 255.0, torch.tensor([120.0])
    with torch.no_grad():
        whole, bits = model(x, level, noise=False)
        cut, fewer = model(x, level, torch.tensor([32]), noise=False)
        model.project.weight[32:].mul_(3.0)
        again, same = model(x, level, torch.tensor([32]), noise=False)
        model.project.weight[32:].div_(3.0)
    assert fewer < bits and not torch.equal(whole, cut)
    assert torch.equal(cut, again) and torch.equal(fewer, same)
    chosen = train.random_prefixes(400, 0.5)
    assert set(chosen.tolist()) == {8, 32, 64, 128, CHANNELS}


def test_tables_follow_the_counts() -> None:
    random = np.random.default_rng(0)
    counts = np.zeros((64, 513), np.int64)
    for table in range(64):
        drawn = np.rint(random.laplace(0, 0.1 * 1.1**table, 20000)).astype(int)
        bank.histogram([(drawn, np.full(drawn.size, table))], counts)
    tables = bank.fit(counts)
    for table in (0, 20, 40, 63):
        values = np.arange(-256, 257)
        symmetric = (counts[table] + counts[table][::-1]) / 2
        share = symmetric[symmetric > 0] / symmetric.sum()
        ideal = -(symmetric[symmetric > 0] * np.log2(share)).sum()
        repeated = np.repeat(values, counts[table])
        assert tables.bits(repeated, table) < 1.03 * ideal + 40
    tensors = bank.to_tensors(tables)
    again = bank.from_tensors(tensors["sizes"], tensors["frequencies"])
    assert again.fingerprint == tables.fingerprint
    with pytest.raises(ValueError):
        bank.from_tensors(tensors["sizes"][:-1], tensors["frequencies"])


@pytest.mark.slow
def test_a_run_goes_on_where_it_stopped(tmp_path: Path, photo: np.ndarray) -> None:
    for number in range(12):
        Image.fromarray(np.roll(photo[:160, :160], 9 * number, axis=1)).save(tmp_path / f"{number}.png")
    recipe = train.Recipe(hours=2e-4, batch=1, crop=64, adapt_from=2.0)
    lines: list[str] = []
    first = train.Trainer(recipe, tmp_path, tmp_path / "run", lines.append)
    first.run()
    again = train.Trainer(recipe, tmp_path, tmp_path / "run", lines.append)
    again.resume(tmp_path / "run" / "last.pt")
    assert again.step == first.step > 0
    for name, parameter in first.average.named_parameters():
        assert torch.equal(parameter, dict(again.average.named_parameters())[name])
    assert (tmp_path / "run" / "curve.jsonl").read_text().count("\n") == 1
