"""The networks of the image codec: analysis, synthesis, and the hyperprior that predicts the latents.

Arrays are channels-last, (batch, height, width, channels). The transform works at 1/8 and 1/16 of the
picture's resolution: a trainable 16x16 linear branch, started from the principal components of photographs,
carries most of the signal, and depthwise blocks add what a linear transform cannot. The prior is a mean-scale
hyperprior (Minnen, Balle, Toderici 2018) that the context steps of `siglum.codecs.image.context` sharpen; one
model serves all rates by gains for each quality, after "variable-rate" codecs such as Cui et al. 2021 and
DCVC-RT (Jia et al. 2025).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from siglum.codecs.image.constants import ANCHOR_STEP, ANCHORS, LAMBDA_HIGH, LAMBDA_LOW, LEVELS, PATCH
from siglum.codecs.image.context import Coded, ContextPrior, Rounding
from siglum.codecs.image.layers import (
    ACTIVATION_LIMIT,
    Depthwise,
    QualityGain,
    activation,
    depth_to_space,
    fake_quantise,
    gaussian_bits,
    round_through,
    space_to_depth,
)


@dataclass(frozen=True)
class Preset:
    """Sizes of a model. Widths are channels; blocks are counted for each resolution."""

    width8: int = 96
    width16: int = 192
    latent: int = 192
    hyper: int = 48
    hyper_width: int = 96
    analysis8: int = 2
    analysis16: int = 1
    synthesis16: int = 2
    synthesis8: int = 4

    def to_dict(self) -> dict[str, int]:
        """The sizes by name, for the weights' card."""
        return asdict(self)


PRESETS = {
    "small": Preset(),
    "base": Preset(
        width8=128, width16=256, latent=256, hyper=64, hyper_width=128, synthesis16=3, synthesis8=6
    ),
}


