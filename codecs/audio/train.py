"""Training of the audio models: one run, every rate, resumable at any time; its schedule goes by the clock."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from siglum.codecs import runs
from siglum.codecs.audio.losses import mel_loss, reconstruction
from siglum.codecs.audio.presets import PRESETS, Preset
from siglum.codecs.audio.segments import Segments, levelled
from siglum.codecs.audio.transform import AudioModel
from siglum.codecs.optimising import descend, make_optimizers, rate_factor, update_average

SAVE_SECONDS = 240.0
STARTING = 120  # batches whose latents the quantizer starts from
PRIOR_HOURS = 4.0  # of recordings whose codes the prior learns from


@dataclass(frozen=True)
class RunRecipe:
    """What decides a run of either stage of training."""

    hours: float = 2.0
    batch: int = 12
    frames: int = 64
    learning_rate: float = 1e-3
    muon: bool = True
    warmup_steps: int = 200
    cooldown: float = 0.4
    ema: float = 0.998
    mel: float = 1.0
    loudness: float = 0.25
    phase: float = 1.0  # weight of the complex distance at all stages; less at fewer
    low: float = 0.8  # of the waveform of the lowest frequencies, likewise
    seed: int = 1
    held_out: tuple[str, ...] = ()
    speeds: tuple[float, ...] = (0.89, 1.0, 1.13)  # every recording at each: more voices

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """Of the distances in `losses.Terms`."""
        return self.mel, self.loudness, self.phase, self.low


@dataclass(frozen=True)
class Recipe(RunRecipe):
    """Everything that decides a training run besides the recordings."""

    preset: str = "speech"
    continuous: int = 800  # steps before the quantizer begins
    commitment: float = 1.0


def optimizers_of(model: nn.Module, recipe: RunRecipe) -> list[torch.optim.Optimizer]:
    """What trains an audio model; fewer iterations of Muon than usual, which are much of a step's time here."""

    def hidden(name: str) -> bool:
        return name.endswith(("widen.weight", "narrow.weight"))

    return make_optimizers(model, hidden, recipe.learning_rate, (0.8, 0.98), muon=recipe.muon, iterations=4)


def segments_of(recipe: RunRecipe, preset: Preset, data: Path, out: Path) -> Segments:
    """What a run in a folder learns from."""
    return Segments(
        data,
        preset,
        frames=recipe.frames,
        held_out=recipe.held_out,
        speeds=recipe.speeds,
        seed=recipe.seed,
        cache=out / "samples.npz",
    )


