"""Training of the image model: one run, every quality, resumable at any time.

The schedule goes by the clock, not by steps, because the machines that we train on are shared: warm-up,
a constant phase, and a cool-down to zero over the last part of the hours given. A run that is to go on
later resumes from `last.pt`, with more hours: the constant phase continues.
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
from siglum.codecs.image.constants import LEVELS, PATCH
from siglum.codecs.image.ms_ssim import SMALLEST_SIDE, ms_ssim
from siglum.codecs.image.transform import (
    PRESETS,
    ImageModel,
    lambda_of,
    space_to_depth,
)
from siglum.codecs.image.tuning import COSTS
from siglum.codecs.optimising import descend, make_optimizers, rate_factor, update_average
from siglum.datasets.images import CropSampler, find_images, load_rgb, split
from siglum.errors import UsageError

SAVE_SECONDS = 150.0


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run besides the pictures."""

    preset: str = "small"
    hours: float = 2.0
    batch: int = 8
    crop: int = 256
    learning_rate: float = 1e-3
    optimizer: str = "muon"
    muon_factor: float = 2.0  # Muon's learning rate in units of `learning_rate`
    warmup_steps: int = 200
    cooldown: float = 0.45  # part of the hours over which the rate falls to zero
    quantise_from: float = 0.7  # part of the hours after which the prior trains with 8-bit weights
    ema: float = 0.998
    level_weight: float = 0.3  # loss weight lambda ** -level_weight: low rates count too
    seed: int = 1
    tune: str = "psnr"  # what the pictures are to be like: a key of `tuning.COSTS`


@torch.no_grad()
def principal_components(sampler: CropSampler, count: int, crops: int = 384) -> tuple[Tensor, Tensor]:
    """The first `count` principal components (count, 768) of 16x16 patches, and their deviations (count,)."""
    x = torch.from_numpy(sampler.batch(crops)).float() / 255.0 - 0.5
    patches = space_to_depth(x, PATCH).reshape(-1, 3 * PATCH * PATCH)
    second_moment = (patches.T @ patches).double() / len(patches)
    values, vectors = torch.linalg.eigh(second_moment)
    order = torch.argsort(values, descending=True)[:count]
    return vectors[:, order].T.float(), values[order].clamp_min(1e-8).sqrt().float()


@torch.no_grad()
def validate(
    model: ImageModel, pictures: list[np.ndarray], levels: tuple[int, ...]
) -> list[dict[str, float]]:
    """Estimated bits per pixel, PSNR and MS-SSIM of rounded latents: one row a level, means over the pictures.

    MS-SSIM is there where the pictures are large enough for it.
    """
    model.eval()
    rows = []
    for level in levels:
        rates, ratios, similarities = [], [], []
        for picture in pictures:
            x = torch.from_numpy(picture.astype(np.float32))[None] / 255.0
            batch = torch.full((1,), float(level))
            out, bits_y, bits_z = model(x, batch, noise=False)
            out = torch.round(out.clamp(0, 1) * 255)
            error = torch.mean((out - x * 255) ** 2).item()
            rates.append((bits_y + bits_z).item() / (x.shape[1] * x.shape[2]))
            ratios.append(10 * math.log10(255.0**2 / max(error, 1e-9)))
            if min(x.shape[1:3]) >= SMALLEST_SIDE:
                similarities.append(ms_ssim(x, out / 255).item())
        rows.append({"level": level, "bpp": float(np.mean(rates)), "psnr": float(np.mean(ratios))})
        if similarities:
            rows[-1]["ms_ssim"] = float(np.mean(similarities))
    model.train()
    return rows


