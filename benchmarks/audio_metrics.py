"""How far a decoded recording is from its original. Both have the same rate, channels and length."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.benchmarks.audio import resample
from siglum.benchmarks.coder import needs
from siglum.benchmarks.items import Audio

Floats = NDArray[np.float64]
MEL_WINDOWS = (64, 128, 256, 512, 1024, 2048)
MEL_FLOOR = 1e-5


def si_sdr(original: Audio, decoded: Audio) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, over all channels at once; infinite for a scaled copy.

    References
    ----------
    Le Roux et al.: SDR - half-baked or well done? ICASSP 2019.
    """
    x, y = (audio.samples.astype(np.float64).ravel() for audio in (original, decoded))
    power = float(x @ x)
    if power == 0:
        return math.inf if not y.any() else -math.inf
    target = float(x @ y) / power * x
    noise = float((target - y) @ (target - y))
    signal = float(target @ target)
    if signal == 0:
        return -math.inf
    return math.inf if noise <= 1e-20 * signal else 10 * math.log10(signal / noise)


def mel_distance(original: Audio, decoded: Audio) -> float:
    """Mean absolute difference of log10 mel spectra, a mean over six lengths of window; 0 is best.

    Hann windows of 64 to 2048 samples with a hop of a quarter, window / 16 bands (at least 5) over the whole
    spectrum, magnitudes, of which what is below 1e-5 counts as that. Channels count alike.

    References
    ----------
    After the multi-scale mel loss of Kumar et al.: High-fidelity audio compression with improved RVQGAN.
    NeurIPS 2023.
    """
    distances = []
    for window in MEL_WINDOWS:
        pair = [log_mel(audio.samples, audio.rate, window) for audio in (original, decoded)]
        distances.append(float(np.abs(pair[0] - pair[1]).mean()))
    return float(np.mean(distances))


def pesq(original: Audio, decoded: Audio) -> float:
    """Wide-band PESQ (ITU-T P.862.2) of the mean of the channels at 16 kHz, 1 to 4.6."""
    module = needs("pesq", "pesq", "the metric pesq")
    x, y = (_mono(audio, 16000) for audio in (original, decoded))
    return float(module.pesq(16000, x, y, "wb"))


def stoi(original: Audio, decoded: Audio) -> float:
    """Short-time objective intelligibility of the mean of the channels, at most 1 (Taal et al. 2011)."""
    module = needs("pystoi", "pystoi", "the metric stoi")
    x, y = (_mono(audio, 16000) for audio in (original, decoded))
    return float(module.stoi(x, y, 16000))


def visqol(original: Audio, decoded: Audio) -> float:
    """ViSQOL 3 in audio mode, at 48 kHz, the mean of the channels, 1 to 5 (Chinen et al. 2020).

    Made for the whole band: of recordings at lower rates, the missing highs are missing on both sides.
    """
    x, y = (_mono(audio, 48000) for audio in (original, decoded))
    return float(_visqol("audio").measure_from_arrays(x, y, 48000).moslqo)


def visqol_speech(original: Audio, decoded: Audio) -> float:
    """ViSQOL 3 in speech mode, at 16 kHz, by its lattice model, the mean of the channels, 1 to 5."""
    x, y = (_mono(audio, 16000) for audio in (original, decoded))
    return float(_visqol("speech").measure_from_arrays(x, y, 16000).moslqo)


@cache
def _visqol(mode: str) -> Any:
    api = needs("visqol-python", "visqol", "the metric visqol").VisqolApi()
    # The polynomial that it falls back to in speech mode is on another scale: that would be another metric.
    api.create(mode=mode, use_lattice_model=True if mode == "speech" else None)
    return api


def _mono(audio: Audio, rate: int) -> Floats:
    return np.asarray(resample(audio, rate).samples.mean(axis=0), np.float64)


def log_mel(samples: NDArray[np.float32], rate: int, window: int) -> Floats:
    """Return log10 magnitudes, (channels, n) -> (channels, frames, window / 16 bands); frames overlap by 3/4."""
    wanted = max(window - samples.shape[1], 0)
    padded = np.pad(samples.astype(np.float64), ((0, 0), (0, wanted)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window, axis=1)[:, :: window // 4]
    hann = np.hanning(window + 1)[:-1]
    spectrum = np.abs(np.fft.rfft(frames * hann, axis=-1)) / hann.sum()
    return np.asarray(np.log10(np.maximum(spectrum @ _mel_bands(rate, window), MEL_FLOOR)))


@cache
def _mel_bands(rate: int, window: int) -> Floats:
    """Triangles of equal height, evenly spaced in mel: (window / 2 + 1, bands)."""
    bands = max(window // 16, 5)
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    at = np.fft.rfftfreq(window, 1 / rate)[:, None]
    rising = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - at) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(np.minimum(rising, falling), 0))
