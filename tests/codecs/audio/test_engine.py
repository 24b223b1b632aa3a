"""The networks without torch: torch's values, and the same bits however a recording is cut up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs.audio import weights
from siglum.codecs.audio.engine import Engine
from siglum.codecs.audio.noise import Noise
from siglum.codecs.audio.presets import PRESETS, Preset

torch = pytest.importorskip("torch")
SMALL = Preset(16000, 160, 32, 2, 3, 32, 48, 3, 2, 64, 4, 2)


def model_of(preset: Preset) -> Any:
    from siglum.codecs.audio.transform import AudioModel

    torch.manual_seed(1)
    model = AudioModel(preset).eval()
    with torch.no_grad():
        model.skip_in.normal_(std=0.01)
        model.low_refine.weight.normal_(std=0.1)
        matrix = torch.linalg.qr(torch.randn(preset.latent, preset.latent))[0]
        model.quantizer.rotation.assign(matrix, torch.randn(preset.latent))
    return model


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Engine]:
    from siglum.codecs.audio.export import tensors_of

    model = model_of(SMALL)
    return model, Engine(tensors_of(model), SMALL)


def sound(frames: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.standard_normal(frames * SMALL.frame) * 0.07).astype(np.float32)


def test_values_are_those_of_torch(pair: tuple[Any, Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    model, engine = pair
    monkeypatch.setattr(Noise, "mix", lambda self, spectra, rows: None)
    x = sound(40)
    with torch.no_grad():
        latents = model.analyse(torch.from_numpy(x)[None])
        rotated = model.quantizer.rotate(latents[0]).numpy()
        samples = model.synthesise(latents)[0].numpy()
    found = engine.encoder().push(x, last=True)
    assert found.shape == rotated.shape
    assert np.abs(found - rotated).max() < 0.03 * np.abs(rotated).max()  # the encoder may round to bfloat16
    decoded = engine.decoder().push(rotated, last=True)
    assert decoded.shape == samples.shape
    assert np.abs(decoded - samples).max() < 5e-3 * np.abs(samples).max()  # weights in half precision


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.data())
def test_pieces_give_the_same_bits(pair: tuple[Any, Engine], frames: int, data: st.DataObject) -> None:
    _, engine = pair
    x = sound(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=5)))
    whole = engine.encoder().push(x, last=True)
    encoder, decoder = engine.encoder(), engine.decoder()
    edges = [0, *cuts, len(x)]
    last = len(edges) - 2
    parts = [encoder.push(x[edges[i] : edges[i + 1]], i == last) for i in range(last + 1)]
    assert (np.concatenate(parts) == whole).all()
    samples = engine.decoder().push(whole, last=True)
    steps = [0, *(cut // SMALL.frame for cut in cuts), frames]
    made = [decoder.push(whole[steps[i] : steps[i + 1]], i == last) for i in range(last + 1)]
    assert samples.shape == x.shape
    assert (np.concatenate(made) == samples).all()


def test_noise_keeps_power_and_leaves_low_bins_alone() -> None:
    noise, p = Noise(PRESETS["speech"]), PRESETS["speech"]
    random = np.random.default_rng(0)
    spectra = (random.standard_normal((40, p.bins)) + 1j * random.standard_normal((40, p.bins))).astype(
        np.complex64
    )
    before = spectra.copy()
    rows = noise.rows(random.standard_normal((20, 128)).astype(np.float32))
    noise.mix(spectra, rows)
    first = int(4000 / p.rate * p.window)
    assert (spectra[:, :first] == before[:, :first]).all()
    power = (
        np.square(np.abs(spectra[:, first + 50 :])).mean() / np.square(np.abs(before[:, first + 50 :])).mean()
    )
    assert 1.4**2 * 0.9 < power < 1.4**2 * 1.1
    assert len(set(rows.tolist())) > 10


def test_eight_bit_weights_widen_to_nearly_what_they_were() -> None:
    from siglum.codecs.audio.export import tensors_of

    tensors = tensors_of(model_of(SMALL))
    again = weights.widened(weights.narrowed(tensors))
    assert set(tensors) <= set(again)
    for name, array in tensors.items():
        assert (
            np.abs(again[name].astype(np.float32) - array.astype(np.float32)).max()
            <= np.abs(array).max() / 250
        )


def test_more_codebooks_take_more_of_the_error() -> None:
    from siglum.codecs.audio.extend import extended

    model = model_of(SMALL)
    latents = torch.randn(3000, SMALL.latent)
    model.quantizer.start_parts(latents, model.low_in[:, :8])
    layout = (0, 1, 0, 1, 1, 1, 0, 1, 1, 1)
    made = extended(model, latents, layout)
    assert made.preset == replace(SMALL, stages=5, layout=layout)
    errors = []
    for stages in range(1, 6):
        codes = made.quantizer.encode(latents, stages=2 * stages)
        errors.append(float((made.quantizer.decode(codes) - latents).square().mean()))
    assert errors == sorted(errors, reverse=True)
    first = model.quantizer.encode(latents, stages=4)
    assert (made.quantizer.encode(latents, stages=4) == first).all()


def test_codewords_are_not_spent_on_outliers() -> None:
    from siglum.codecs.audio import extend
    from siglum.quantizers import lookup
    from siglum.quantizers.kmeans import kmeans

    generator = torch.Generator().manual_seed(0)
    left = torch.randn(4000, 4, generator=generator)
    left[:30] *= 40
    usual = torch.randn(4000, 4, generator=generator)
    used = [
        len(lookup.top(usual, words, 1)[0].unique())
        for words in (kmeans(left, 64), extend._fitted(left, 64, 0))
    ]
    assert used[1] > used[0] + 10


def test_idle_codebooks_are_fitted_anew() -> None:
    from siglum.codecs.audio.extend import extended

    model = model_of(SMALL)
    latents = torch.randn(3000, SMALL.latent)
    model.quantizer.start_parts(latents, model.low_in[:, :8])
    book = model.quantizer.codebooks[1]
    book.assign(torch.cat([book.vectors()[:2], 100 + book.vectors()[2:]]))
    made = extended(model, latents, SMALL.layout)
    codes = made.quantizer.encode(latents)
    assert len(codes[:, 1].unique()) > 0.9 * SMALL.codewords


def test_a_layout_needs_every_group_in_its_first_stage() -> None:
    with pytest.raises(ValueError, match="groups"):
        replace(SMALL, stages=2, layout=(0, 0, 1, 1))
