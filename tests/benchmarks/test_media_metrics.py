from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siglum.benchmarks import audio_metrics, metric_list, perception, tensor_metrics
from siglum.benchmarks.items import Audio
from siglum.benchmarks.metric_list import METRICS
from siglum.errors import UsageError

PICTURE = Path(__file__).parents[1] / "media" / "kodim23.png"


def speech(noise: float = 0.0) -> Audio:
    """Two seconds of something that comes and goes as syllables do, with noise."""
    rng = np.random.default_rng(5)
    at = np.arange(32000) / 16000
    voice = sum(
        np.sin(2 * np.pi * (130 * k * at + 3 * np.sin(2 * np.pi * 2.1 * at))) / k for k in range(1, 20)
    )
    samples = 0.15 * voice * np.clip(np.sin(2 * np.pi * 3 * at) + 0.4, 0, 1)
    samples += rng.normal(0, 1e-4, at.shape) + rng.normal(0, noise, at.shape) * (noise > 0)
    return Audio(samples.astype(np.float32)[None], 16000)


def needs(name: str) -> None:
    hint = METRICS[name].missing()
    if hint is not None:
        pytest.skip(hint)


def test_si_sdr_has_its_defined_values() -> None:
    t = np.arange(1000)
    x, y = np.sin(2 * np.pi * t / 50), np.cos(2 * np.pi * t / 50)  # orthogonal, of the same power
    clean = Audio(x[None].astype(np.float32), 8000)
    for scale in (1.0, 0.3):
        mixed = Audio((scale * (x + 0.1 * y))[None].astype(np.float32), 8000)
        assert audio_metrics.si_sdr(clean, mixed) == pytest.approx(20, abs=1e-3)
    assert audio_metrics.si_sdr(clean, Audio(clean.samples * 0.5, 8000)) == math.inf
    silent = Audio(np.zeros((1, 1000), np.float32), 8000)
    assert audio_metrics.si_sdr(clean, silent) == audio_metrics.si_sdr(silent, clean) == -math.inf
    assert audio_metrics.si_sdr(silent, silent) == math.inf


def test_mel_distance_is_zero_for_the_same_and_tells_a_factor() -> None:
    voice = speech(0.05)
    assert audio_metrics.mel_distance(voice, voice) == 0
    assert audio_metrics.mel_distance(voice, Audio(voice.samples * 10, 16000)) == pytest.approx(1, abs=0.05)
    values = [audio_metrics.mel_distance(voice, speech(noise)) for noise in (0.06, 0.1, 0.3)]
    assert values == sorted(values)
    short = Audio(voice.samples[:, :100], 16000)
    assert audio_metrics.mel_distance(short, short) == 0


@pytest.mark.parametrize("name,best", [("pesq", 4.6), ("stoi", 1.0), ("visqol", 4.7), ("visqol_speech", 4.8)])
def test_metrics_from_elsewhere_fall_with_noise(name: str, best: float) -> None:
    needs(name)
    pytest.importorskip("av")
    metric = METRICS[name].load()
    clean, noisy = (metric(speech(), speech(noise)) for noise in (0.0, 0.05))
    assert clean == pytest.approx(best, abs=0.1) and noisy < 0.95 * clean


def test_tensor_metrics_have_their_defined_values() -> None:
    x = np.array([[3.0, 4.0]], np.float16)
    y = np.array([[3.0, 0.0]], np.float16)
    assert tensor_metrics.mse(x, y) == 8
    assert tensor_metrics.cosine(x, y) == pytest.approx(0.6)
    assert tensor_metrics.relative_error(x, y) == pytest.approx(0.8)
    zero = np.zeros_like(x)
    assert tensor_metrics.cosine(zero, zero) == 1 and tensor_metrics.cosine(x, zero) == 0
    assert tensor_metrics.relative_error(zero, zero) == 0
    assert tensor_metrics.relative_error(zero, x) == math.inf


def test_ssimulacra2_falls_with_jpeg_quality() -> None:
    needs("ssimulacra2")
    picture = Image.open(PICTURE).convert("RGB").crop((300, 200, 492, 392))
    pixels = np.asarray(picture)
    assert perception.ssimulacra2(pixels, pixels) == pytest.approx(100, abs=1e-6)
    noise = np.random.default_rng(0).normal(size=pixels.shape)
    noisy = [np.clip(pixels + sigma * noise, 0, 255).astype(np.uint8) for sigma in (2, 8, 32)]
    values = [perception.ssimulacra2(pixels, other) for other in noisy]
    assert values == sorted(values, reverse=True) and values[0] > 60


def test_a_classifier_knows_a_macaw_until_it_is_gone() -> None:
    needs("top1_agreement")
    pixels = np.asarray(Image.open(PICTURE).convert("RGB"))
    assert perception._classify(pixels) == 88  # ImageNet's macaw
    coarse = np.asarray(Image.fromarray(pixels).resize((96, 64)).resize((768, 512)))
    assert perception.top1_agreement(pixels, coarse) == 1.0
    assert perception.top1_agreement(pixels, np.full_like(pixels, 128)) == 0.0


def test_metrics_are_chosen_by_name_or_by_medium() -> None:
    assert [metric.name for metric in metric_list.choose(None, {"tensor", "image"})] == [
        *metric_list.DEFAULTS["image"],
        *metric_list.DEFAULTS["tensor"],
    ]
    assert [metric.name for metric in metric_list.choose(["ms-ssim", "psnr", "psnr"], {"image"})] == [
        "ms_ssim",
        "psnr",
    ]
    own = metric_list.choose(["siglum.benchmarks.metrics:mse"], {"image"})[0]
    assert own.medium is None and own.load()(np.zeros((2, 2)), np.ones((2, 2))) == 1
    with pytest.raises(UsageError, match="unknown metric"):
        metric_list.choose(["metrics:mse"], {"image"})
    assert metric_list.Metric("x", None, "x:y", needs=(("no_such_module", "some-package"),)).missing() == (
        "pip install some-package"
    )
