"""How far decoded samples are from the original, differentiable: mel spectra, compressed spectra, loudness."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

MEL_WINDOWS = (128, 256, 512, 1024, 2048)
MEL_FLOOR = 1e-4
SPEECH_LEVEL = 79.0  # dB SPL at which loudness is computed, that of ITU-T P.862


class Terms(NamedTuple):
    """Distances (B,) of segments from their originals."""

    mel: Tensor
    loudness: Tensor
    phase: Tensor
    low: Tensor

    def weighed(self, part: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
        """Their mean sum; where segments have a smaller part (B,) of the stages, waveforms count less."""
        mel, loudness, phase, low = weights
        waves = (0.3 + 0.7 * part) * (phase * self.phase + low * self.low)
        return (mel * self.mel + loudness * self.loudness + waves).mean()


def reconstruction(x: Tensor, y: Tensor, rate: int, margin: int) -> Terms:
    """All distances of (B, N) twice, without a margin of samples at either end, where networks see too little."""
    x, y = x[:, margin:-margin], y[:, margin:-margin]
    return Terms(mel_loss(x, y, rate), loudness_loss(x, y, rate), complex_loss(x, y), low_loss(x, y, rate))


def spectra(samples: Tensor, window: int) -> Tensor:
    """(B, N) -> complex (B, frames, window / 2 + 1), Hann windows of unit sum, hops of a quarter."""
    hann = torch.hann_window(window, device=samples.device)
    frames = samples.unfold(1, window, window // 4) * (hann / hann.sum())
    return torch.fft.rfft(frames)


def magnitudes(values: Tensor) -> Tensor:
    """Magnitudes with a gradient at zero."""
    return (values.real**2 + values.imag**2 + 1e-12).sqrt()


@cache
def mel_bands(rate: int, window: int) -> Tensor:
    """Triangles of unit height with a bin each at least, (window / 2 + 1, bands)."""
    bands = {128: 12, 256: 24, 512: 40, 1024: 64, 2048: 96}.get(window, 64)
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2, dtype=torch.float64) / 2595) - 1)
    at = torch.arange(window // 2 + 1, dtype=torch.float64)[:, None] * rate / window
    rising = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - at) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp_min(0).float()


def mel_loss(x: Tensor, y: Tensor, rate: int) -> Tensor:
    """Mean absolute difference of natural log mel spectra over five windows: (B, N) twice -> (B,)."""
    losses = []
    for window in MEL_WINDOWS:
        bands = mel_bands(rate, window)
        logs = [(magnitudes(spectra(part, window)) @ bands).clamp_min(MEL_FLOOR).log() for part in (x, y)]
        losses.append((logs[0] - logs[1]).abs().mean((1, 2)))
    return torch.stack(losses).mean(0)


def complex_loss(x: Tensor, y: Tensor, windows: tuple[int, ...] = (256, 512, 1024)) -> Tensor:
    """Distance of spectra with magnitudes to the power 0.3, phases kept, relative to the original's: (B,)."""
    return torch.stack(
        [_distance(spectra(x, window), spectra(y, window), 0.3, 0.05) for window in windows]
    ).mean(0)