class Block(nn.Module):
    """Residual depthwise block, then a residual pointwise one: 6 C^2 + 9 C multiplications a position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Linear(channels, channels)
        self.depthwise = Depthwise(channels)
        self.leave = nn.Linear(channels, channels)
        self.widen = nn.Linear(channels, 2 * channels)
        self.narrow = nn.Linear(2 * channels, channels)
        for layer in (self.leave, self.narrow):
            nn.init.normal_(layer.weight, std=0.2 / math.sqrt(layer.in_features))
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self.leave(self.depthwise(activation(self.enter(x))))
        return x + self.narrow(activation(self.widen(x)))


def lambda_of(level: Tensor) -> Tensor:
    """The weight of the squared error, geometric in the level."""
    return LAMBDA_LOW * (LAMBDA_HIGH / LAMBDA_LOW) ** (level / LEVELS)


def quantisation_step(level: Tensor) -> Tensor:
    """The uniform step (samples in 0..1) that suits a level at high rate: D = step^2 / 12, dR/dD by lambda."""
    return torch.sqrt(18.0 / (lambda_of(level) * math.log(2.0))) / 255.0


class Analysis(nn.Module):
    """Picture -> latents in natural units (before the quality's gain)."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * PATCH * PATCH, preset.latent)
        self.enter = nn.Linear(3 * 64, preset.width8)
        self.blocks8 = nn.Sequential(*[Block(preset.width8) for _ in range(preset.analysis8)])
        self.down = nn.Linear(4 * preset.width8, preset.width16)
        self.gain = QualityGain(preset.width16)
        self.blocks16 = nn.Sequential(*[Block(preset.width16) for _ in range(preset.analysis16)])
        self.leave = nn.Linear(preset.width16, preset.latent)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """(B, H, W, 3) in 0..1, H and W multiples of 16 -> (B, H/16, W/16, latent)."""
        x = x - 0.5
        with torch.autocast("cpu", enabled=False):
            linear = self.linear(space_to_depth(x.float(), PATCH))
        features = self.blocks8(self.enter(space_to_depth(x, 8)))
        features = self.down(space_to_depth(features, 2)) * torch.exp(self.gain(level))
        return linear + self.leave(self.blocks16(features)).float()


class Synthesis(nn.Module):
    """Latents in natural units -> picture."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.linear = nn.Linear(preset.latent, 3 * PATCH * PATCH)
        self.enter = nn.Linear(preset.latent, preset.width16)
        self.gain = QualityGain(preset.width16)
        self.blocks16 = nn.Sequential(*[Block(preset.width16) for _ in range(preset.synthesis16)])
        self.up = nn.Linear(preset.width16, 4 * preset.width8)
        self.blocks8 = nn.Sequential(*[Block(preset.width8) for _ in range(preset.synthesis8)])
        self.leave = nn.Linear(preset.width8, 3 * 64)

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        """(B, h, w, latent) -> (B, 16 h, 16 w, 3), about 0..1, not clamped."""
        with torch.autocast("cpu", enabled=False):
            linear = depth_to_space(self.linear(y.float()), PATCH)
        features = self.blocks16(self.enter(y) * torch.exp(self.gain(level)))
        features = self.blocks8(depth_to_space(self.up(features), 2))
        return linear + depth_to_space(self.leave(features).float(), 8) + 0.5


class HyperAnalysis(nn.Module):
    """Latents in units of their step -> hyperlatents, 1/4 the size. Float: only the encoder runs it."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        width = preset.hyper_width
        self.enter = nn.Linear(preset.latent, width)
        self.mix16 = Depthwise(width)
        self.down32 = nn.Linear(4 * width, width)
        self.mix32 = Depthwise(width)
        self.down64 = nn.Linear(4 * width, width)
        self.leave = nn.Linear(width, preset.hyper)
        self.bias = QualityGain(preset.hyper)

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        """(B, h, w, latent) -> (B, h/4, w/4, hyper)."""
        x = self.mix16(activation(self.enter(torch.asinh(y))))
        x = activation(self.down32(space_to_depth(x, 2)))
        x = activation(self.down64(space_to_depth(self.mix32(x), 2)))
        return self.leave(x).float() + self.bias(level)


class HyperSynthesis(nn.Module):
    """Hyperlatents -> mean and log scale of every latent. The float twin of an integer network.

    Everything here has an exact integer form (see `siglum.codecs.image.prior`): 1x1 and depthwise
    convolutions with 8-bit weights, saturating activations, pixel shuffle, and biases for each quality.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        width = preset.hyper_width
        self.enter = nn.Linear(preset.hyper, 4 * width)
        self.mix32 = Depthwise(width)
        self.middle = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.mix16 = Depthwise(width)
        self.wide = nn.Linear(width, 2 * width)
        self.leave = nn.Linear(2 * width, 2 * preset.latent)
        self.enter_bias = QualityGain(4 * width)
        self.middle_bias = QualityGain(width)
        self.wide_bias = QualityGain(2 * width)
        self.leave_bias = QualityGain(2 * preset.latent)
        self.quantised = False
        nn.init.normal_(self.leave.weight, std=0.02)

    def _pointwise(self, layer: nn.Linear, x: Tensor) -> Tensor:
        weight = fake_quantise(layer.weight) if self.quantised else layer.weight
        return F.linear(x, weight, layer.bias)

    def features(self, z: Tensor, level: Tensor) -> Tensor:
        """(B, h/4, w/4, hyper) integers -> (B, h, w, 2 hyper_width), what means and scales are predicted from."""
        limit = ACTIVATION_LIMIT
        x = torch.clamp(self._pointwise(self.enter, z) + self.enter_bias(level), 0.0, limit)
        x = self.mix32.saturated(depth_to_space(x, 2), self.quantised)
        x = torch.clamp(self._pointwise(self.middle, x) + self.middle_bias(level), 0.0, limit)
        x = torch.clamp(self._pointwise(self.up, x), 0.0, limit)
        x = self.mix16.saturated(depth_to_space(x, 2), self.quantised)
        return torch.clamp(self._pointwise(self.wide, x) + self.wide_bias(level), 0.0, limit)

    def forward(self, z: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """(B, h/4, w/4, hyper) integers -> mean (natural units over the channel's deviation), log scale."""
        x = self._pointwise(self.leave, self.features(z, level)).float() + self.leave_bias(level)
        mean, log_scale = x.chunk(2, dim=-1)
        return mean, log_scale


class ImageModel(nn.Module):
    """All networks and gains of one preset."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        self.analysis = Analysis(preset)
        self.synthesis = Synthesis(preset)
        self.hyper_analysis = HyperAnalysis(preset)
        self.hyper_synthesis = HyperSynthesis(preset)
        steps = -torch.log(quantisation_step(torch.arange(ANCHORS) * float(ANCHOR_STEP)))
        start = steps[:, None].expand(ANCHORS, preset.latent)
        self.gain = QualityGain(preset.latent, start)  # log of 1 / step
        self.inverse_gain = QualityGain(preset.latent, -start)
        self.context = ContextPrior(preset.latent, 2 * preset.hyper_width)
        self.hyper_scale = QualityGain(preset.hyper)  # log scale of the hyperlatents
        self.deviation: Tensor
        self.register_buffer("deviation", torch.ones(preset.latent))

    @torch.no_grad()
    def start_linear(self, components: Tensor, deviation: Tensor) -> None:
        """Start the linear branches from principal components.

        Parameters
        ----------
        components
            (latent, 768), orthonormal rows over `space_to_depth(x - 0.5, 16)`.
        deviation
            (latent,), standard deviation of each component.
        """
        self.analysis.linear.weight.copy_(components)
        self.analysis.linear.bias.zero_()
        self.synthesis.linear.weight.copy_(components.T)
        self.synthesis.linear.bias.zero_()
        self.deviation.copy_(deviation)
        self.synthesis.enter.weight.div_(deviation)
        for layer in (self.analysis.leave, self.synthesis.leave):
            layer.weight.zero_()
            layer.bias.zero_()
        log_scale = torch.log(deviation) + self.gain.anchors
        self.hyper_synthesis.leave_bias.anchors[:, self.preset.latent :].copy_(log_scale - 0.7)

    def scaled(self, y: Tensor, level: Tensor) -> Tensor:
        """Latents in units of their quantisation step."""
        return y * torch.exp(self.gain(level))

    def unscaled(self, y: Tensor, level: Tensor) -> Tensor:
        """Latents in natural units again, with the learned reconstruction gain."""
        return y * torch.exp(self.inverse_gain(level))

    def log_unit(self) -> Tensor:
        """(anchors, latent): log of each channel's deviation in steps."""
        return self.gain.anchors + torch.log(self.deviation)

    def code(
        self, z: Tensor, y: Tensor, level: Tensor, rounding: Rounding, flow: bool = False
    ) -> Iterator[Coded]:
        """Code latents (B, h, w, latent), in steps, group after group; see `ContextPrior.code`."""
        hyper = self.hyper_synthesis
        features, unit = hyper.features(z, level), self.deviation * torch.exp(self.gain(level))
        return self.context.code(
            features, hyper.leave, hyper.leave_bias(level), y, unit, level, rounding, flow
        )

    def prior(self, z: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log scale of the latents, in units of their step."""
        mean, log_scale = self.hyper_synthesis(z, level)
        return mean * self.deviation * torch.exp(self.gain(level)), log_scale

    def forward(self, x: Tensor, level: Tensor, noise: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """One pass as in training.

        Parameters
        ----------
        x
            (B, H, W, 3) in 0..1, H and W multiples of 64.
        level
            (B,) float, 0..256.
        noise
            Estimate the rate with uniform noise instead of rounding.

        Returns
        -------
        The reconstruction (B, H, W, 3), bits of y (B,), bits of z (B,).
        """
        y = self.scaled(self.analysis(x, level), level)
        z = self.hyper_analysis(y, level)
        mean, log_scale = self.prior(round_through(z), level)
        residual = y - mean
        quantised = round_through(residual)
        rate_y, rate_z = quantised, round_through(z)
        if noise:
            rate_y = residual + torch.rand_like(residual) - 0.5
            rate_z = z + torch.rand_like(z) - 0.5
        bits_y = gaussian_bits(rate_y, log_scale).sum((1, 2, 3))
        bits_z = gaussian_bits(rate_z, self.hyper_scale(level)).sum((1, 2, 3))
        return self.synthesis(self.unscaled(quantised + mean, level), level), bits_y, bits_z
