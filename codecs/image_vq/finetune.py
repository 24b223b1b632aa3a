"""Training of the synthesis on what the cascade decodes to, short files included (stage dropout)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from siglum.codecs import runs
from siglum.codecs.image.constants import PATCH
from siglum.codecs.image.transform import Preset, QualityGain, Synthesis, lambda_of
from siglum.codecs.image_vq import blocks, cascade
from siglum.codecs.image_vq.gather import Latents
from siglum.codecs.image_vq.weights import NETWORK, VqWeights

SHORT_PART = 0.25  # of the samples that lack their last layers


@dataclass(frozen=True)
class Decoded:
    """What files of crops decode to: latents (crops, rows, columns, latent) float16 in steps, levels, crops."""

    y: NDArray[np.float16]
    level: NDArray[np.int64]
    crops: NDArray[np.uint8]


def decoded(weights: VqWeights, data: Latents, seed: int, short: float = SHORT_PART) -> Decoded:
    """Put latents through the cascade; a part of them through its first layers only."""
    random = np.random.default_rng(seed)
    out = np.empty_like(data.y)
    layers = blocks.layers(weights.ranges)
    for i in range(len(out)):
        kept = int(random.integers(1, len(layers))) if random.random() < short else len(layers)
        mean = data.mean[i].astype(np.float32)
        tile = cascade.Tile(weights, data.index[i], 1, weights.lift(int(data.level[i])))
        x = tile.vectors(data.y[i].astype(np.float32) - mean)
        for layer in layers[:kept]:
            tile.encode(layer, 0, x, 1)
        out[i] = mean + tile.residual()
    return Decoded(out, data.level, data.crops)


class Decoder(nn.Module):
    """A model's synthesis with its gains, in torch.

    Parameters
    ----------
    tensors
        All tensors of the model.
    preset
        Sizes of its networks.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]], preset: Mapping[str, int]) -> None:
        super().__init__()
        sizes = Preset(**preset)
        self.synthesis, self.inverse_gain = Synthesis(sizes), QualityGain(sizes.latent)
        state = {
            name: torch.from_numpy(np.array(tensors[NETWORK + name], np.float32))
            for name in self.state_dict()
        }
        self.load_state_dict(state)

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        """Latents in steps (B, h, w, latent) and levels (B,) -> pictures (B, 16 h, 16 w, 3), about 0..1."""
        shown: Tensor = self.synthesis(y * torch.exp(self.inverse_gain(level)), level)
        return shown


class Finetuner:
    """Moves a model's synthesis; everything else stays.

    Parameters
    ----------
    model
        What to begin with; it is trained in place.
    data
        What to learn from.
    minutes
        Of training; the learning rate falls to zero over the last half.
    """

    def __init__(
        self,
        model: Decoder,
        data: Decoded,
        minutes: float,
        *,
        batch: int = 8,
        rate: float = 5e-5,
        seed: int = 1,
    ) -> None:
        self.model, self.data, self.budget = model, data, 60 * minutes
        self.batch, self.rate = batch, rate
        self.random = np.random.default_rng(seed)
        self.parameters = list(model.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.step, self.seconds = 0, 0.0

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {
            "parameters": [parameter.detach() for parameter in self.parameters],
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        runs.save_state(path, state)

    @torch.no_grad()
    def resume(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        for parameter, saved in zip(self.parameters, state["parameters"], strict=True):
            parameter.copy_(saved)
        self.average, self.step, self.seconds = state["average"], state["step"], state["seconds"]
        self.optimizer.load_state_dict(state["optimizer"])

    def run(self, path: Path, log: Callable[[str], None], every_minutes: float = 3.0) -> None:
        """Train until the minutes are over; save every so many."""
        due, losses = self.seconds + 60 * every_minutes, []
        while self.seconds < self.budget:
            start = time.perf_counter()
            progress = self.seconds / self.budget
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate * min(1.0, (self.step + 1) / 100, 2 * (1 - progress))
            loss = self._loss()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 5.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self._update_average()
            self.step += 1
            losses.append(loss.item())
            self.seconds += time.perf_counter() - start
            if self.seconds >= due:
                due += 60 * every_minutes
                self.save(path)
                log(f"step {self.step}  {self.seconds:.0f} s  loss {np.mean(losses[-400:]):.5f}")
        self.save(path)

    def _loss(self) -> Tensor:
        which = self.random.integers(0, len(self.data.level), self.batch)
        side = 12  # latent positions of a crop of the crops: 192 pixels
        top, left = (int(self.random.integers(0, self.data.y.shape[1] - side + 1)) for _ in range(2))
        y = self.data.y[which, top : top + side, left : left + side].astype(np.float32)
        rows, columns = (slice(PATCH * start, PATCH * (start + side)) for start in (top, left))
        target = torch.from_numpy(self.data.crops[which, rows, columns].astype(np.float32) / 255.0)
        level = torch.from_numpy(self.data.level[which].astype(np.float32))
        with torch.autocast("cpu", torch.bfloat16):
            shown = self.model(torch.from_numpy(y), level)
        error = ((shown.float() - target)[:, PATCH:-PATCH, PATCH:-PATCH] ** 2).mean((1, 2, 3)) * 255.0**2
        return (lambda_of(level) ** 0.7 * error).mean()

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(0.998, (1 + self.step) / (10 + self.step))
        for mean, parameter in zip(self.average, self.parameters, strict=True):
            mean.lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def finish(self) -> None:
        """Put the averages into the model."""
        for mean, parameter in zip(self.average, self.parameters, strict=True):
            parameter.copy_(mean)
