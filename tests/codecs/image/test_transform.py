"""The networks: shapes, inverses, gains, and a few steps of training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from siglum.codecs.image import train, transform
from siglum.codecs.image.transform import ImageModel, Preset

TINY = Preset(
    width8=8,
    width16=12,
    latent=12,
    hyper=4,
    hyper_width=8,
    analysis8=1,
    analysis16=1,
    synthesis16=1,
    synthesis8=1,
)


def test_space_to_depth_is_torchs_pixel_unshuffle_and_inverts() -> None:
    x = torch.arange(2 * 8 * 12 * 3, dtype=torch.float32).reshape(2, 8, 12, 3)
    ours = transform.space_to_depth(x, 4)
    theirs = torch.nn.functional.pixel_unshuffle(x.permute(0, 3, 1, 2), 4).permute(0, 2, 3, 1)
    assert torch.equal(ours, theirs)
    assert torch.equal(transform.depth_to_space(ours, 4), x)


def test_principal_components_alone_reconstruct_what_they_keep() -> None:
    torch.manual_seed(0)
    model = ImageModel(Preset(**{**TINY.to_dict(), "latent": 768}))
    basis = torch.linalg.qr(torch.randn(768, 768)).Q
    model.start_linear(basis, torch.ones(768))
    x = torch.rand(1, 64, 64, 3)
    level = torch.full((1,), 100.0)
    with torch.no_grad():
        out = model.synthesis(model.analysis(x, level), level)
    assert torch.allclose(out, x, atol=1e-4)


def test_gaussian_bits_sum_to_one() -> None:
    k = torch.arange(-400, 401).float()
    for scale in (0.2, 1.0, 7.0, 60.0):
        bits = transform.gaussian_bits(k, torch.full_like(k, float(np.log(scale))))
        total = torch.sum(2.0 ** -bits[bits < 20]).item()
        assert total == pytest.approx(1.0, abs=1e-3)


def test_gains_interpolate_between_anchors() -> None:
    anchors = torch.arange(transform.ANCHORS).float()[:, None]
    gain = transform.QualityGain(1, anchors)
    levels = torch.tensor([0.0, 16.0, 32.0, 240.0, 256.0])
    assert gain(levels).flatten().tolist() == pytest.approx([0, 0.5, 1, 7.5, 8])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(13):
        small = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        size = (768, 512) if number == 11 else (160, 140)
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(folder / f"{number:02}.png")
    return folder


def test_training_runs_resumes_and_exports(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from siglum.codecs import models
    from siglum.codecs.image import export
    from siglum.codecs.image.codec import ImageCodec

    monkeypatch.setitem(train.PRESETS, "tiny", TINY)
    monkeypatch.setattr(export, "ERROR_FACTORS", (1.0, 8.0))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    out = tmp_path / "run"
    recipe = train.Recipe(preset="tiny", hours=0.3 / 3600, batch=2, crop=64, warmup_steps=1)
    trainer = train.Trainer(recipe, pictures, out, log=lambda line: None)
    trainer.run(compiled=False)
    first = trainer.step
    assert first >= 1
    longer = train.Recipe(
        preset="tiny", hours=(trainer.seconds + 0.5) / 3600, batch=2, crop=64, warmup_steps=1
    )
    again = train.Trainer(longer, pictures, out, log=lambda line: None)
    again.resume(out / "last.pt")
    assert again.step == first
    again.run(compiled=False)
    assert again.step > first
    path = train.write_model(again, "tiny-test", "codec train image")
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["steps"] == again.step
    models.add(path)
    picture = np.random.default_rng(1).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    codec = ImageCodec(model="tiny-test", lossless=False)
    assert codec.decode_array(codec.encode(picture)).shape == picture.shape


def test_the_prior_trains_on_a_transform_that_stays(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from siglum.codecs import models
    from siglum.codecs.image import export, train_prior
    from siglum.codecs.image.codec import ImageCodec
    from siglum.errors import UsageError

    monkeypatch.setitem(train.PRESETS, "tiny", TINY)
    monkeypatch.setattr(export, "ERROR_FACTORS", (8.0,))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    first = train.Trainer(
        train.Recipe(preset="tiny", hours=1, batch=2, crop=64),
        pictures,
        tmp_path / "first",
        lambda line: None,
    )
    first.save()
    start = str(tmp_path / "first" / "last.pt")
    for correlated in (True, False):
        out = tmp_path / f"run-{correlated}"
        recipe = train_prior.PriorRecipe(steps=2, batch=2, crop=64, correlated=correlated)
        trainer = train_prior.PriorTrainer(recipe, start, pictures, out, log=lambda line: None)
        trainer.run(every_seconds=0.0)
        assert trainer.step == 2
        learned = any(bool(layer.weight.any()) for layer in trainer.model.context.factors)
        assert learned == correlated

    longer = train_prior.PriorRecipe(steps=4, batch=2, crop=64)
    path = train_prior.main(
        pictures, tmp_path / "run-True", longer, start, True, lambda line: None, name="tiny-prior"
    )
    curve = (tmp_path / "run-True" / "curve.jsonl").read_text().splitlines()
    assert json.loads(path.with_suffix(".json").read_text())["steps"] == 4
    assert json.loads(curve[-1])["step"] == 4
    state, _ = train_prior.load_start(str(tmp_path / "run-True" / "prior.pt"))
    before = torch.load(start, weights_only=True)["average"]
    for name, tensor in before.items():
        if not name.startswith(train_prior.TRAINED):
            assert torch.equal(state[name], tensor), name
    models.add(path)
    picture = np.random.default_rng(1).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    codec = ImageCodec(model="tiny-prior", lossless=False)
    assert codec.decode_array(codec.encode(picture)).shape == picture.shape
    with pytest.raises(UsageError, match="not a checkpoint"):
        train_prior.load_start(str(tmp_path / "nothing.pt"))


def test_rounding_in_training_is_that_of_the_encoder() -> None:
    from siglum.codecs.image.layers import LOG_SCALE_STEP, SCALE_LOW
    from siglum.codecs.image.prior_loss import EncoderRounding
    from siglum.codecs.image.quantise import magnitude_bits
    from siglum.kernels import latents

    random = np.random.default_rng(5)
    index = random.integers(0, 64, (6, 7, 9)).astype(np.uint8)
    log_scale = np.log(SCALE_LOW) + LOG_SCALE_STEP * index.astype(np.float64)
    residual = (random.normal(size=index.shape) * np.exp(log_scale)).astype(np.float32)
    weight = random.uniform(2, 30, 9).astype(np.float32)
    expected = latents.choose(residual, np.zeros_like(residual), index, weight, magnitude_bits(), 3)
    rounding = EncoderRounding(torch.from_numpy(weight)[None, None, None])
    found = rounding(torch.from_numpy(residual)[None], torch.from_numpy(log_scale).float()[None], slice(0, 9))
    assert np.array_equal(found[0].numpy(), expected)


def test_validation_split_is_disjoint() -> None:
    from siglum.datasets.images import split

    paths = [Path(f"{i:03}.png") for i in range(100)]
    learn, held_out = split(paths)
    assert not set(learn) & set(held_out)
    assert sorted(learn + held_out) == paths
    assert len(held_out) == 8
