"""The float twin of the image-fast codec, for training.

The encoder is FRAPPE's idea (Jacobellis et al., arXiv 2605.28992): every channel is one linear projection of the
patch, all of them independent, sorted by importance, so that any prefix of channels is a file. Unlike there one
decoder serves all prefixes, and the quantised coefficients are coded group by group: the scale of each is
predicted from the magnitudes of all that came before at the position and its eight neighbours, by networks that
have an exact integer form (`siglum.codecs.image_fast.context`).
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from siglum.codecs.image.transform import (
    ACTIVATION_LIMIT,
    PRESETS,
    Depthwise,
    QualityGain,
    Synthesis,
    fake_quantise,
    gaussian_bits,
    quantisation_step,
    space_to_depth,
)
from siglum.codecs.image_fast.constants import (
    ANCHOR_STEP,
    ANCHORS,
    CHANNELS,
    GROUPS,
    INPUTS,
    MAGNITUDE_CAP,
    MEAN_SHIFT,
    PATCH,
    PHASES,
    WIDTHS,
)
from siglum.entropy.gaussian import GAUSSIAN_SCALES

PRESET = PRESETS["small"]
TABLES = len(GAUSSIAN_SCALES)
LOG_LOWEST = math.log(float(GAUSSIAN_SCALES[0]))
LOG_STEP = math.log(float(GAUSSIAN_SCALES[-1] / GAUSSIAN_SCALES[0])) / (TABLES - 1)
ROUNDING = 0.42  # |value| - floor above 1 - ROUNDING rounds up: about what the encoder's thresholds come to


def quantise_through(y: Tensor, rounding: float = ROUNDING) -> Tensor:
    """Round with a wider zero; gradients pass as if nothing was rounded."""
    return y + (torch.sign(y) * torch.floor(y.abs() + rounding) - y).detach()


def magnitude(q: Tensor) -> Tensor:
    """What contexts see of a symbol: log2(1 + |q|), capped."""
    return torch.log2(1.0 + q.abs().clamp(max=float(MAGNITUDE_CAP)))


class Step(nn.Module):
    """Log scales of one group's channels, from the magnitudes of what was coded before."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.enter = nn.Linear(max(inputs, 1), width)
        self.mix = Depthwise(width)
        self.leave = nn.Linear(width, outputs)
        self.enter_bias = QualityGain(width)
        self.leave_bias = QualityGain(outputs)
        self.inputs, self.quantised = inputs, False
        nn.init.normal_(self.leave.weight, std=0.02)
        nn.init.zeros_(self.leave.bias)

    def _weight(self, layer: nn.Linear | Depthwise) -> Tensor:
        return fake_quantise(layer.weight) if self.quantised else layer.weight

    def forward(self, seen: Tensor, level: Tensor) -> Tensor:
        """(B, h, w, inputs) -> (B, h, w, outputs)."""
        if not self.inputs:
            b, h, w, _ = seen.shape
            return self.leave_bias(level).expand(b, h, w, -1)
        x = F.linear(seen, self._weight(self.enter), self.enter.bias) + self.enter_bias(level)
        x = torch.clamp(x, 0.0, ACTIVATION_LIMIT).permute(0, 3, 1, 2)
        x = F.conv2d(x, self._weight(self.mix), self.mix.bias, padding=1, groups=x.shape[1])
        x = torch.clamp(x.permute(0, 2, 3, 1), 0.0, ACTIVATION_LIMIT)
        return F.linear(x, self._weight(self.leave), self.leave.bias).float() + self.leave_bias(level)


