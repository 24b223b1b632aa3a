"""Training of the image-fast model: projections, contexts and decoder at once, every quality and prefix, resumable.

It starts from the installed weights of the image codec (their linear branch and synthesis), goes by the clock as
`siglum.codecs.image.train` does, and ends with the contexts in 8-bit weights.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from siglum.codecs import runs
from siglum.codecs.image.train import lambda_of, principal_components, validation_pictures
from siglum.codecs.image_fast import transform
from siglum.codecs.image_fast.constants import CHANNELS, GROUPS, LEVELS
from siglum.codecs.image_fast.transform import FastModel
from siglum.codecs.optimising import update_average
from siglum.datasets.images import CropSampler, find_images, split


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run besides the pictures."""

    hours: float = 1.0
    batch: int = 8
    crop: int = 256
    learning_rate: float = 6e-4
    warmup_steps: int = 60
    cooldown: float = 0.5  # part of the hours over which the rate falls to zero
    quantise_from: float = 0.7  # part of the hours after which the contexts train with 8-bit weights
    adapt_from: float = (
        0.6  # part of the hours after which the decoder sees coefficients as the encoder rounds them
    )
    ema: float = 0.995
    level_weight: float = 0.3  # loss weight lambda ** -level_weight: low rates count too
    prefixes: float = 0.25  # part of the samples that are cut to a random prefix of groups
    start: str = "small"  # installed weights of the image codec to begin from, or "pca"
    seed: int = 1


@torch.no_grad()
def validate(model: FastModel, pictures: list[np.ndarray], levels: tuple[int, ...]) -> list[dict[str, float]]:
    """Estimated bits per pixel and PSNR of rounded coefficients: one row a level, means over the pictures."""
    model.eval()
    rows = []
    for level in levels:
        rates, ratios = [], []
        for picture in pictures:
            x = torch.from_numpy(picture.astype(np.float32))[None] / 255.0
            out, bits = model(x, torch.full((1,), float(level)), noise=False)
            error = torch.mean((torch.round(out.clamp(0, 1) * 255) - x * 255) ** 2).item()
            rates.append(bits.item() / (x.shape[1] * x.shape[2]))
            ratios.append(10 * math.log10(255.0**2 / max(error, 1e-9)))
        rows.append({"level": level, "bpp": float(np.mean(rates)), "psnr": float(np.mean(ratios))})
    model.train()
    return rows


def random_prefixes(count: int, share: float) -> Tensor:
    """(count,) channels that each sample keeps: most of them all."""
    ends = torch.tensor([sum(GROUPS[: i + 1]) for i in range(len(GROUPS))])
    chosen = ends[torch.randint(len(ends), (count,))]
    return torch.where(torch.rand(count) < share, chosen, torch.full((count,), CHANNELS))