class Trainer:
    """One training run in a folder: `last.pt` to resume from, `curve.jsonl`."""

    def __init__(self, recipe: Recipe, data: Path, out: Path, log: Callable[[str], None] = print) -> None:
        self.recipe, self.out, self.log = recipe, out, log
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.model = AudioModel(PRESETS[recipe.preset])
        self.average = AudioModel(self.model.preset)
        self.average.load_state_dict(self.model.state_dict())
        self.segments = segments_of(recipe, self.model.preset, data, out)
        self.model.start_skip(levelled(self.segments.batch(80)))
        self.optimizers = optimizers_of(self.model, recipe)
        self.step, self.seconds = 0, 0.0
        self.data_note = self.segments.note
        self.log(f"{self.data_note} to train on, {len(self.segments.clips)} clips of others to validate on")

    def resume(self, checkpoint: Path) -> None:
        """Continue from a checkpoint of an earlier run."""
        state = torch.load(checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.model.quantised = self.average.quantised = state["quantised"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]
        self.segments.reseed(self.step)
        self.log(f"resumed at step {self.step}, {self.seconds / 3600:.2f} h")

    def save(self, name: str = "last.pt") -> None:
        """Write a checkpoint, whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "quantised": self.model.quantised,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "recipe": asdict(self.recipe),
        }
        runs.save_state(self.out / name, state)

    def start_quantizer(self) -> None:
        """Set rotation and codebooks from latents of training segments."""
        with torch.no_grad():
            latents = torch.cat(
                [self.model.analyse(self.segments.draw(self.recipe.batch)[0]) for _ in range(STARTING)]
            )
            self.model.quantizer.start_parts(latents.reshape(-1, latents.shape[-1]), self.model.low_in)
        self.average.load_state_dict(self.model.state_dict())
        self.model.quantised = self.average.quantised = True
        self.log(f"step {self.step}: quantizer started from {latents.shape[0] * latents.shape[1]} frames")

    @torch.no_grad()
    def report(self) -> None:
        """Validate the averaged weights and add a line to the curve."""
        self.average.eval()
        self.average.quantizer.load_state_dict(self.model.quantizer.state_dict())
        rows = validate(self.average, self.segments.clips)
        runs.add_point(self, rows)
        self.log(f"step {self.step}  {self.seconds / 3600:.2f} h  {shown(rows)}")

    def run(self, every_minutes: float = 10.0) -> None:
        """Train until the hours are over."""
        recipe, budget = self.recipe, self.recipe.hours * 3600
        p = self.model.preset
        due, save_due = self.seconds + every_minutes * 60, self.seconds + SAVE_SECONDS
        recent: list[list[float]] = []
        self.model.train()
        while self.seconds < budget:
            start = time.perf_counter()
            if not self.model.quantised and self.step >= recipe.continuous:
                self.start_quantizer()
            factor = rate_factor(self.step, self.seconds / budget, recipe.warmup_steps, recipe.cooldown)
            x, counts, part = self.segments.draw(recipe.batch)
            with torch.autocast("cpu", torch.bfloat16):
                y, commitment, usage = self.model(x, counts)
            terms = reconstruction(x, y.float(), p.rate, p.window)
            loss = terms.weighed(part, recipe.weights) + recipe.commitment * commitment
            loss.backward()
            norm = descend(self.optimizers, self.model.parameters(), recipe.learning_rate * factor)
            update_average(self.average, self.model, self.recipe.ema, self.step)
            self.step += 1
            recent.append([v.mean().item() for v in (loss, *terms, commitment)])
            self.seconds += time.perf_counter() - start
            if self.step % 100 == 0:
                means = "  ".join(f"{v:.4f}" for v in np.mean(recent[-100:], axis=0))
                used = f"  used {min(usage):.2f}" if usage else ""
                self.log(
                    f"step {self.step}  {self.seconds:.0f} s  loss/mel/loud/phase/low/commit {means}"
                    f"  norm {norm:.2f}{used}"
                )
            if self.seconds >= due:
                due = self.seconds + every_minutes * 60
                self.report()
            if self.seconds >= save_due:
                save_due = self.seconds + SAVE_SECONDS
                self.save()
        if not self.model.quantised:
            self.start_quantizer()
        self.report()
        self.save()


@torch.no_grad()
def validate(model: AudioModel, recordings: list[NDArray[np.float32]]) -> list[dict[str, float]]:
    """Mel distance, and PESQ and STOI where there are such, at some numbers of stages."""
    p = model.preset
    rows = []
    for stages in sorted({min(count, p.stages) for count in (2, 3, p.stages)}):
        found: list[dict[str, float]] = []
        for samples in recordings:
            x = levelled(torch.from_numpy(samples)[None])
            latents = model.analyse(x)
            if model.quantised:
                codes = model.quantizer.encode(latents, stages=stages * p.groups)
                latents = model.quantizer.decode(codes)
            y = model.synthesise(latents)
            heard = _heard(x[0].numpy(), y[0].clamp(-1, 1).numpy(), p.rate)
            found.append({"mel": mel_loss(x, y, p.rate).item(), **heard})
        rows.append(
            {"stages": stages, **{name: float(np.mean([row[name] for row in found])) for name in found[0]}}
        )
    return rows


def shown(rows: list[dict[str, float]]) -> str:
    """What `validate` gave, for the log."""
    scores = [name for name in rows[0] if name != "stages"]
    values = (f"{row['stages']}: " + "/".join(f"{row[name]:.3f}" for name in scores) for row in rows)
    return f"stages: {'/'.join(scores)} " + "  ".join(values)


def _heard(x: NDArray[np.float32], y: NDArray[np.float32], rate: int) -> dict[str, float]:
    """PESQ, where the rate is 16 kHz, and STOI; without those whose packages are absent."""
    scores = {}
    if rate == 16000 and find_spec("pesq"):
        from pesq import pesq

        scores["pesq"] = float(pesq(rate, x, y, "wb"))
    if find_spec("pystoi"):
        from pystoi import stoi

        scores["stoi"] = float(stoi(x, y, rate))
    return scores


def write_model(trainer: Trainer, name: str, command: str, minutes: float) -> Path:
    """Train the prior of a run's averaged model and write `model.safetensors` with its card; returns the path."""
    from siglum.codecs.audio import export, prior_train
    from siglum.codecs.audio.extend import LAYOUTS, extended

    model, recipe = trainer.average.eval(), trainer.recipe
    with torch.no_grad():
        batches = [trainer.segments.batch(12) for _ in range(60)]
        latents = torch.cat([model.analyse(levelled(batch)).flatten(0, 1) for batch in batches])
    model = extended(model, latents, LAYOUTS.get(recipe.preset, model.preset.layout), recipe.seed)
    coded = prior_train.code_recordings(
        model, trainer.segments.train, PRIOR_HOURS, recipe.seed, recipe.speeds
    )
    held = prior_train.code_recordings(model, trainer.segments.held or trainer.segments.train[::50], 0.1)
    tensors, metadata, _ = prior_train.make(model, coded, held, minutes=minutes, log=trainer.log)
    segments = levelled(trainer.segments.batch(64)).numpy()
    made = export.build(model, segments, tensors, metadata)
    noted = {**asdict(recipe), "prior_minutes": minutes}
    return runs.write_model(
        trainer, made, runs.stages_and_scores, name=name, codec="audio", recipe=noted, command=command
    )


def main(
    data: Path,
    out: Path,
    recipe: Recipe,
    resume: bool = False,
    log: Callable[[str], None] = print,
    *,
    name: str = "mine",
    prior_minutes: float = 12.0,
    command: str = "",
) -> Path:
    """Train networks and codebooks, then the prior of their codes, and export both.

    Parameters
    ----------
    data
        Folder of recordings, a folder a speaker.
    out
        Folder of the run.
    resume
        Go on from `out/last.pt` where it exists.
    name
        The model's name in its card.
    prior_minutes
        Processor time for the prior.
    command
        What to note in the card.

    Returns
    -------
    The path of the exported weights.
    """
    trainer = Trainer(recipe, data, out, log)
    if resume and (out / "last.pt").exists():
        trainer.resume(out / "last.pt")
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    trainer.run()
    return write_model(trainer, name, command, prior_minutes)