class Means(nn.Module):
    """A linear prediction of the first group's symbols from those of its earlier phases."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, channels, 3, 3))

    def forward(self, seen: Tensor) -> Tensor:
        """(B, h, w, C) symbols, zero where unknown -> (B, h, w, C) integers."""
        unit = float(2**MEAN_SHIFT)
        weight = self.weight.clamp(-127 / unit, 127 / unit)
        weight = weight + (torch.round(weight * unit) / unit - weight).detach()
        x = F.conv2d(seen.permute(0, 3, 1, 2), weight, padding=1).permute(0, 2, 3, 1)
        return x + (torch.floor(x + 0.5) - x).detach()


def phase_masks(h: int, w: int, group: int) -> list[Tensor]:
    """(h, w, 1) float masks of the positions of each phase of a group."""
    if group >= len(PHASES):
        return [torch.ones(h, w, 1)]
    masks = []
    for cells in PHASES[group]:
        mask = torch.zeros(h, w, 1)
        for row, column in cells:
            mask[row::2, column::2] = 1.0
        masks.append(mask)
    return masks


class FastModel(nn.Module):
    """Projections, gains, contexts and decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(INPUTS, CHANNELS, bias=False)
        steps = -torch.log(quantisation_step(torch.arange(ANCHORS) * float(ANCHOR_STEP)))
        start = steps[:, None].expand(ANCHORS, CHANNELS)
        self.gain = QualityGain(CHANNELS, start)
        self.inverse_gain = QualityGain(CHANNELS, -start)
        self.synthesis = Synthesis(PRESET)
        self.steps, self.means = nn.ModuleList(), nn.ModuleList()
        before = 0
        for group, (count, width) in enumerate(zip(GROUPS, WIDTHS, strict=True)):
            phases = len(PHASES[group]) if group < len(PHASES) else 1
            for phase in range(phases):
                self.steps.append(Step(before + (count if phase else 0), width, count))
                if group == 0 and phase:
                    self.means.append(Means(count))
            before += count
        self.rounding: Tensor
        self.register_buffer("rounding", torch.full((2, TABLES), ROUNDING), persistent=False)
        self.skip, self.rounds_as_coded = 0, False

    def step(self, number: int) -> Step:
        """The network of a step."""
        return cast(Step, self.steps[number])

    def mean(self, number: int) -> Means:
        """The prediction of the first group in its second (0) or third (1) phase."""
        return cast(Means, self.means[number])

    def round_as_coded(self, thresholds: Tensor, skip: int) -> None:
        """Let the decoder see what an encoder with these thresholds, (2, 64) in 1/32, codes."""
        self.rounding = thresholds.float() / 32.0
        self.skip, self.rounds_as_coded = skip, True

    def coefficients(self, x: Tensor, level: Tensor) -> Tensor:
        """(B, H, W, 3) in 0..1 -> (B, h, w, C) in units of their step."""
        patches = space_to_depth(x.float() - 0.5, PATCH)
        return F.linear(patches, fake_quantise(self.project.weight)) * torch.exp(self.gain(level))

    def bits(self, y: Tensor, q: Tensor, level: Tensor, noise: bool) -> tuple[Tensor, Tensor]:
        """Bits of every coefficient, (B, h, w, C), given the symbols of all as contexts, and what it is rounded to."""
        b, h, w, _ = y.shape
        seen = magnitude(q)
        parts, rounded, before, number = [], [], 0, 0
        for group, count in enumerate(GROUPS):
            own = slice(before, before + count)
            known = torch.zeros(h, w, 1)
            total, chosen = torch.zeros(b, h, w, count), torch.zeros(b, h, w, count)
            for phase, mask in enumerate(phase_masks(h, w, group)):
                inputs = seen[..., :before]
                if phase:
                    inputs = torch.cat([inputs, seen[..., own] * known], -1)
                log_scale = self.step(number)(inputs if number else seen[..., :1], level)
                number += 1
                value = y[..., own] + torch.rand_like(total) - 0.5 if noise else q[..., own]
                mean = torch.zeros(())
                if group == 0 and phase:
                    mean = self.mean(phase - 1)(q[..., own] * known)
                    value = value - mean
                total = total + gaussian_bits(value, log_scale) * mask
                with torch.no_grad():
                    chosen = chosen + (mean + self._round(y[..., own] - mean, log_scale)) * mask
                known = known + mask
            parts.append(total)
            rounded.append(chosen)
            before += count
        return torch.cat(parts, -1), torch.cat(rounded, -1)

    def _round(self, value: Tensor, log_scale: Tensor) -> Tensor:
        """Residuals as the encoder rounds them under the tables of these scales."""
        index = torch.round((log_scale.float() - LOG_LOWEST) / LOG_STEP).clamp(0, TABLES - 1).long()
        size = value.abs()
        added = torch.where(size < 1.5, self.rounding[0][index], self.rounding[1][index])
        return torch.sign(value) * torch.floor(size + added) * (index >= self.skip)

    def forward(
        self, x: Tensor, level: Tensor, prefix: Tensor | None = None, noise: bool = True
    ) -> tuple[Tensor, Tensor]:
        """One pass as in training.

        Parameters
        ----------
        x
            (B, H, W, 3) in 0..1, sides multiples of 16.
        level
            (B,) float, 0..256.
        prefix
            (B,) channels that each sample keeps; None: all.

        Returns
        -------
        The reconstruction (B, H, W, 3) and bits (B,).
        """
        y = self.coefficients(x, level)
        if prefix is not None:
            keep = (torch.arange(CHANNELS)[None] < prefix[:, None]).float()[:, None, None, :]
            y = y * keep
        q = quantise_through(y)
        bits, chosen = self.bits(y, q, level, noise)
        if prefix is not None:
            bits, chosen = bits * keep, chosen * keep
        if self.rounds_as_coded:
            q = y + (chosen - y).detach()
        out = self.synthesis(q * torch.exp(self.inverse_gain(level)), level)
        return out, bits.sum((1, 2, 3))

    def set_quantised(self, quantised: bool) -> None:
        """Let the contexts compute with 8-bit weights, as they will."""
        for number in range(len(self.steps)):
            self.step(number).quantised = quantised


