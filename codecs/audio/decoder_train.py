"""Second stage of training: the decoder alone, against a discriminator, with encoder and codebooks as they are.

Files stay what they are, bit for bit, and the prior of the codes stays valid: only how codes sound changes. The
decoder sees what it will get: codes chosen by the shipped codebooks at the layout that ships, and the noise that
decoding draws in the highest bins.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from siglum.codecs import models, runs
from siglum.codecs.audio import export, weights
from siglum.codecs.audio.constants import NOISE_GAIN, NOISE_REACH
from siglum.codecs.audio.discriminator import SpectrumDiscriminator, decoder_losses, learner_loss, windows_for
from siglum.codecs.audio.losses import reconstruction
from siglum.codecs.audio.presets import Preset
from siglum.codecs.audio.restore import decoder_parameters, model_of
from siglum.codecs.audio.train import RunRecipe, optimizers_of, segments_of, shown, validate
from siglum.codecs.optimising import descend, rate_factor, update_average

SAVE_SECONDS = 240.0


@dataclass(frozen=True)
class DecoderRecipe(RunRecipe):
    """Everything that decides a run besides the recordings and the model."""

    learning_rate: float = 4e-4
    adversarial: float = 0.06  # weight of being found out
    features: float = 0.12  # of the distance of the discriminator's features
    learner_rate: float = 3e-4  # of the discriminator
    apart: int = 300  # steps in which the discriminator learns before the decoder listens to it


class DecoderTrainer:
    """One run in a folder: `last.pt` to resume from, `curve.jsonl`."""

    def __init__(
        self, recipe: DecoderRecipe, model: str, data: Path, out: Path, log: Callable[[str], None] = print
    ) -> None:
        self.recipe, self.out, self.log = recipe, out, log
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.tensors = models.load(models.named(model, weights.CODEC))
        made = weights.make(self.tensors, b"")
        self.preset, self.books = made.preset, made.books
        self.model, self.average = (model_of(self.tensors, self.preset) for _ in range(2))
        for network in (self.model, self.average):
            network.requires_grad_(False)
        self.trained = decoder_parameters(self.model)
        for parameter in self.trained.values():
            parameter.requires_grad_(True)
        self.segments = segments_of(recipe, self.preset, data, out)
        self.discriminator = SpectrumDiscriminator(windows_for(self.preset.rate))
        self.optimizers = optimizers_of(self.model, recipe)
        self.learner = torch.optim.AdamW(
            self.discriminator.parameters(), recipe.learner_rate, (0.8, 0.98), weight_decay=0.0
        )
        self.step, self.seconds = 0, 0.0
        self.data_note = self.segments.note
        self.log(f"{self.data_note} to train on, {len(self.segments.clips)} clips of others to validate on")

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """Everything with a state."""
        return {
            "model": self.model,
            "average": self.average,
            "discriminator": self.discriminator,
            "learner": self.learner,
            **{f"optimizer{i}": optimizer for i, optimizer in enumerate(self.optimizers)},
        }

    def resume(self, checkpoint: Path) -> None:
        """Continue from a checkpoint of an earlier run."""
        state = torch.load(checkpoint, weights_only=True)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step, self.seconds = state["step"], state["seconds"]
        self.segments.reseed(self.step)
        self.log(f"resumed at step {self.step}, {self.seconds / 3600:.2f} h")

    def save(self) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        runs.save_state(self.out / "last.pt", {**state, "step": self.step, "seconds": self.seconds})

    @torch.no_grad()
    def coded(self, x: Tensor, counts: Tensor) -> Tensor:
        """Latents (B, T, D) of the codes that segments (B, N) get at so many stages a frame (B, T)."""
        latents = self.model.analyse(x)
        flat = np.ascontiguousarray(latents.flatten(0, 1).numpy(), np.float32)
        codes, _ = self.books.encode(flat)
        return torch.from_numpy(self.books.decode(codes, counts.numpy().ravel())).reshape(latents.shape)

    def train_step(self, factor: float) -> dict[str, float]:
        """One step of decoder and discriminator; returns what to log."""
        recipe, p = self.recipe, self.preset
        x, counts, part = self.segments.draw(recipe.batch)
        judged = slice(None, None, 2), slice(p.window, -p.window)  # half of them, to save time
        with torch.autocast("cpu", torch.bfloat16):
            latents = self.coded(x, counts)
            spectra, low = self.model.decoded_spectra(latents)
        y = self.model.waves(with_noise(spectra, p), low)
        with torch.autocast("cpu", torch.bfloat16):
            decoded = self.discriminator(y.detach()[judged])
            recorded = self.discriminator(x[judged])
            learned = learner_loss(recorded, decoded)
        learned.backward()
        descend([self.learner], self.discriminator.parameters(), recipe.learner_rate * factor)

        terms = reconstruction(x, y, p.rate, p.window)
        loss = terms.weighed(part, recipe.weights)
        logged = {"loss": loss.item(), "mel": terms.mel.mean().item(), "loud": terms.loudness.mean().item()}
        if self.step >= recipe.apart:
            self.discriminator.requires_grad_(False)
            with torch.autocast("cpu", torch.bfloat16):
                found, features = decoder_losses(self.discriminator(x[judged]), self.discriminator(y[judged]))
            self.discriminator.requires_grad_(True)
            loss = loss + recipe.adversarial * found + recipe.features * features
            logged |= {"found": found.item(), "features": features.item()}
        loss.backward()
        descend(self.optimizers, self.trained.values(), recipe.learning_rate * factor)
        update_average(self.average, self.model, recipe.ema, self.step)
        self.step += 1
        return {**logged, "learner": learned.item()}

    @torch.no_grad()
    def report(self) -> None:
        """Validate the averaged weights and add a line to the curve."""
        rows = validate(self.average.eval(), self.segments.clips)
        runs.add_point(self, rows)
        self.log(f"step {self.step}  {self.seconds / 3600:.2f} h  {shown(rows)}")

    def run(self, every_minutes: float = 10.0) -> None:
        """Train until the hours are over."""
        recipe, budget = self.recipe, self.recipe.hours * 3600
        due, save_due = self.seconds + every_minutes * 60, self.seconds + SAVE_SECONDS
        recent: list[dict[str, float]] = []
        if not self.step:
            self.report()
        while self.seconds < budget:
            start = time.perf_counter()
            factor = rate_factor(self.step, self.seconds / budget, recipe.warmup_steps, recipe.cooldown)
            recent.append(self.train_step(factor))
            self.seconds += time.perf_counter() - start
            if self.step % 50 == 0:
                means = "  ".join(
                    f"{name} {np.mean([r.get(name, np.nan) for r in recent]):.4f}" for name in recent[-1]
                )
                self.log(f"step {self.step}  {self.seconds:.0f} s  {means}")
                recent.clear()
            if self.seconds >= due:
                due = self.seconds + every_minutes * 60
                self.report()
            if self.seconds >= save_due:
                save_due = self.seconds + SAVE_SECONDS
                self.save()
        self.report()
        self.save()


def with_noise(spectra: Tensor, preset: Preset) -> Tensor:
    """Complex (B, 2T, bins) with other random directions in the highest bins each time, as `noise.Noise` has them."""
    frequencies = torch.arange(preset.bins) * (preset.rate / preset.window)
    start, full = preset.noise_from, preset.noise_to
    share = ((frequencies - start) / (full - start)).clamp(0, 1)
    first = int(torch.searchsorted(frequencies, start))
    high, share = spectra[..., first:], share[first:]
    power = functional.pad(
        high.real.square() + high.imag.square(), (NOISE_REACH, NOISE_REACH), mode="replicate"
    )
    even = functional.avg_pool1d(power, 2 * NOISE_REACH + 1, 1)
    size = (even + 1e-12).sqrt() * share * NOISE_GAIN
    angles = torch.rand(size.shape) * (2 * torch.pi)
    drawn = torch.complex(size * angles.cos(), size * angles.sin())
    return torch.cat([spectra[..., :first], high * (1 - share) + drawn], -1)


def write_model(trainer: DecoderTrainer, name: str, command: str) -> Path:
    """Write the model with its new decoder and everything else as it was; returns the path."""
    made = weights.narrowed(export.tensors_of(trainer.average.eval()))
    tensors = {
        key: made[key] if key.startswith("decoder.") else array for key, array in trainer.tensors.items()
    }
    return runs.write_model(
        trainer,
        tensors,
        runs.stages_and_scores,
        name=name,
        codec="audio",
        recipe=asdict(trainer.recipe),
        command=command,
    )


def main(
    model: str,
    data: Path,
    out: Path,
    recipe: DecoderRecipe,
    resume: bool = False,
    log: Callable[[str], None] = print,
    *,
    name: str = "mine",
    command: str = "",
) -> Path:
    """Train the decoder of an installed model and export it; parameters as `siglum.codecs.audio.train.main` has.

    Raises
    ------
    UnknownModel
        If there is no such model.
    """
    trainer = DecoderTrainer(recipe, model, data, out, log)
    if resume and (out / "last.pt").exists():
        trainer.resume(out / "last.pt")
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    trainer.run()
    return write_model(trainer, name, command)