class Trainer:
    """One training run in a folder: `last.pt` to resume from, `curve.jsonl`."""

    def __init__(self, recipe: Recipe, data: Path, out: Path, log: Callable[[str], None] = print) -> None:
        self.recipe, self.out, self.log = recipe, out, log
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        train, held_out = split(find_images(data))
        self.sampler = CropSampler(train, recipe.crop, seed=recipe.seed)
        self.pictures = validation_pictures(held_out)
        self.model, self.average = FastModel(), FastModel()
        self._begin()
        self.average.load_state_dict(self.model.state_dict())
        self.optimizer = torch.optim.AdamW(
            [{"params": parameters, "factor": factor} for parameters, factor in self._parameters()],
            lr=recipe.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=0.0,
        )
        self.step, self.seconds = 0, 0.0
        self.data_note = f"{len(train)} pictures of {data}"
        self.log(f"{len(train)} pictures to train on, {len(self.pictures)} crops to validate on")

    def _begin(self) -> None:
        from siglum.codecs.image.weights import load_by_name

        x = torch.from_numpy(self.sampler.batch(64)).float() / 255.0
        name = self.recipe.start
        state = load_by_name("small" if name == "pca" else name).model.state_dict()
        components = principal_components(self.sampler, CHANNELS)[0] if name == "pca" else None
        transform.start(self.model, state, x, components)

    def _parameters(self) -> list[tuple[list[torch.nn.Parameter], float]]:
        """Parameters and the factors of their learning rates: what is new learns faster."""
        slow: list[torch.nn.Parameter] = []
        fast: list[torch.nn.Parameter] = []
        for name, parameter in self.model.named_parameters():
            (fast if name.startswith(("steps.", "means.")) else slow).append(parameter)
        return [(slow, 1.0), (fast, 4.0)]

    def resume(self, checkpoint: Path) -> None:
        """Continue from a checkpoint of an earlier run (a file written by `save`)."""
        state = torch.load(checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.sampler.random = np.random.default_rng(self.recipe.seed + self.step)
        self.log(f"resumed at step {self.step}, {self.seconds / 3600:.2f} h")

    def save(self) -> None:
        """Write a checkpoint, whole or not at all."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "recipe": asdict(self.recipe),
        }
        runs.save_state(self.out / "last.pt", state)

    def report(self) -> None:
        """Validate the averaged weights and add a line to the curve."""
        rows = validate(self.average, self.pictures, (24, 88, 152, 216))
        runs.add_point(self, rows)
        points = "  ".join(f"{row['bpp']:.3f}/{row['psnr']:.2f}" for row in rows)
        self.log(f"step {self.step}  {self.seconds / 3600:.2f} h  bpp/psnr {points}")

    def _adapt(self) -> None:
        from siglum.codecs.image_fast import export

        crops = list(self.sampler.batch(24))
        found = export.calibrate(self.average, crops, export.FIRST_WEIGHT)
        rounding = torch.from_numpy(export.thresholds(found.tables, found.error_weight))
        for model in (self.model, self.average):
            model.round_as_coded(rounding, found.skip)
        self.log("the decoder sees coefficients as they are coded from here on")

    def _loss(self) -> Tensor:
        recipe = self.recipe
        x = torch.from_numpy(self.sampler.batch(recipe.batch)).float() / 255.0
        level = (torch.arange(recipe.batch) + torch.rand(recipe.batch)) * (LEVELS / recipe.batch)
        prefix = random_prefixes(recipe.batch, recipe.prefixes)
        with torch.autocast("cpu", torch.bfloat16):
            out, bits = self.model(x, level, prefix)
        rate = bits / (x.shape[1] * x.shape[2])
        error = ((out.float() - x) ** 2).mean((1, 2, 3)) * 255.0**2
        weight = lambda_of(level)
        return ((rate + weight * error) * weight**-recipe.level_weight).mean()

    def run(self, every_minutes: float = 2.5) -> None:
        """Train until the hours are over; validate and save every so many minutes."""
        recipe, budget = self.recipe, self.recipe.hours * 3600
        due = self.seconds + every_minutes * 60
        losses: list[float] = []
        self.model.train()
        while self.seconds < budget:
            begun = time.perf_counter()
            progress = self.seconds / budget
            quantised = progress >= recipe.quantise_from
            self.model.set_quantised(quantised)
            self.average.set_quantised(quantised)
            if progress >= recipe.adapt_from and not self.model.rounds_as_coded:
                self._adapt()
            factor = min(1.0, (self.step + 1) / recipe.warmup_steps)
            factor *= min(1.0, (1.0 - progress) / recipe.cooldown)
            loss = self._loss()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
            for group in self.optimizer.param_groups:
                group["lr"] = recipe.learning_rate * factor * group["factor"]
            if torch.isfinite(norm):
                self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            update_average(self.average, self.model, self.recipe.ema, self.step)
            self.step += 1
            losses.append(loss.item())
            self.seconds += time.perf_counter() - begun
            if self.step % 50 == 0:
                mean = float(np.mean(losses[-50:]))
                self.log(f"step {self.step}  {self.seconds:.0f} s  loss {mean:.4f}  norm {norm:.2f}")
            if self.seconds >= due:
                due = self.seconds + every_minutes * 60
                self.report()
                self.save()
        self.report()
        self.save()


def write_model(trainer: Trainer, name: str, command: str) -> Path:
    """Export the averaged weights of a run as `model.safetensors` with its card; returns the path."""
    from siglum.codecs.image_fast import export

    recipe = asdict(trainer.recipe)
    tensors = export.build(trainer.average, list(trainer.sampler.batch(32)), trainer.log)
    return runs.write_model(
        trainer, tensors, runs.rate_and_psnr, name=name, codec="image-fast", recipe=recipe, command=command
    )


def main(
    data: Path,
    out: Path,
    recipe: Recipe,
    resume: bool = False,
    log: Callable[[str], None] = print,
    *,
    name: str = "mine",
    command: str = "",
) -> Path:
    """Train, then export; see `siglum.codecs.image.train.main`."""
    trainer = Trainer(recipe, data, out, log)
    if resume and (out / "last.pt").exists():
        trainer.resume(out / "last.pt")
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    trainer.run()
    return write_model(trainer, name, command)
