"""Pieces of the image codec's networks. Arrays are channels-last, (batch, height, width, channels)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from siglum.codecs.image.constants import ANCHOR_STEP, ANCHORS, SCALES

SCALE_LOW, SCALE_HIGH = 0.11, 64.0  # of the Gaussian table bank
LOG_SCALE_STEP = math.log(SCALE_HIGH / SCALE_LOW) / (SCALES - 1)
ACTIVATION_LIMIT = 16.0  # saturation of the integer network's activations


def space_to_depth(x: Tensor, factor: int) -> Tensor:
    """(B, H, W, C) -> (B, H/factor, W/factor, C*factor**2), channels ordered (C, row, column)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // factor, factor, w // factor, factor, c).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(b, h // factor, w // factor, c * factor * factor)


def depth_to_space(x: Tensor, factor: int) -> Tensor:
    """The inverse of `space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, c // factor**2, factor, factor).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(b, h * factor, w * factor, c // factor**2)


def activation(x: Tensor) -> Tensor:
    """A swish of straight pieces, x * clamp(x + 1/2, 0, 1): no exponential in any kernel that runs it."""
    return x * torch.clamp(x + 0.5, 0.0, 1.0)


class Depthwise(nn.Module):
    """3x3 depthwise convolution with zero padding, channels-last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        weight = torch.zeros(channels, 1, 3, 3)
        weight[:, 0, 1, 1] = 1.0
        self.weight = nn.Parameter(weight + 0.1 * torch.randn_like(weight))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        return self._convolve(x, self.weight)

    def saturated(self, x: Tensor, quantised: bool) -> Tensor:
        """As the integer form does it: activations saturate, weights have 8 bits if they are `quantised`."""
        y = self._convolve(x, fake_quantise(self.weight) if quantised else self.weight)
        return torch.clamp(y, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        y = F.conv2d(x.permute(0, 3, 1, 2), weight, self.bias, padding=1, groups=x.shape[-1])
        return y.permute(0, 2, 3, 1)


class QualityGain(nn.Module):
    """A vector for each quality: learned at the anchors, interpolated linearly between them."""

    def __init__(self, channels: int, start: Tensor | None = None) -> None:
        super().__init__()
        self.anchors = nn.Parameter(torch.zeros(ANCHORS, channels) if start is None else start.clone())

    def forward(self, level: Tensor) -> Tensor:
        """Levels (B,) float in [0, LEVELS] -> (B, 1, 1, C)."""
        position = level / ANCHOR_STEP
        low = position.floor().clamp(0, ANCHORS - 2).long()
        part = (position - low)[:, None]
        value = self.anchors[low] * (1 - part) + self.anchors[low + 1] * part
        return value[:, None, None, :]


def fake_quantise(weight: Tensor, channel_dim: int = 0) -> Tensor:
    """Round a weight to 8 bits a channel; gradients pass as if it were not rounded."""
    dims = [d for d in range(weight.ndim) if d != channel_dim]
    step = weight.detach().abs().amax(dims, keepdim=True).clamp_min(1e-8) / 127.0
    return weight + (torch.round(weight / step) * step - weight).detach()


def gaussian_bits(value: Tensor, log_scale: Tensor) -> Tensor:
    """Bits of a zero-mean Gaussian of the given log scale integrated over a unit interval around `value`."""
    scale = torch.exp(torch.clamp(log_scale, math.log(SCALE_LOW), math.log(SCALE_HIGH)))
    magnitude = value.abs()
    factor = math.sqrt(0.5) / scale
    upper = torch.erfc((magnitude - 0.5) * factor)
    lower = torch.erfc((magnitude + 0.5) * factor)
    return -torch.log2(torch.clamp(0.5 * (upper - lower), min=1e-7))


def round_through(x: Tensor) -> Tensor:
    """Round; gradients pass as if it were not rounded."""
    return x + (torch.round(x) - x).detach()