def low_loss(x: Tensor, y: Tensor, rate: int) -> Tensor:
    """Distance of spectra below about 1 kHz with the square roots of magnitudes, phases kept, relative: (B,).

    The ear follows the waveform there, and so do measures that align signals by it, ITU-T P.862 among them.
    """
    losses = []
    for window in (512, 1024):
        window = 1 << round(math.log2(window * rate / 16000))
        frequency = torch.arange(window // 2 + 1) * (rate / window)
        weight = ((1500 - frequency) / 900).clamp(0, 1)
        count = int((weight > 0).sum())
        a, b = (spectra(part, window)[..., :count] for part in (x, y))
        losses.append(_distance(a, b, 0.5, 0.005, weight[:count]))
    return torch.stack(losses).mean(0)


def _distance(x: Tensor, y: Tensor, power: float, floor: float, weight: Tensor | None = None) -> Tensor:
    """Mean distance of spectra with compressed magnitudes, relative to the first one's size plus a floor: (B,)."""
    (a, b), (c, d) = (_compressed(part, power) for part in (x, y))
    error, size = ((a - c) ** 2 + (b - d) ** 2 + 1e-8).sqrt(), (a**2 + b**2 + 1e-8).sqrt()
    if weight is not None:
        error, size = error * weight, size * weight
    return error.mean((1, 2)) / (size.mean((1, 2)) + floor)


def _compressed(values: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """Real and imaginary parts with magnitudes to a power."""
    scale = (magnitudes(values) + 1e-4) ** (power - 1)
    return values.real * scale, values.imag * scale


@cache
def _bark(rate: int, window: int, bands: int) -> tuple[Tensor, Tensor, Tensor]:
    """Bands even in Bark: shares (bins, bands), thresholds in quiet as powers, widths in Bark."""
    top = 7 * math.asinh(min(rate / 2, 8000) / 650)
    width = top / bands
    low, high = 7 * math.asinh(60 / 650), top
    edges = 650 * torch.sinh(torch.linspace(low, high, bands + 1, dtype=torch.float64) / 7)
    bins = torch.arange(window // 2 + 1, dtype=torch.float64)[:, None] * rate / window
    half = rate / window / 2
    overlap = torch.minimum(bins + half, edges[1:]) - torch.maximum(bins - half, edges[:-1])
    shares = overlap.clamp_min(0) / (2 * half)
    khz = (edges[1:] + edges[:-1]) / 2000
    quiet = 3.64 * khz**-0.8 - 6.5 * torch.exp(-0.6 * (khz - 3.3) ** 2) + 1e-3 * khz**4
    return shares.float(), (10 ** (quiet / 10)).float(), torch.full((bands,), width)


def loudness_loss(x: Tensor, y: Tensor, rate: int) -> Tensor:
    """Audible difference after ITU-T P.862, without its alignments, in points of its score: (B, N) twice -> (B,).

    Powers in 49 Bark bands, loudness after Zwicker, a dead zone of a quarter of the softer of both, and an asymmetry
    that weighs added sound more; after Martin-Donas et al.: A deep learning loss function based on the perceptual
    evaluation of the speech quality. IEEE SPL 2018. Only the band below 8 kHz is compared.
    """
    window = 1 << round(math.log2(0.032 * rate))
    shares, quiet, widths = _bark(rate, window, 49)
    hann = torch.hann_window(window)
    powers = []
    for part in (x, y):
        frames = part.unfold(1, window, window // 2) * hann
        values = torch.fft.rfft(frames)
        powers.append((values.real**2 + values.imag**2) @ shares)
    total = powers[0].sum(2)
    active = total > total.amax(1, keepdim=True) * 1e-4
    level = (total * active).sum(1) / active.sum(1).clamp_min(1)
    scale = 10 ** (SPEECH_LEVEL / 10) / level.clamp_min(1e-6)
    a, b = (power * scale[:, None, None] for power in powers)
    gamma = 0.23
    louds = [
        (2 * quiet) ** gamma * ((0.5 + 0.5 * p / quiet).clamp_min(1) ** gamma - 1) * 0.1866 for p in (a, b)
    ]
    gap = louds[1] - louds[0]
    dead = 0.25 * torch.minimum(louds[0], louds[1])
    kept = functional.relu(gap.abs() - dead)
    symmetric = ((kept * widths) ** 2).sum(2).add(1e-9).sqrt() * math.sqrt(float(widths.sum()))
    ratio = ((b + 50) / (a + 50)) ** 1.2
    factor = torch.where(ratio < 3, torch.zeros_like(ratio), ratio.clamp_max(12)).detach()
    asymmetric = (kept * functional.relu(gap.sign()) * widths * factor).sum(2)
    weight = ((a.sum(2) + 1e5) / 1e7) ** 0.04
    d, e = symmetric.clamp_max(45) / weight, asymmetric.clamp_max(45) / weight
    return 0.1 * _pool(d) + 0.0309 * _pool(e)


def _pool(frames: Tensor) -> Tensor:
    """Means of power six over 20 frames, half overlapping, and of power two over those."""
    if frames.shape[1] < 20:
        parts = frames[:, None]
    else:
        parts = frames.unfold(1, 20, 10)
    syllables = (parts**6).mean(2).add(1e-9) ** (1 / 6)
    return (syllables**2).mean(1).sqrt()