@torch.no_grad()
def start(model: FastModel, state: dict[str, Tensor], x: Tensor, components: Tensor | None = None) -> None:
    """Start from a trained `image` model: its linear branch, gains and synthesis, channels sorted by importance.

    Parameters
    ----------
    state
        Of `siglum.codecs.image.transform.ImageModel` of the preset "small".
    x
        (B, H, W, 3) pictures in 0..1 to sort by.
    components
        (CHANNELS, INPUTS) orthonormal rows to project by instead; the synthesis then begins as their transpose.
    """
    weight = state["analysis.linear.weight"] if components is None else components
    y = F.linear(space_to_depth(x - 0.5, PATCH), weight)
    scale = y.square().mean((0, 1, 2)).sqrt() * torch.exp(state["gain.anchors"][2])
    order = torch.argsort(scale, descending=True)
    model.project.weight.copy_(weight[order])
    model.gain.anchors.copy_(state["gain.anchors"][:, order])
    model.inverse_gain.anchors.copy_(state["inverse_gain.anchors"][:, order])
    synthesis = {k[len("synthesis.") :]: v for k, v in state.items() if k.startswith("synthesis.")}
    for name in ("linear.weight", "enter.weight"):
        synthesis[name] = synthesis[name][:, order]
    model.synthesis.load_state_dict(synthesis)
    if components is not None:
        mixed = state["analysis.linear.weight"] @ components.T  # latents that the synthesis knows, from ours
        model.synthesis.linear.weight.copy_(components.T[:, order])
        model.synthesis.enter.weight.copy_((state["synthesis.enter.weight"] @ mixed)[:, order])
        steps = -torch.log(quantisation_step(torch.arange(ANCHORS) * float(ANCHOR_STEP)))
        model.gain.anchors.copy_(steps[:, None].expand(ANCHORS, CHANNELS))
        model.inverse_gain.anchors.copy_(-model.gain.anchors)
    log_scale = torch.log(y[..., order].square().mean((0, 1, 2)).sqrt()) + model.gain.anchors - 0.5
    before, number = 0, 0
    for group, count in enumerate(GROUPS):
        for _ in range(len(PHASES[group]) if group < len(PHASES) else 1):
            model.step(number).leave_bias.anchors.copy_(log_scale[:, before : before + count].clamp_min(-2.5))
            number += 1
        before += count
    for number, cells in enumerate(((0, 2, 6, 8), (1, 3, 5, 7))):
        for channel in range(GROUPS[0]):
            model.mean(number).weight.view(GROUPS[0], GROUPS[0], 9)[channel, channel, list(cells)] = 0.2


__all__ = ["FastModel", "magnitude", "quantise_through", "start"]
