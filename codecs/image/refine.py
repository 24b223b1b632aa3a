"""Latents and hyperlatents improved by gradients for one picture: what an encoder's network cannot know.

After Yang, Bamler, Mandt: Improving inference for neural image compression. NeurIPS 2020, and Campos et al.: Content
adaptive optimization for neural image compression. 2019. Rate and squared error are followed through the prior and
the synthesis in torch, at first with uniform noise in place of rounding, then with a rounding that hardens. Rounded
hyperlatents pass gradients as if they were not. At the end single symbols change by one where that pays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siglum.codecs.image import quantise, windows
from siglum.codecs.image.constants import HYPER_FACTOR, PATCH
from siglum.codecs.image.torch_engine import torch_threads
from siglum.codecs.image.transform import (
    LOG_SCALE_STEP,
    SCALE_LOW,
    ImageModel,
    gaussian_bits,
    lambda_of,
    round_through,
)

if TYPE_CHECKING:
    from siglum.codecs.image.weights import ImageWeights

Floats = NDArray[np.float32]
WINDOW = 48  # latent positions on a side that are refined at a time: a multiple of 4, 768 pixels
HYPER_PART = 0.75  # of the iterations moves hyperlatents, too
SOFT, HARD = 0.5, 0.03  # temperature of the soft rounding at its start and end
EDGE = 1e-4  # keeps the soft rounding's slope finite
FLIPPED = 0.15  # part of the symbols whose change would pay that is changed at a time: neighbours interfere
CURVATURE = 1.5  # of the error along a single latent, in units of that of the synthesis alone


@dataclass(frozen=True)
class Plan:
    """How to look: iterations by gradients, then rounds of single changes.

    A part `noise` of the iterations has noise instead of rounding. Adam's step sizes are in quantisation steps.
    """

    iterations: int
    rounds: int
    noise: float = 0.85
    step: float = 0.08
    hyper_step: float = 0.04


class HyperpriorRate:
    """What a choice of latents costs under the mean-scale hyperprior: the only part that knows the prior."""

    def __init__(self, model: ImageModel, skip: int) -> None:
        self._model, self._skip = model, skip

    def __call__(
        self, y: Tensor, z: Tensor, level: Tensor, rounded: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Latents as a decoder has them, and the bits of all symbols.

        Parameters
        ----------
        y
            (1, h, w, latent) in steps.
        z
            (1, ceil(h/4), ceil(w/4), hyper), integers.
        rounded
            Stands for the rounding of a residual.
        """
        height, width = y.shape[1:3]
        mean, log_scale = (part[:, :height, :width] for part in self._model.prior(z, level))
        index = torch.round((log_scale.detach() - math.log(SCALE_LOW)) / LOG_SCALE_STEP)
        skipped = index < self._skip
        symbols = rounded(y - mean)
        bits = gaussian_bits(symbols, log_scale).masked_fill(skipped, 0.0).sum()
        bits = bits + gaussian_bits(z, self._model.hyper_scale(level)).sum()
        return mean + symbols.masked_fill(skipped, 0.0), bits


