"""Telling recordings from what was decoded, by their spectra: what the decoder learns to get past."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from siglum.codecs.audio.losses import spectra

COMPRESSION = 0.3  # exponent of magnitudes
SLOPE = 0.1
WINDOWS = (0.016, 0.064)  # seconds


def windows_for(rate: int) -> tuple[int, ...]:
    """Lengths of windows in samples, powers of two."""
    return tuple(1 << round(math.log2(seconds * rate)) for seconds in WINDOWS)


class Verdict(NamedTuple):
    """What a discriminator says of samples: scores per resolution, and the features that led to them."""

    scores: list[Tensor]
    features: list[Tensor]


class SpectrumDiscriminator(nn.Module):
    """Convolutions over compressed complex spectra of several windows.

    Small relatives of the discriminators of EnCodec (Défossez et al., 2022): five layers of one width, of which
    three halve the frequencies, with dilations over time.

    Parameters
    ----------
    windows
        Lengths of windows; hops are a quarter.
    width
        Channels.
    """

    def __init__(self, windows: tuple[int, ...], width: int = 24) -> None:
        super().__init__()
        self.windows = windows
        self.parts = nn.ModuleList(nn.ModuleList(_layers(width)) for _ in windows)

    def forward(self, samples: Tensor) -> Verdict:
        """(B, N) -> scores, high where sound seems recorded, and features of every layer."""
        scores, features = [], []
        for window, layers in zip(self.windows, self.parts, strict=True):
            values = spectra(samples.float(), window)
            scale = (values.real.square() + values.imag.square() + 1e-8) ** ((COMPRESSION - 1) / 2)
            x = torch.stack([values.real * scale, values.imag * scale], 1)
            assert isinstance(layers, nn.ModuleList)
            for layer in layers[:-1]:
                x = functional.leaky_relu(layer(x), SLOPE)
                features.append(x)
            scores.append(layers[-1](x).float())
        return Verdict(scores, features)


def _layers(width: int) -> list[nn.Module]:
    """Axes are time and frequency."""
    layers = [nn.Conv2d(2, width, (3, 7), stride=(1, 2), padding=(1, 3))]
    layers += [
        nn.Conv2d(width, width, (3, 5), stride=(1, 2), padding=(dilation, 2), dilation=(dilation, 1))
        for dilation in (1, 2)
    ]
    layers += [nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)]
    return [weight_norm(layer) for layer in layers]


def learner_loss(recorded: Verdict, decoded: Verdict) -> Tensor:
    """Hinge loss of the discriminator (Lim and Ye, 2017)."""
    pairs = zip(recorded.scores, decoded.scores, strict=True)
    return torch.stack(
        [functional.relu(1 - a).mean() + functional.relu(1 + b).mean() for a, b in pairs]
    ).mean()


def decoder_losses(recorded: Verdict, decoded: Verdict) -> tuple[Tensor, Tensor]:
    """What the decoder makes small: its being found out, and the relative distance of features.

    The second after Kumar et al., MelGAN, NeurIPS 2019.
    """
    found = torch.stack([functional.relu(1 - score).mean() for score in decoded.scores]).mean()
    pairs = zip(recorded.features, decoded.features, strict=True)
    apart = [(a.detach() - b).abs().mean() / (a.detach().abs().mean() + 1e-6) for a, b in pairs]
    return found, torch.stack(apart).mean()