def validation_pictures(paths: list[Path], count: int = 12) -> list[np.ndarray]:
    """Centre crops, at most 512x768, of the largest validation photographs; sides are multiples of 64.

    Raises
    ------
    UsageError
        If no photograph is held out, or all are smaller than 64x64.
    """
    crops = []
    for image in map(load_rgb, paths):
        height, width = (
            min(most, side // 64 * 64) for most, side in zip((512, 768), image.shape, strict=False)
        )
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        if height and width:
            crops.append(np.ascontiguousarray(image[top : top + height, left : left + width]))
    if not crops:
        raise UsageError("every twelfth picture is held out for validation: at least 12 of 64x64 are needed")
    largest = max(crop.size for crop in crops)
    crops = [crop for crop in crops if crop.size == largest]
    return crops[:: max(1, len(crops) // count)][:count]


def training_loss(
    model: Callable[..., Any], x: Tensor, level: Tensor, recipe: Recipe
) -> tuple[Tensor, Tensor, Tensor]:
    """The weighted rate-distortion loss of a batch, and its mean rate and distortion (both in bpp)."""
    out, bits_y, bits_z = model(x, level)
    pixels = x.shape[1] * x.shape[2]
    rate = (bits_y + bits_z) / pixels
    cost = COSTS[recipe.tune](x, out, level)
    loss = (rate + cost) * lambda_of(level) ** -recipe.level_weight
    return loss.mean(), rate.mean().detach(), cost.mean().detach()


class Trainer:
    """One training run in a folder: `last.pt` to resume from, `curve.jsonl`."""

    def __init__(self, recipe: Recipe, data: Path, out: Path, log: Callable[[str], None] = print) -> None:
        self.recipe, self.out, self.log = recipe, out, log
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        train, held_out = split(find_images(data))
        self.sampler = CropSampler(train, recipe.crop, seed=recipe.seed)
        self.pictures = validation_pictures(held_out)
        self.model = ImageModel(PRESETS[recipe.preset])
        self.model.start_linear(*principal_components(self.sampler, self.model.preset.latent))
        self.optimizers = make_optimizers(
            self.model,
            lambda name: ".blocks" in name,
            recipe.learning_rate,
            (0.9, 0.98),
            muon=recipe.optimizer == "muon",
        )
        self.average = ImageModel(self.model.preset)
        self.average.load_state_dict(self.model.state_dict())
        self.step, self.seconds = 0, 0.0
        self.data_note = f"{len(train)} pictures of {data}"
        self.log(f"{len(train)} pictures to train on, {len(self.pictures)} crops to validate on")

    def begin_from(self, name: str) -> None:
        """Start from installed weights of the same preset, with fresh optimisers and a new warm-up."""
        from siglum.codecs.image.weights import load_by_name

        state = load_by_name(name).model.state_dict()
        self.model.load_state_dict(state)
        self.average.load_state_dict(state)

    def resume(self, checkpoint: Path) -> None:
        """Continue from a checkpoint of an earlier run (a file written by `save`)."""
        state = torch.load(checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]
        self.sampler.random = np.random.default_rng(self.recipe.seed + self.step)
        self.log(f"resumed at step {self.step}, {self.seconds / 3600:.2f} h")

    def save(self, name: str = "last.pt") -> None:
        """Write a checkpoint beside the others, whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "recipe": asdict(self.recipe),
        }
        runs.save_state(self.out / name, state)

    def report(self) -> None:
        """Validate the averaged weights and add a line to the curve."""
        self.average.hyper_synthesis.quantised = self.model.hyper_synthesis.quantised
        rows = validate(self.average, self.pictures, (24, 88, 152, 216))
        runs.add_point(self, rows)
        points = "  ".join(
            f"{row['bpp']:.3f}/{row['psnr']:.2f}/{row.get('ms_ssim', math.nan):.5f}" for row in rows
        )
        self.log(f"step {self.step}  {self.seconds / 3600:.2f} h  bpp/psnr/ms-ssim {points}")

    def run(self, every_minutes: float = 8.0, compiled: bool = True) -> None:
        """Train until the hours are over; validate every so many minutes, save every two and a half."""
        recipe, budget = self.recipe, self.recipe.hours * 3600
        forward = torch.compile(self.model) if compiled else self.model
        due, save_due = self.seconds + every_minutes * 60, self.seconds + SAVE_SECONDS
        losses: list[float] = []
        self.model.train()
        while self.seconds < budget:
            start = time.perf_counter()
            progress = self.seconds / budget
            quantised = progress >= recipe.quantise_from
            if quantised != self.model.hyper_synthesis.quantised:
                self.model.hyper_synthesis.quantised = quantised
            factor = rate_factor(self.step, progress, recipe.warmup_steps, recipe.cooldown)
            x = torch.from_numpy(self.sampler.batch(recipe.batch)).float() / 255.0
            level = (torch.arange(recipe.batch) + torch.rand(recipe.batch)) * (LEVELS / recipe.batch)
            with torch.autocast("cpu", torch.bfloat16):
                loss, _, _ = training_loss(forward, x, level, recipe)
            loss.backward()
            norm = descend(
                self.optimizers,
                self.model.parameters(),
                recipe.learning_rate * factor,
                muon=recipe.muon_factor,
            )
            update_average(self.average, self.model, self.recipe.ema, self.step)
            self.step += 1
            losses.append(loss.item())
            self.seconds += time.perf_counter() - start
            if self.step % 200 == 0:
                self.log(
                    f"step {self.step}  {self.seconds:.0f} s  loss {np.mean(losses[-200:]):.4f}  norm {norm:.2f}"
                )
            if self.seconds >= due:
                due = self.seconds + every_minutes * 60
                self.report()
            if self.seconds >= save_due:
                save_due = self.seconds + SAVE_SECONDS
                self.save()
        self.report()
        self.save()


def write_model(trainer: Trainer, name: str, command: str) -> Path:
    """Export the averaged weights of a run as `model.safetensors` with its card; returns the path."""
    from siglum.codecs.image import export

    recipe = trainer.recipe
    tensors = export.build(trainer.average, list(trainer.sampler.batch(32)), trainer.log, recipe.tune)
    return runs.write_model(
        trainer, tensors, runs.rate_and_psnr, name=name, codec="image", recipe=asdict(recipe), command=command
    )


def main(
    data: Path,
    out: Path,
    recipe: Recipe,
    resume: bool = False,
    log: Callable[[str], None] = print,
    *,
    name: str = "mine",
    start: str | None = None,
    command: str = "",
) -> Path:
    """Train, then export.

    Parameters
    ----------
    data
        Folder of pictures.
    out
        Folder of the run.
    resume
        Go on from `out/last.pt` where it exists.
    name
        The model's name in its card.
    start
        Name of installed weights to begin from, with fresh optimisers; None: from principal components.
    command
        What to note in the card.

    Returns
    -------
    The path of the exported weights.
    """
    trainer = Trainer(recipe, data, out, log)
    if start is not None:
        trainer.begin_from(start)
    if resume and (out / "last.pt").exists():
        trainer.resume(out / "last.pt")
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    trainer.run()
    return write_model(trainer, name, command)
