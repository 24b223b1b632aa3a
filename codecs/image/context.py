"""The context steps of the prior in torch: groups of channels, each a locally predicted multivariate Gaussian.

The channels of the latents are coded in a few groups, the strongest first. What has been decoded of the groups
before sharpens the prior of the next (channel-conditional coding after Minnen and Singh 2020). Inside a group
all positions are jointly Gaussian: the covariance of neighbouring positions is given by its inverse Cholesky
factor, predicted for every position and channel (the modified Cholesky decomposition, Pourahmadi 1999). The
positions of each 2x2 block make four phases, (0, 0), (1, 1), (0, 1), (1, 0); a latent leans on four neighbours
of earlier phases, inside its block or in the blocks around it, so that all blocks are coded at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from siglum.codecs.image.constants import NEIGHBOURS, PHASES, group_bounds
from siglum.codecs.image.layers import ACTIVATION_LIMIT, Depthwise, QualityGain, fake_quantise

FACTOR_LIMIT = 2.0  # saturation of the factors towards neighbours
FACTOR_WIDTH = 64  # features that the factors of a group are predicted from


def phase_of(x: Tensor, phase: int) -> Tensor:
    """The positions of a phase: (B, h, w, C) -> (B, h/2, w/2, C)."""
    row, column = PHASES[phase]
    return x[:, row::2, column::2]


def neighbours(known: list[Tensor], phase: int) -> list[Tensor]:
    """What the positions of a phase lean on, from the earlier phases; zero beyond the border."""
    return [_neighbour(known, phase, *offset) for offset in NEIGHBOURS[phase]]


def _neighbour(known: list[Tensor], phase: int, down: int, right: int) -> Tensor:
    row, column = PHASES[phase][0] + down, PHASES[phase][1] + right
    plane = known[PHASES.index((row % 2, column % 2))]
    return _shift(_shift(plane, row // 2, 1), column // 2, 2)


def _shift(x: Tensor, by: int, dim: int) -> Tensor:
    """X moved so that entry i becomes what was entry i + by; by is -1, 0 or 1."""
    if not by:
        return x
    zero = torch.zeros_like(x.narrow(dim, 0, 1))
    length = x.shape[dim] - 1
    return torch.cat([x.narrow(dim, 1, length), zero] if by > 0 else [zero, x.narrow(dim, 0, length)], dim)


def magnitude(deviation: Tensor) -> Tensor:
    """log2(1 + |deviation in steps|), in straight pieces between the powers of 2: what scales depend on."""
    mantissa, exponent = torch.frexp(1.0 + deviation.abs())
    return exponent + 2.0 * mantissa - 2.0


@dataclass
class Coded:
    """A group as it was coded, phases one after the other along the rows: (B, 2 h, w / 2, C) each.

    Attributes
    ----------
    residual
        What is left after the mean and the neighbours, in steps.
    log_scale
        Of the residual.
    symbols
        The integers that code it.
    """

    residual: Tensor
    log_scale: Tensor
    symbols: Tensor


Rounding = Callable[[Tensor, Tensor, slice], Tensor]


class ContextPrior(nn.Module):
    """Mean, scale and factors of group after group.

    Parameters
    ----------
    latent
        Channels of the latents.
    width
        Features that a prior is predicted from.
    """

    def __init__(self, latent: int, width: int) -> None:
        super().__init__()
        self.bounds = group_bounds(latent)
        sizes = [stop - start for start, stop in pairwise(self.bounds)]
        mixes = [nn.Linear(width + 2 * size, width) for size in sizes[:-1]]
        spreads = [Depthwise(width) for _ in sizes[:-1]]
        heads = [nn.Linear(FACTOR_WIDTH, len(NEIGHBOURS[1]) * size) for size in sizes]
        self.mix = nn.ModuleList(mixes)
        self.mix_bias = nn.ModuleList([QualityGain(width) for _ in sizes[:-1]])
        self.spread = nn.ModuleList(spreads)
        self.bend = nn.ModuleList([nn.Linear(width, FACTOR_WIDTH) for _ in sizes])
        self.bend_bias = nn.ModuleList([QualityGain(FACTOR_WIDTH) for _ in sizes])
        self.factors = nn.ModuleList(heads)
        self.gain = QualityGain(self.bounds[-2])  # log of context units a step
        self.quantised = False
        self.correlated = True
        """False: no factors, so that each latent is coded under a Gaussian of its own (an ablation)."""
        with torch.no_grad():
            for mix, spread in zip(mixes, spreads, strict=True):
                mix.weight.zero_()
                mix.weight[:, :width].copy_(torch.eye(width))
                mix.bias.zero_()
                spread.weight.zero_()
                spread.weight[:, :, 1, 1] = 1.0
            for head in heads:
                head.weight.zero_()
                head.bias.zero_()

    def _linear(self, layer: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(layer, nn.Linear)
        weight = fake_quantise(layer.weight) if self.quantised else layer.weight
        return F.linear(x, weight, layer.bias)

    def _depthwise(self, layer: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(layer, Depthwise)
        return layer.saturated(x, self.quantised)

    def code(
        self,
        features: Tensor,
        leave: nn.Linear,
        leave_bias: Tensor,
        y: Tensor,
        unit: Tensor,
        level: Tensor,
        rounding: Rounding,
        flow: bool = False,
    ) -> Iterator[Coded]:
        """Code group after group as the encoder would.

        Parameters
        ----------
        features
            (B, h, w, width) that the hyperlatents predict; h and w are even.
        leave, leave_bias
            The layer of the hyperprior that gives means (over the channel's deviation) and log scales.
        y
            (B, h, w, latent) latents in steps.
        unit
            (B, 1, 1, latent), deviations of the channels in steps.
        rounding
            (residual, log scale, channels) -> symbols.
        flow
            Whether gradients pass from what is coded later to what it was predicted from: to the symbols, whose
            rounding must pass them on.
        """
        latent, gain = y.shape[-1], torch.exp(self.gain(level))
        deviation = y  # of the group before; there is none yet
        rows = fake_quantise(leave.weight) if self.quantised else leave.weight
        for group, (start, stop) in enumerate(pairwise(self.bounds)):
            own = slice(start, stop)
            if group:
                context = deviation * gain[..., self.bounds[group - 1] : start]
                context = torch.clamp(context, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
                x = torch.cat([features, context, magnitude(deviation)], dim=-1)
                x = self._linear(self.mix[group - 1], x) + self.mix_bias[group - 1](level)
                features = self._depthwise(self.spread[group - 1], torch.clamp(x, 0.0, ACTIVATION_LIMIT))
            chosen = torch.cat([rows[own], rows[latent + start : latent + stop]])
            bias = torch.cat([leave.bias[own], leave.bias[latent + start : latent + stop]])
            extra = torch.cat([leave_bias[..., own], leave_bias[..., latent + start : latent + stop]], dim=-1)
            mean, log_scale = (F.linear(features, chosen, bias) + extra).chunk(2, dim=-1)
            factors = self._factors(group, features, level) if self.correlated else None
            coded, deviation = self._phases(
                y[..., own], mean * unit[..., own], log_scale, factors, rounding, own, flow
            )
            yield coded

    def _factors(self, group: int, features: Tensor, level: Tensor) -> Tensor:
        bent = self._linear(self.bend[group], features) + self.bend_bias[group](level)
        bent = torch.clamp(bent, 0.0, ACTIVATION_LIMIT)
        return torch.clamp(self._linear(self.factors[group], bent), -FACTOR_LIMIT, FACTOR_LIMIT)

    @staticmethod
    def _phases(
        y: Tensor,
        mean: Tensor,
        log_scale: Tensor,
        factors: Tensor | None,
        rounding: Rounding,
        own: slice,
        flow: bool,
    ) -> tuple[Coded, Tensor]:
        """The phases of a group, and how far its decoded latents are from their means, (B, h, w, C)."""
        known: list[Tensor] = []
        residuals, scales, symbols = [], [], []
        deviation = torch.empty_like(y)
        for phase, (row, column) in enumerate(PHASES):
            centre = phase_of(mean, phase)
            residual = phase_of(y, phase) - centre
            pull: Tensor | None = None
            if factors is not None and phase:
                parts = phase_of(factors, phase).chunk(len(NEIGHBOURS[phase]), dim=-1)
                pull = sum(
                    (a * e for a, e in zip(parts, neighbours(known, phase), strict=True)),
                    start=torch.zeros(()),
                )
                residual = residual - pull
            scale = phase_of(log_scale, phase)
            if flow:
                symbol = rounding(residual, scale, own)
                decoded = symbol if pull is None else symbol + pull
                known.append(decoded)
            else:
                symbol = rounding(residual.detach(), scale.detach(), own)
                decoded = symbol if pull is None else symbol + pull.detach()
                known.append(decoded + centre.detach() - centre)  # what is decoded stays when the mean moves
            deviation[:, row::2, column::2] = decoded
            residuals.append(residual)
            scales.append(scale)
            symbols.append(symbol)
        return Coded(torch.cat(residuals, 1), torch.cat(scales, 1), torch.cat(symbols, 1)), deviation


def start_gain(prior: ContextPrior, log_unit: Tensor) -> None:
    """Start with context in units of the channel's deviation: log_unit is (anchors, latent), deviations in steps."""
    with torch.no_grad():
        prior.gain.anchors.copy_(torch.clamp(-log_unit[:, : prior.bounds[-2]], max=math.log(1.0)))
