"""The networks of the audio codec in torch: STFT, ConvNeXt blocks at frame rate, GRVQ, inverse STFT.

A frame is two hops of the short-time Fourier transform. Everything but the transform itself works at frame rate, so
that most of the work is matrix products (as in Vocos, Siuzdak, ICLR 2024; AP-BWE, Lu et al. 2024). The head gives
for each bin a log magnitude and a direction in the complex plane. Beside it runs a linear branch: the lowest
coefficients of a modified discrete cosine transform (Princen and Bradley 1986) go into the latents and come out of
them by one matrix each way, so that the waveform of the lowest harmonics is kept. Blocks look back six frames, some
of them five back and one ahead: how far ahead a model looks is its latency.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from siglum.codecs.audio.constants import (
    COMPRESSION,
    HOPS,
    LOUDEST,
    LOW,
    LOW_SCALE,
    MAGNITUDE_FLOOR,
    SKIP,
    SKIP_ENERGY,
    TAPS,
)
from siglum.codecs.audio.cosines import cosines
from siglum.codecs.audio.presets import Preset
from siglum.quantizers.group_residual import GroupResidualQuantizer


class Block(nn.Module):
    """``x += narrow(act(widen(norm(depthwise(x)))))`` over (B, T, C); ``ahead`` of seven taps lie in the future."""

    def __init__(self, width: int, expansion: int, ahead: int) -> None:
        super().__init__()
        self.ahead = ahead
        self.taps = nn.Parameter(torch.randn(TAPS, width) * 0.05)
        with torch.no_grad():
            self.taps[TAPS - 1 - ahead] += 1.0
        self.taps_bias = nn.Parameter(torch.zeros(width))
        self.widen = nn.Linear(width, expansion * width)
        self.narrow = nn.Linear(expansion * width, width)
        nn.init.orthogonal_(self.widen.weight)
        nn.init.normal_(self.narrow.weight, std=0.1 * (expansion * width) ** -0.5)
        nn.init.zeros_(self.widen.bias)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        length = x.shape[1]
        padded = functional.pad(x, (0, 0, TAPS - 1 - self.ahead, self.ahead))
        mixed = self.taps_bias.expand_as(x)
        for tap in range(TAPS):
            mixed = mixed + padded[:, tap : tap + length] * self.taps[tap]
        mixed = functional.layer_norm(mixed.float(), mixed.shape[-1:])
        wide = self.widen(mixed)
        wide = wide * (wide + 0.5).clamp(0, 1)
        return x + self.narrow(wide).float()


class FrameQuantizer(GroupResidualQuantizer):
    """Group-residual VQ of which every frame uses a number of stages of its own, given by ``counts`` in training."""

    counts: Tensor | None = None
    layout: tuple[int, ...] = ()

    def chains(self, count: int | None = None) -> Iterator[tuple[slice, list[int]]]:
        """Slice and codes of every group that the first ``count`` codes reach, by the layout."""
        count = self.stages if count is None else count
        for group in range(self.step):
            members = [code for code in range(count) if self.layout[code] == group]
            if members:
                yield slice(group * self.width, (group + 1) * self.width), members

    @torch.no_grad()
    def start_parts(self, x: Tensor, low: Tensor) -> None:
        """Set rotation and codebooks from vectors (N, D): what spans ``low`` (D, L) has the last group for itself.

        The principal axes of the rest are dealt to the other groups in turns, so that each has as much to code.
        """
        basis = torch.linalg.qr(low.double())[0]
        centred = x.double() - x.double().mean(0)
        rest = centred - (centred @ basis) @ basis.T
        axes = torch.linalg.eigh(rest.T @ rest)[1].flip(1)[:, : self.dim - basis.shape[1]]
        first = (self.step - 1) * self.width
        dealt = [axes[:, group : first : self.step - 1] for group in range(self.step - 1)]
        assert self.rotation is not None
        self.rotation.assign(torch.cat([*dealt, basis, axes[:, first:]], 1).float(), x.mean(0))
        self._start_books(x)

    def _dropped(self, rows: int, share: int, device: torch.device) -> Tensor | None:
        if self.counts is None:
            return None
        layer = torch.arange(self.stages, device=device) // self.step
        return layer < self.counts.reshape(-1, 1)


class Outcome(NamedTuple):
    """What `AudioModel.forward` gives."""

    samples: Tensor
    loss: Tensor
    usage: tuple[float, ...]


class AudioModel(nn.Module):
    """Samples (B, N) at the preset's rate -> latents (B, T, D) -> codes (B, T, G * R) -> samples."""

    window: Tensor
    cosines: Tensor

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        p = preset
        self.register_buffer("window", torch.hann_window(p.window))
        self.encoder_in = nn.Linear(HOPS * 3 * p.bins, p.encoder_width)
        self.encoder_blocks = nn.ModuleList(
            Block(p.encoder_width, p.expansion, int(i < p.encoder_ahead)) for i in range(p.encoder_blocks)
        )
        self.encoder_out = nn.Linear(p.encoder_width, p.latent)
        self.decoder_in = nn.Linear(p.latent, p.decoder_width)
        self.decoder_blocks = nn.ModuleList(
            Block(p.decoder_width, p.expansion, int(i < p.decoder_ahead)) for i in range(p.decoder_blocks)
        )
        self.decoder_out = nn.Linear(p.decoder_width, HOPS * 3 * p.bins)
        basis = nn.init.orthogonal_(torch.empty(p.latent, LOW))
        self.low_in = nn.Parameter(basis)
        self.low_out = nn.Parameter(basis.T.clone())
        self.skip_in = nn.Parameter(torch.zeros(p.latent, HOPS * 3 * p.bins))
        self.low_refine = nn.Linear(p.decoder_width, LOW)
        nn.init.zeros_(self.low_refine.weight)
        nn.init.zeros_(self.low_refine.bias)
        self.register_buffer("cosines", torch.from_numpy(cosines(p.frame)), persistent=False)
        self.quantizer = FrameQuantizer(
            p.latent,
            p.groups,
            p.stages,
            p.codewords,
            rotation="pca",
            codebook={"kind": "ema", "commitment": 0.25},
        )
        self.quantizer.layout = p.layout
        self.quantised = False

    def spectra(self, samples: Tensor) -> Tensor:
        """(B, N) -> complex (B, 2T, bins); N is a multiple of the frame, windows are centred in their hops."""
        p = self.preset
        before = (p.window - p.hop) // 2
        padded = functional.pad(samples, (before, p.window - p.hop - before))
        frames = padded.unfold(1, p.window, p.hop) * self.window
        return torch.fft.rfft(frames) / (p.window / 4)

    def features(self, spectra: Tensor) -> Tensor:
        """Complex (B, 2T, bins) -> (B, T, 6 bins): compressed real and imaginary parts, log magnitudes."""
        magnitude = spectra.abs().clamp_min(MAGNITUDE_FLOOR)
        scale = magnitude ** (COMPRESSION - 1)
        logs = magnitude.log() / 4 + 1
        parts = torch.cat([spectra.real * scale, spectra.imag * scale, logs], 2)
        return parts.reshape(len(parts), -1, HOPS * 3 * self.preset.bins)

    @torch.no_grad()
    def start_skip(self, samples: Tensor) -> None:
        """Send principal components of log spectra into latents that are hardly used, so that details have a way.

        Without it the latents of a young model have some fifteen dimensions, and grow more slowly.
        """
        p = self.preset
        features = self.features(self.spectra(samples)).flatten(0, 1)
        logs = features.reshape(len(features), HOPS, 3, p.bins).clone()
        logs[:, :, :2] = 0
        _, deviations, axes = torch.pca_lowrank(logs.flatten(1), SKIP, niter=4)
        components = axes.double() * (SKIP_ENERGY * len(logs) / deviations.double().square().sum()).sqrt()
        latents = self.analyse(samples).flatten(0, 1).double()
        low = torch.linalg.qr(self.low_in.double())[0]
        used = torch.cov(latents.T) + 1e6 * low @ low.T
        idle = torch.linalg.eigh(used)[1][:, :SKIP]
        self.skip_in.copy_((idle @ components.T).float())
        self.decoder_in.weight.copy_(
            (self.decoder_in.weight.double() @ (torch.eye(p.latent) - idle @ idle.T)).float()
        )

    def analyse(self, samples: Tensor) -> Tensor:
        """Samples (B, N) -> latents (B, N / frame, D)."""
        features = self.features(self.spectra(samples))
        x = self.encoder_in(features).float()
        for block in self.encoder_blocks:
            x = block(x)
        latents = self.encoder_out(functional.layer_norm(x, x.shape[-1:])).float()
        latents = latents + functional.linear(features, self.skip_in).float()
        padded = functional.pad(samples, (self.preset.frame // 2, self.preset.frame // 2))
        low = padded.unfold(1, 2 * self.preset.frame, self.preset.frame) @ self.cosines
        return latents + low @ (self.low_in.T * LOW_SCALE)

    def synthesise(self, latents: Tensor) -> Tensor:
        """Latents (B, T, D) -> samples (B, T * frame), without the noise that decoders add."""
        return self.waves(*self.decoded_spectra(latents))

    def decoded_spectra(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (B, T, D) -> complex (B, 2T, bins), and what the linear branch gives: (B, T, 2 * frame)."""
        p = self.preset
        x = self.decoder_in(latents).float()
        for block in self.decoder_blocks:
            x = block(x)
        x = functional.layer_norm(x, x.shape[-1:])
        out = self.decoder_out(x).float()
        level, real, imaginary = out.reshape(len(out), -1, 3, p.bins).unbind(2)
        size = (level * 4 - 4).clamp_max(LOUDEST).exp() * torch.rsqrt(real**2 + imaginary**2 + 1e-6)
        low = (latents @ self.low_out.T + self.low_refine(x).float()) @ (self.cosines.T / LOW_SCALE)
        return torch.complex(real * size, imaginary * size), low

    def waves(self, spectra: Tensor, low: Tensor) -> Tensor:
        """What `decoded_spectra` gives, windows added up: samples (B, T * frame)."""
        p = self.preset
        frames = torch.fft.irfft(spectra * (p.window / 4), p.window) * self.window / 1.5
        count, before = frames.shape[1], (p.window - p.hop) // 2
        length = (count - 1) * p.hop + p.window
        total = functional.fold(frames.transpose(1, 2), (1, length), (1, p.window), stride=(1, p.hop))
        length = (low.shape[1] + 1) * p.frame
        below = functional.fold(low.transpose(1, 2), (1, length), (1, 2 * p.frame), stride=(1, p.frame))
        inside = slice(p.frame // 2, length - p.frame // 2)
        return total[:, 0, 0, before : before + count * p.hop] + below[:, 0, 0, inside]

    def forward(self, samples: Tensor, counts: Tensor) -> Outcome:
        """Code and decode with gradients.

        Parameters
        ----------
        samples : float32 (B, N)
            -1 to 1.
        counts : int64 (B, T)
            Stages that each frame uses.
        """
        latents = self.analyse(samples)
        if not self.quantised:
            return Outcome(self.synthesise(latents), latents.new_zeros(()), ())
        self.quantizer.counts = counts
        result = self.quantizer(latents)
        loss = torch.stack(list(result.losses.values())).sum()
        return Outcome(self.synthesise(result.values), loss, result.usage.fraction)
