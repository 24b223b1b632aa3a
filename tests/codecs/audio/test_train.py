"""Both stages of training, a few steps each: what they write is a model that encodes and decodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
soundfile = pytest.importorskip("soundfile")

from siglum.codecs import models  # noqa: E402
from siglum.codecs.audio import decoder_train, export, prior_train, restore, train, weights  # noqa: E402
from siglum.codecs.audio.codec import AudioCodec  # noqa: E402
from siglum.codecs.audio.discriminator import SpectrumDiscriminator, decoder_losses, learner_loss  # noqa: E402
from siglum.codecs.audio.noise import Noise  # noqa: E402
from siglum.codecs.audio.presets import Preset  # noqa: E402
from siglum.errors import UsageError  # noqa: E402

TINY = Preset(16000, 160, 72, 2, 3, 32, 32, 1, 1, 32, 1, 1)
SETTINGS = {
    "hours": 0.5 / 3600,
    "batch": 2,
    "frames": 32,
    "warmup_steps": 2,
    "held_out": ("b",),
    "speeds": (1.0,),
}


def _recordings(folder: Path) -> Path:
    random = np.random.default_rng(0)
    for i, name in enumerate("aab"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        at = np.arange(48000) / 16000
        tone = np.sin(2 * np.pi * at * (200 + 90 * i)) * (1 + np.sin(9 * at)) * 0.2
        soundfile.write(folder / name / f"{i}.wav", tone + random.normal(size=48000) * 0.01, 16000)
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slower on two."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a few steps, in a folder where models are found."""
    folder = tmp_path_factory.mktemp("train")
    data = _recordings(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(train.PRESETS, "tiny", TINY)
        patch.setattr(train, "STARTING", 10)
        patch.setattr(
            prior_train,
            "shape_for",
            lambda p: prior_train.PriorShape(
                p.codes, p.groups, p.codewords, embedding=4, frame=16, wide=16, context=16, hidden=16, rank=8
            ),
        )
        recipe = train.Recipe(preset="tiny", continuous=2, **SETTINGS)
        path = train.main(data, folder / "run", recipe, log=lambda _: None, name="tiny", prior_minutes=0.02)
    assert path == folder / "run" / "model.safetensors"
    (folder / "models").mkdir()
    for part in (path, path.with_suffix(".json")):
        part.rename(folder / "models" / f"audio-tiny{part.suffix}")
    return folder


def _tone() -> np.ndarray:
    return (0.2 * np.sin(np.arange(20000) * 0.1)).astype(np.float32)


def test_a_trained_model_codes(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGLUM_MODELS", str(trained / "models"))
    codec = AudioCodec(model="tiny", threads=1)
    decoded = codec.decode_audio(codec.encode_audio(_tone(), 16000))
    assert decoded.samples.shape == (20000, 1) and np.isfinite(decoded.samples).all()


def test_a_run_goes_on(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(train.PRESETS, "tiny", TINY)
    recipe = train.Recipe(preset="tiny", continuous=2, **SETTINGS)
    lines: list[str] = []
    trainer = train.Trainer(recipe, trained / "data", trained / "run", log=lines.append)
    trainer.resume(trained / "run" / "last.pt")
    assert trainer.step > 0 and trainer.model.quantised and "resumed" in lines[-1]
    with pytest.raises(UsageError, match="no folder c"):
        train.Trainer(
            train.Recipe(preset="tiny", **{**SETTINGS, "held_out": ("c",)}),
            trained / "data",
            trained / "other",
        )


def test_a_model_comes_back_as_networks(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGLUM_MODELS", str(trained / "models"))
    tensors = models.load(models.named("tiny", "audio"))
    model = restore.model_of(tensors, TINY)
    again = weights.narrowed(export.tensors_of(model))
    for name, array in again.items():
        if array.dtype == np.int8:
            assert np.abs(array.astype(int) - tensors[name]).max() <= 1, name
        else:
            np.testing.assert_allclose(array, tensors[name], rtol=2e-3, atol=1e-4, err_msg=name)


def test_the_decoder_alone(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGLUM_MODELS", str(trained / "models"))
    before = models.load(models.named("tiny", "audio"))
    data = AudioCodec(model="tiny", threads=1, quality=60).encode_audio(_tone(), 16000)
    recipe = decoder_train.DecoderRecipe(apart=0, **{**SETTINGS, "hours": 1 / 3600})
    path = decoder_train.main(
        "tiny", trained / "data", trained / "sound", recipe, log=lambda _: None, name="sound"
    )
    after = models._read_tensors(path)
    assert set(after) == set(before)
    same = {name for name in before if np.array_equal(before[name], after[name])}
    assert {name for name in before if not name.startswith("decoder.")} <= same
    assert any(name not in same for name in before)
    trainer = decoder_train.DecoderTrainer(
        recipe, "tiny", trained / "data", trained / "sound", log=lambda _: None
    )
    trainer.resume(trained / "sound" / "last.pt")
    assert trainer.step > 0
    (trained / "both").mkdir()
    for part in (path, path.with_suffix(".json")):
        part.rename(trained / "both" / f"audio-sound{part.suffix}")
    monkeypatch.setenv("SIGLUM_MODELS", str(trained / "both"))
    anew = AudioCodec(model="sound", threads=1, quality=60).encode_audio(_tone(), 16000)
    assert len(anew) == len(data)
    assert (
        0 < sum(a != b for a, b in zip(data, anew, strict=True)) <= 16
    )  # the model's id and the header's checksum


def test_coded_latents_are_those_of_the_codec(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGLUM_MODELS", str(trained / "models"))
    recipe = decoder_train.DecoderRecipe(**SETTINGS)
    trainer = decoder_train.DecoderTrainer(
        recipe, "tiny", trained / "data", trained / "third", log=lambda _: None
    )
    x, counts, _ = trainer.segments.draw(2)
    counts[0, :5] = 0
    got = trainer.coded(x, counts).numpy()
    books = weights.load_by_name("tiny").books
    latents = trainer.model.analyse(x).detach().numpy()
    for own, coded, used in zip(latents, got, counts.numpy(), strict=True):
        codes, _ = books.encode(own)
        np.testing.assert_allclose(books.decode(codes, used), coded, atol=1e-4)
    assert not got[0, :5].any()


def test_noise_of_training_is_that_of_decoding() -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (1, 200, TINY.bins)
    spectra = torch.complex(*(torch.randn(shape, generator=generator) for _ in range(2)))
    trained = decoder_train.with_noise(spectra, TINY)[0]
    decoded = spectra[0].numpy().astype(np.complex64)
    Noise(TINY).mix(decoded, np.arange(100) % 256)
    frequencies = np.arange(TINY.bins) * TINY.rate / TINY.window
    low = frequencies < 4000
    np.testing.assert_array_equal(trained.numpy()[:, low], decoded[:, low])
    powers = [np.square(np.abs(part[:, frequencies > 5200])).mean() for part in (trained.numpy(), decoded)]
    assert powers[0] == pytest.approx(powers[1], rel=0.02)


def test_discriminator_learns_to_tell() -> None:
    torch.manual_seed(0)
    judge = SpectrumDiscriminator((256,), 8)
    optimizer = torch.optim.Adam(judge.parameters(), 3e-3)
    noise, tone = torch.randn(4, 4000) * 0.05, torch.sin(torch.arange(4000) * 0.2).expand(4, -1) * 0.05
    losses = []
    for _ in range(25):
        loss = learner_loss(judge(noise), judge(tone))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    found, apart = decoder_losses(judge(noise), judge(tone))
    same = decoder_losses(judge(noise), judge(noise))
    assert found > same[0] and apart > 0.1 and same[1] == 0
