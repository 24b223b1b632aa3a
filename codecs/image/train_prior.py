"""The second stage of training: the prior alone, context steps included, on a transform that stays as it is.

Only bits count: what the transform makes of a crop does not change, so neither does the distortion. The rate of
what steers means and factors is estimated with uniform noise, that of the scales from the integers that the
encoder would choose, and the context is always what a decoder has.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from siglum.codecs import runs
from siglum.codecs.image import windows
from siglum.codecs.image.constants import LEVELS
from siglum.codecs.image.context import start_gain
from siglum.codecs.image.native_engine import NativeEngine
from siglum.codecs.image.prior_loss import rate
from siglum.codecs.image.transform import ImageModel, Preset, lambda_of
from siglum.codecs.optimising import descend, rate_factor, update_average
from siglum.datasets.images import CropSampler, find_images, split
from siglum.errors import UsageError

TRAINED = ("hyper_analysis.", "hyper_synthesis.", "context.", "hyper_scale.")
VALIDATION_LEVELS = (24, 88, 152, 216)


@dataclass(frozen=True)
class PriorRecipe:
    """Everything that decides a run besides the pictures and the transform."""

    steps: int = 10000
    batch: int = 8
    crop: int = 256
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    cooldown: float = 0.5  # part of the steps over which the rate falls to zero
    quantise_from: float = 0.7  # part of the steps after which the prior trains with 8-bit weights
    ema: float = 0.998
    error_factor: float = 26.0  # of the encoder's rounding
    correlated: bool = True  # False: independent Gaussians, the ablation
    seed: int = 1


class PriorTrainer:
    """One run in a folder: `prior.pt` to resume from, `curve.jsonl`.

    Parameters
    ----------
    recipe
        How to train.
    start
        The model to begin from, see `load_start`.
    data
        Folder of pictures; every twelfth validates.
    out
        Folder of the run.
    """

    def __init__(
        self,
        recipe: PriorRecipe,
        start: str,
        data: Path,
        out: Path,
        log: Callable[[str], None] = print,
    ) -> None:
        self.recipe, self.start, self.out, self.log = recipe, start, out, log
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        train, held_out = split(find_images(data))
        self.sampler = CropSampler(train, recipe.crop, seed=recipe.seed)
        state, preset, self.tune = load_start(start)
        self.model, self.average = begin(state, preset), begin(state, preset)
        arrays = {name: tensor.float().numpy() for name, tensor in self.model.state_dict().items()}
        self.engine = NativeEngine({name: array.copy() for name, array in arrays.items()}, preset.to_dict())
        self.validation = self._draw(CropSampler(held_out, recipe.crop, seed=0).batch(64), VALIDATION_LEVELS)
        parameters = [value for value in self.model.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(
            parameters, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
        )
        for model in (self.model, self.average):
            model.context.correlated = recipe.correlated
        self.step, self.seconds = 0, 0.0
        self.data_note = f"{len(train)} pictures of {data}"
        self.log(f"{len(train)} pictures to train on, {len(held_out)} to validate on")

    def _draw(self, crops: np.ndarray, levels: tuple[int, ...] | None = None) -> tuple[Tensor, Tensor]:
        """Latents of crops, (B, h, w, latent) in steps, at given or at random levels, (B,)."""
        count, random = len(crops), self.sampler.random
        if levels is None:
            drawn = ((np.arange(count) + random.random(count)) * (LEVELS / count)).astype(int)
        else:
            drawn = np.resize(levels, count)
        sizes = self.model.preset.to_dict()
        parts = [
            windows.analyse(self.engine, sizes, crop, int(level), 1)
            for crop, level in zip(crops, drawn, strict=True)
        ]
        return torch.from_numpy(np.stack(parts)), torch.from_numpy(drawn).float()

    def resume(self) -> bool:
        """Go on from the run's checkpoint; whether there was one."""
        path = self.out / "prior.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.sampler.random = np.random.default_rng(self.recipe.seed + self.step)
        self.log(f"resumed at step {self.step}, {self.seconds / 60:.1f} min")
        return True

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "recipe": asdict(self.recipe),
            "preset": self.model.preset.to_dict(),
            "tune": self.tune,
        }
        runs.save_state(self.out / "prior.pt", state)

    @torch.no_grad()
    def validate(self) -> list[dict[str, float]]:
        """Bits per pixel of held-out crops as they would be coded, latents and hyperlatents; one row a level."""
        self.average.eval()
        y, level = self.validation
        pixels = self.recipe.crop**2
        found: dict[int, list[list[float]]] = {}
        for begin_at in range(0, len(y), 8):
            part = slice(begin_at, begin_at + 8)
            _, bits_y, bits_z = rate(self.average, y[part], level[part], self.recipe.error_factor)
            for at, one, other in zip(level[part].tolist(), bits_y.tolist(), bits_z.tolist(), strict=True):
                found.setdefault(int(at), []).append([one / pixels, other / pixels])
        means = {at: np.mean(rows, axis=0) for at, rows in found.items()}
        return [{"level": at, "bpp_y": float(m[0]), "bpp_z": float(m[1])} for at, m in sorted(means.items())]

    def report(self) -> None:
        """Validate the averaged weights and add a line to the curve."""
        self._quantise(self.average)
        rows = self.validate()
        line = {"step": self.step, "minutes": round(self.seconds / 60, 2), "validation": rows}
        with (self.out / "curve.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        points = "  ".join(f"{row['bpp_y'] + row['bpp_z']:.4f}" for row in rows)
        self.log(f"step {self.step}  {self.seconds / 60:.1f} min  bpp {points}")

    def _quantise(self, model: ImageModel) -> None:
        quantised = self.step >= self.recipe.quantise_from * self.recipe.steps
        model.hyper_synthesis.quantised = model.context.quantised = quantised

    def _train_step(self) -> float:
        recipe = self.recipe
        self._quantise(self.model)
        y, level = self._draw(self.sampler.batch(recipe.batch))
        trained, _, _ = rate(self.model, y, level, recipe.error_factor)
        # Rates of all levels count alike in relative terms: they go about as lambda ** 0.5.
        loss = (trained / recipe.crop**2 * lambda_of(level) ** -0.5).mean()
        loss.backward()
        factor = rate_factor(self.step, self.step / recipe.steps, recipe.warmup_steps, recipe.cooldown)
        descend([self.optimizer], self.model.parameters(), recipe.learning_rate * factor)
        update_average(self.average, self.model, recipe.ema, self.step)
        self.step += 1
        return loss.item()

    def run(self, every_seconds: float = 150.0) -> None:
        """Train through all steps; validate and save every so often."""
        due, losses = self.seconds + every_seconds, []
        if not self.step:
            self.report()
        while self.step < self.recipe.steps:
            start = time.perf_counter()
            losses.append(self._train_step())
            self.seconds += time.perf_counter() - start
            if self.step % 200 == 0:
                self.log(f"step {self.step}  {self.seconds:.0f} s  loss {np.mean(losses[-200:]):.4f}")
            if self.seconds >= due:
                due = self.seconds + every_seconds
                self.report()
                self.save()
        self.report()
        self.save()


def begin(state: dict[str, Tensor], preset: Preset) -> ImageModel:
    """A model to train the prior of; context steps that the state lacks start without effect.

    Raises
    ------
    UsageError
        If the state is not of the preset.
    """
    torch.manual_seed(0)
    model = ImageModel(preset)
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("context.")}
    try:
        model.load_state_dict({**own, **state})
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"the model to start from is not of this preset ({first})") from None
    if not model.context.gain.anchors.any():  # nothing was learned yet
        start_gain(model.context, model.log_unit())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(TRAINED))
    return model


