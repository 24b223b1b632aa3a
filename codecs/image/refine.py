"""Latents and hyperlatents improved by gradients for one picture: what an encoder's network cannot know.

After Yang, Bamler, Mandt: Improving inference for neural image compression. NeurIPS 2020, and Campos et al.: Content
adaptive optimization for neural image compression. 2019. Rate and squared error are followed through the prior and
the synthesis in torch, at first with uniform noise in place of rounding, then with a rounding that hardens. Rounded
hyperlatents pass gradients as if they were not; symbols pass them on to what is predicted from them where they are
about to change. At the end single symbols change by one where that pays.
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
from torch.nn import functional as F

from siglum.codecs.image import quantise, windows
from siglum.codecs.image.constants import HYPER_FACTOR, PATCH, PHASES, SCALES
from siglum.codecs.image.context import Rounding
from siglum.codecs.image.layers import LOG_SCALE_STEP, SCALE_LOW, gaussian_bits, round_through
from siglum.codecs.image.torch_engine import torch_threads
from siglum.codecs.image.transform import ImageModel, lambda_of

if TYPE_CHECKING:
    from siglum.codecs.image.weights import ImageWeights

Floats = NDArray[np.float32]
WINDOW = 48  # latent positions on a side that are refined at a time: a multiple of 4, 768 pixels
HYPER_PART = 0.75  # of the iterations moves hyperlatents, too
SOFT, HARD = 0.5, 0.03  # temperature of the soft rounding at its start and end
EDGE = 1e-4  # keeps the soft rounding's slope finite
FLIPPED = 0.15  # part of the symbols whose change would pay that is changed at a time: neighbours interfere
THROUGH = 0.2  # temperature of the soft rounding whose slope stands for that of symbols in contexts
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


class PriorRate:
    """What a choice of latents costs under the prior with its context steps: the only part that knows the prior."""

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
            Stands for the rounding of a residual. Context is made of integers, as a decoder has it; gradients pass
            through it where a symbol is about to change (straight through, they would pass where it is not, too, and
            then do harm).
        """
        bits = gaussian_bits(z, self._model.hyper_scale(level)).sum()
        parts = []
        for own, residual, log_scale, _ in self.walk(y, z, level, self._passing, flow=True):
            skipped = _table(log_scale) < self._skip
            symbols = rounded(residual)
            bits = bits + gaussian_bits(symbols, log_scale).masked_fill(skipped, 0.0).sum()
            parts.append(y[..., own] - residual + symbols.masked_fill(skipped, 0.0))
        return torch.cat(parts, dim=-1), bits

    def tables(self, y: Tensor, z: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means, table indices and symbols (all like y) if every residual is rounded to its nearest integer."""
        found = list(self.walk(y, z, level, self._nearest))
        mean = torch.cat([y[..., own] - residual for own, residual, _, _ in found], dim=-1)
        index = torch.cat([_table(log_scale) for _, _, log_scale, _ in found], dim=-1)
        return mean, index, torch.cat([symbols for *_, symbols in found], dim=-1)

    def later_slope(self, latents: Tensor, z: Tensor, level: Tensor) -> Tensor:
        """How the bits of all other latents change with each one, to first order: (1, h, w, latent).

        Parameters
        ----------
        latents
            (1, h, w, latent) in steps, as a decoder has them.
        """
        at = latents.detach().requires_grad_()
        slopes: list[Tensor] = []
        bits = torch.zeros((), device=at.device)
        for _, residual, log_scale, _ in self.walk(at, z, level, self._as_it_is, flow=True):
            skipped = _table(log_scale) < self._skip
            bits = bits + gaussian_bits(residual, log_scale).masked_fill(skipped, 0.0).sum()
            alone = residual.detach().requires_grad_()
            own = gaussian_bits(alone, log_scale.detach()).masked_fill(skipped, 0.0).sum()
            slopes.extend(torch.autograd.grad(own, alone))
        (slope,) = torch.autograd.grad(bits, at)
        return slope - torch.cat(slopes, dim=-1)

    def walk(
        self, y: Tensor, z: Tensor, level: Tensor, rounding: Rounding, flow: bool = False
    ) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Channels, residuals, log scales and symbols of group after group, all (1, h, w, C).

        `flow`: gradients pass through what `rounding` gives.
        """
        height, width = y.shape[1:3]
        rows, columns = (HYPER_FACTOR * side for side in z.shape[1:3])
        even = F.pad(y, (0, 0, 0, columns - width, 0, rows - height))
        start = 0
        for coded in self._model.code(z, even, level, rounding, flow):
            own = slice(start, start + coded.residual.shape[-1])
            start = own.stop
            parts = (coded.residual, coded.log_scale, coded.symbols)
            residual, log_scale, symbols = (_in_place(part)[:, :height, :width] for part in parts)
            yield own, residual, log_scale, symbols

    def _nearest(self, residual: Tensor, log_scale: Tensor, channels: slice) -> Tensor:
        return self._as_it_is(torch.round(residual), log_scale, channels)

    def _passing(self, residual: Tensor, log_scale: Tensor, channels: slice) -> Tensor:
        soft = soft_round(residual, THROUGH)
        return self._as_it_is(soft + (torch.round(residual) - soft).detach(), log_scale, channels)

    def _as_it_is(self, symbols: Tensor, log_scale: Tensor, channels: slice) -> Tensor:
        return symbols.masked_fill(_table(log_scale) < self._skip, 0.0)


def _table(log_scale: Tensor) -> Tensor:
    """Table indices."""
    return torch.round((log_scale.detach() - math.log(SCALE_LOW)) / LOG_SCALE_STEP).clamp(0, SCALES - 1)


def _in_place(phases: Tensor) -> Tensor:
    """What the phases of a group hold, (1, 2h, w/2, C), at their places: (1, h, w, C)."""
    parts = phases.chunk(len(PHASES), dim=1)
    by_place = dict(zip(PHASES, parts, strict=True))
    rows = [torch.stack([by_place[row, column] for column in (0, 1)], dim=3).flatten(2, 3) for row in (0, 1)]
    return torch.stack(rows, dim=2).flatten(1, 2)


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
        self.rate = PriorRate(model, weights.skip)
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
        """Latents whose symbols have changed by one where rate and error become less.

        Of a symbol its own bits are counted exactly, the error to second order, and the bits of those that lean on it
        to first. The best of all rounds is returned: changes that are made together can be worse than each alone.
        """
        bits = torch.from_numpy(quantise.magnitude_bits()).to(self.device)
        least, best = math.inf, y
        curvature: Tensor | None = None
        for _ in range(rounds + 1):
            with torch.no_grad():
                mean, index, symbols = self.rate.tables(y, z, self.level)
            index = index.long()
            skipped = index < self.weights.skip
            if curvature is None:
                curvature = CURVATURE * self._curvature(mean + symbols)
            latents = (mean + symbols).requires_grad_()
            error = self.error(latents)
            paid = _paid(bits, index, symbols)
            total = float(error.detach() + paid.masked_fill(skipped, 0.0).sum())
            if total < least:
                least, best = total, mean + symbols
            (slope,) = torch.autograd.grad(error, latents)
            slope = slope + self.rate.later_slope(mean + symbols, z, self.level)
            step, gain = torch.zeros_like(symbols), torch.zeros_like(symbols)
            for move in (-1.0, 1.0):
                change = _paid(bits, index, symbols + move) - paid + slope * move + curvature
                better = change < gain
                step, gain = torch.where(better, move, step), torch.where(better, change, gain)
            drawn = torch.rand(step.shape, generator=self.random, device=self.device) < FLIPPED
            y = mean + symbols + step * (~skipped & (free > 0) & drawn)
        return best

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
    model.hyper_synthesis.quantised = model.context.quantised = True
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