def refine(
    weights: ImageWeights,
    pixels: NDArray[np.uint8],
    y: Floats,
    z: NDArray[np.int16],
    level: int,
    plan: Plan,
    threads: int,
) -> tuple[Floats, NDArray[np.int16]]:
    """Better latents and hyperlatents of a tile.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8, those of the tile.
    y
        (rows, columns, latent) float32 in steps, as the analysis gives them.
    z
        (ceil(rows/4), ceil(columns/4), hyper), as they would be coded.

    Returns
    -------
    Latents to be rounded, and hyperlatents to be coded.
    """
    model, device = _frozen(weights)
    y, z = y.copy(), z.copy()
    shape = y.shape[0] * PATCH, y.shape[1] * PATCH
    padded = np.pad(
        pixels, ((0, shape[0] - len(pixels)), (0, shape[1] - pixels.shape[1]), (0, 0)), mode="edge"
    )
    seen = -(-windows.synthesis_halo(weights.preset) // HYPER_FACTOR) * HYPER_FACTOR
    with torch_threads(threads):
        for rows, outer_rows in _spans(y.shape[0], seen):
            for columns, outer_columns in _spans(y.shape[1], seen):
                outer = outer_rows, outer_columns
                target = padded[_times(outer_rows, PATCH), _times(outer_columns, PATCH)]
                hyper = _over(outer_rows), _over(outer_columns)
                inner = _within(rows, outer_rows), _within(columns, outer_columns)
                search = _Search(model, device, weights, target, level, inner)
                new_y, new_z = search.run(y[outer], z[hyper], plan)
                y[rows, columns] = new_y[inner]
                z[_over(rows), _over(columns)] = new_z[_over(inner[0]), _over(inner[1])]
    return y, z


class _Search:
    """The refinement of one window; what lies around `inner` stays as it is."""

    def __init__(
        self,
        model: ImageModel,
        device: torch.device,
        weights: ImageWeights,
        target: NDArray[np.uint8],
        level: int,
        inner: tuple[slice, slice],
    ) -> None:
        self.model, self.device, self.weights, self.inner = model, device, weights, inner
        self.rate = HyperpriorRate(model, weights.skip)
        self.level = torch.full((1,), float(level), device=device)
        self.target = torch.from_numpy(target.copy()).to(device)[None].float() / 255.0
        self.price = float(lambda_of(self.level.cpu())) * 255.0**2 / 3.0  # bits for a unit of squared error
        self.random = torch.Generator(device).manual_seed(level)

    def error(self, latents: Tensor) -> Tensor:
        """Squared error, in bits."""
        picture = self.model.synthesis(self.model.unscaled(latents, self.level), self.level)
        return self.price * ((picture - self.target) ** 2).sum()

    def run(self, y: Floats, z: NDArray[np.int16], plan: Plan) -> tuple[Floats, NDArray[np.int16]]:
        values = torch.from_numpy(y.copy()).to(self.device)[None].requires_grad_()
        hyper = torch.from_numpy(z.astype(np.float32)).to(self.device)[None].requires_grad_()
        free_y, free_z = (
            self._free(values, self.inner),
            self._free(hyper, (_over(self.inner[0]), _over(self.inner[1]))),
        )
        optimizer = torch.optim.Adam([{"params": [values]}, {"params": [hyper]}], betas=(0.9, 0.99))
        for number in range(plan.iterations):
            done = number / plan.iterations
            slower = min(1.0, 1.5 * (1.0 - done) + 0.05)
            optimizer.param_groups[0]["lr"] = plan.step * slower
            optimizer.param_groups[1]["lr"] = plan.hyper_step * slower * (done < HYPER_PART)
            latents, bits = self.rate(
                values, round_through(hyper), self.level, self._rounding(done, plan.noise)
            )
            gradients = torch.autograd.grad(self.error(latents) + bits, [values, hyper])
            values.grad, hyper.grad = gradients[0] * free_y, gradients[1] * free_z
            optimizer.step()
        found = torch.round(hyper.detach())
        result = values.detach()
        if plan.rounds:
            result = self._change(result, found, free_y, plan.rounds)
        bound = self.weights.hyper_bound
        return result[0].cpu().numpy(), found[0].clamp(-bound, bound).cpu().numpy().astype(np.int16)

    def _free(self, like: Tensor, inner: tuple[slice, slice]) -> Tensor:
        mask = torch.zeros(1, *like.shape[1:3], 1, device=self.device)
        mask[:, inner[0], inner[1]] = 1.0
        return mask

    def _rounding(self, done: float, noise: float) -> Callable[[Tensor], Tensor]:
        if done < noise:
            return lambda x: x + torch.rand(x.shape, generator=self.random, device=x.device) - 0.5
        temperature = SOFT * (HARD / SOFT) ** ((done - noise) / (1.0 - noise))
        return lambda x: soft_round(x, temperature)

    def _change(self, y: Tensor, z: Tensor, free: Tensor, rounds: int) -> Tensor:
        """Latents whose symbols have changed by one where rate and error, to second order, become less.

        The best of all rounds is returned: changes that are made together can be worse than each alone.
        """
        bits = torch.from_numpy(quantise.magnitude_bits()).to(self.device)
        mean, log_scale = (
            part[:, : y.shape[1], : y.shape[2]].detach() for part in self.model.prior(z, self.level)
        )
        index = torch.round((log_scale - math.log(SCALE_LOW)) / LOG_SCALE_STEP).clamp(0, len(bits) - 1).long()
        movable = (index >= self.weights.skip) & (free > 0)
        symbols = torch.round(y - mean).masked_fill(index < self.weights.skip, 0.0)
        best, least = symbols, math.inf
        curvature = CURVATURE * self._curvature(mean + symbols)
        for _ in range(rounds + 1):
            latents = (mean + symbols).requires_grad_()
            error = self.error(latents)
            paid = _paid(bits, index, symbols)
            total = float(error.detach() + paid.masked_fill(index < self.weights.skip, 0.0).sum())
            if total < least:
                best, least = symbols, total
            (slope,) = torch.autograd.grad(error, latents)
            step, gain = torch.zeros_like(symbols), torch.zeros_like(symbols)
            for move in (-1.0, 1.0):
                change = _paid(bits, index, symbols + move) - paid + slope * move + curvature
                better = change < gain
                step, gain = torch.where(better, move, step), torch.where(better, change, gain)
            drawn = torch.rand(step.shape, generator=self.random, device=self.device) < FLIPPED
            symbols = symbols + step * (movable & drawn)
        return mean + best

    def _curvature(self, latents: Tensor, probes: int = 2) -> Tensor:
        """(latent,): mean over positions of half the second derivative of the error (Hutchinson's estimate)."""
        total = torch.zeros(latents.shape[-1], device=self.device)
        for _ in range(probes):
            at = latents.detach().requires_grad_()
            picture = self.model.synthesis(self.model.unscaled(at, self.level), self.level)
            signs = torch.randint(0, 2, picture.shape, generator=self.random, device=self.device) * 2.0 - 1.0
            (slope,) = torch.autograd.grad((picture * signs).sum(), at)
            total += (slope**2).mean((0, 1, 2))
        return self.price * total / probes


def soft_round(x: Tensor, temperature: float) -> Tensor:
    """Rounding that lets gradients pass; the harder the smaller the temperature."""
    low = torch.floor(x.detach())
    part = (x - low).clamp(EDGE, 1.0 - EDGE)
    return low + torch.sigmoid((torch.atanh(part) - torch.atanh(1.0 - part)) / temperature)


def _paid(bits: Tensor, index: Tensor, symbols: Tensor) -> Tensor:
    return bits[index, symbols.abs().clamp(max=bits.shape[1] - 1).long()]


@lru_cache(maxsize=2)
def _frozen(weights: ImageWeights) -> tuple[ImageModel, torch.device]:
    """The model without gradients of its own, with the prior as it was exported, on a GPU if there is one."""
    from siglum.codecs.image.torch_engine import make_model

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = make_model(weights.networks, weights.preset).requires_grad_(False).to(device)
    model.hyper_synthesis.quantised = True
    return model, device


def _spans(length: int, halo: int) -> Iterator[tuple[slice, slice]]:
    """The windows of an axis, and what each sees."""
    for start in range(0, length, WINDOW):
        stop = min(start + WINDOW, length)
        yield slice(start, stop), slice(max(0, start - halo), min(length, stop + halo))


def _within(inner: slice, outer: slice) -> slice:
    return slice(inner.start - outer.start, inner.stop - outer.start)


def _over(span: slice) -> slice:
    """Of positions, the hyperlatents."""
    return slice(span.start // HYPER_FACTOR, -(-span.stop // HYPER_FACTOR))


def _times(span: slice, factor: int) -> slice:
    return slice(span.start * factor, span.stop * factor)