def load_start(start: str) -> tuple[dict[str, Tensor], Preset, str]:
    """State, preset and aim of installed weights, or of the checkpoint of either stage (a path ending in .pt).

    Raises
    ------
    UsageError
        If there is no such checkpoint.
    """
    from siglum.codecs.image.transform import PRESETS
    from siglum.codecs.image.weights import load_by_name

    if not start.endswith(".pt"):
        weights = load_by_name(start)
        return weights.model.state_dict(), weights.model.preset, weights.tune
    path = Path(start)
    if not path.is_file():
        raise UsageError(f"{path} is not a checkpoint")
    state = torch.load(path, weights_only=True)
    preset = Preset(**state["preset"]) if "preset" in state else PRESETS[state["recipe"]["preset"]]
    return state["average"], preset, state.get("tune") or state["recipe"].get("tune", "psnr")


def write_model(trainer: PriorTrainer, name: str, command: str) -> Path:
    """Export the averaged weights of a run as `model.safetensors` with its card; returns the path."""
    from siglum.codecs.image import export

    def point(line: dict[str, Any]) -> list[float]:
        rates = (round(row["bpp_y"] + row["bpp_z"], 5) for row in line["validation"])
        return [line["step"], line["minutes"], *rates]

    recipe = {"start": trainer.start, **asdict(trainer.recipe)}
    tensors = export.build(trainer.average, list(trainer.sampler.batch(32)), trainer.log, trainer.tune)
    return runs.write_model(trainer, tensors, point, name=name, codec="image", recipe=recipe, command=command)


def main(
    data: Path,
    out: Path,
    recipe: PriorRecipe,
    start: str,
    resume: bool = False,
    log: Callable[[str], None] = print,
    *,
    name: str = "mine",
    command: str = "",
) -> Path:
    """Train the prior of a model, then export it.

    Parameters
    ----------
    data
        Folder of pictures.
    out
        Folder of the run.
    start
        Whose transform to keep: the name of installed weights, or the path of a checkpoint (.pt).
    resume
        Go on from `out/prior.pt` where it exists.
    name
        The model's name in its card.
    command
        What to note in the card.

    Returns
    -------
    The path of the exported weights.
    """
    trainer = PriorTrainer(recipe, start, data, out, log)
    if resume:
        trainer.resume()
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    trainer.run()
    return write_model(trainer, name, command)
