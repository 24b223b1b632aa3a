"""Training of the audio models: one run, every rate, resumable at any time; its schedule goes by the clock."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from siglum.codecs.audio.constants import LEVEL
from siglum.codecs.audio.losses import complex_loss, loudness_loss, low_loss, mel_loss
from siglum.codecs.audio.presets import PRESETS
from siglum.codecs.audio.transform import AudioModel
from siglum.codecs.optimising import make_optimizers, rate_factor, update_average
from siglum.datasets.audio import SegmentSampler, find_recordings, load, speakers
from siglum.errors import UsageError

SAVE_SECONDS = 240.0
PRIOR_HOURS = 4.0  # of recordings whose codes the prior learns from
SILENCE = 1e-3  # frames below that part of the level may have no codes


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run besides the recordings."""

    preset: str = "speech"
    hours: float = 2.0
    batch: int = 12
    frames: int = 64
    learning_rate: float = 1e-3
    muon: bool = True
    warmup_steps: int = 200
    continuous: int = 800  # steps before the quantizer begins
    cooldown: float = 0.4
    ema: float = 0.998
    mel: float = 1.0
    loudness: float = 0.25
    phase: float = 1.0  # weight of the complex distance at all stages; less at fewer
    low: float = 0.8  # of the waveform of the lowest frequencies, likewise
    commitment: float = 1.0
    seed: int = 1
    held_out: tuple[str, ...] = ()
    speeds: tuple[float, ...] = (0.89, 1.0, 1.13)  # every recording at each: more voices


def optimizers_of(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """What trains an audio model; fewer iterations of Muon than usual, which are much of a step's time here."""

    def hidden(name: str) -> bool:
        return name.endswith(("widen.weight", "narrow.weight"))

    return make_optimizers(model, hidden, recipe.learning_rate, (0.8, 0.98), muon=recipe.muon, iterations=4)


def levelled(samples: Tensor) -> Tensor:
    """(B, N) at a root mean square of `LEVEL`, peaks at most 0.99."""
    size = samples.square().mean(1, keepdim=True).sqrt()
    peak = samples.abs().amax(1, keepdim=True)
    return samples * torch.minimum(LEVEL / (size + 1e-5), 0.99 / (peak + 1e-5))


class Trainer:
    """One training run in a folder: `last.pt` to resume from, `curve.jsonl`."""

    def __init__(self, recipe: Recipe, data: Path, out: Path, log: Callable[[str], None] = print) -> None:
        self.recipe, self.out, self.log = recipe, out, log
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.random = np.random.default_rng(recipe.seed)
        self.model = AudioModel(PRESETS[recipe.preset])
        self.average = AudioModel(self.model.preset)
        self.average.load_state_dict(self.model.state_dict())
        groups = speakers(find_recordings(data), data)
        missing = set(recipe.held_out) - set(groups)
        if missing:
            raise UsageError(f"{data} has no folder {', '.join(sorted(missing))} to hold out")
        train = [path for name, paths in groups.items() if name not in recipe.held_out for path in paths]
        held = [path for name in recipe.held_out for path in groups[name]]
        p = self.model.preset
        self.sampler = SegmentSampler(
            train, p.rate, recipe.frames * p.frame, recipe.speeds, recipe.seed, out / "samples.npz"
        )
        self.train_paths, self.held_paths = train, held
        self.clips = clips(held or train[::50], p.rate, p.frame)
        self.model.start_skip(levelled(torch.from_numpy(self.sampler.batch(80))))
        self.optimizers = optimizers_of(self.model, recipe)
        self.step, self.seconds = 0, 0.0
        self.data_note = f"{len(train)} recordings of {data}"
        self.log(f"{len(train)} recordings to train on, {len(self.clips)} clips of others to validate on")

    def resume(self, checkpoint: Path) -> None:
        """Continue from a checkpoint of an earlier run."""
        state = torch.load(checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.model.quantised = self.average.quantised = state["quantised"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]
        self.sampler.random = np.random.default_rng(self.recipe.seed + self.step)
        self.random = np.random.default_rng(self.recipe.seed + self.step + 1)
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
        temporary = self.out / (name + ".tmp")
        torch.save(state, temporary)
        temporary.replace(self.out / name)

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """A batch (B, N), its stages a frame (B, T), and the part of all stages that each entry has (B,)."""
        recipe, p = self.recipe, self.model.preset
        x = torch.from_numpy(self.sampler.batch(recipe.batch))
        tilt = torch.from_numpy(self.random.uniform(-0.4, 0.4, (recipe.batch, 1)).astype(np.float32))
        x = x - tilt * torch.nn.functional.pad(x, (1, 0))[:, :-1]
        gain = torch.from_numpy(self.random.uniform(-6, 6, (recipe.batch, 1)).astype(np.float32))
        x = levelled(levelled(x) * 10 ** (gain / 20)) * 10 ** (gain / 20)
        counts = self.random.integers(1, p.stages + 1, (recipe.batch, 1)).repeat(recipe.frames, 1)
        counts[self.random.random(recipe.batch) < 0.3] = p.stages
        mixed = self.random.random(recipe.batch) < 0.3  # every frame its own, in the neighbourhood
        wobble = self.random.integers(-1, 2, counts.shape) * mixed[:, None]
        counts = np.clip(counts + wobble, 1, p.stages)
        frames = x.reshape(recipe.batch, recipe.frames, p.frame).square().mean(2).sqrt().numpy()
        silent = (frames < SILENCE * LEVEL * 4) & (self.random.random(counts.shape) < 0.5)
        counts[silent] = 0
        return x.clamp(-1, 1), torch.from_numpy(counts), torch.from_numpy(counts.mean(1) / p.stages).float()

    def start_quantizer(self) -> None:
        """Set rotation and codebooks from latents of training segments."""
        with torch.no_grad():
            latents = torch.cat([self.model.analyse(self.draw()[0]) for _ in range(120)])
            self.model.quantizer.start_parts(latents.reshape(-1, latents.shape[-1]), self.model.low_in)
        self.average.load_state_dict(self.model.state_dict())
        self.model.quantised = self.average.quantised = True
        self.log(f"step {self.step}: quantizer started from {latents.shape[0] * latents.shape[1]} frames")

    @torch.no_grad()
    def report(self) -> None:
        """Validate the averaged weights and add a line to the curve."""
        self.average.eval()
        self.average.quantizer.load_state_dict(self.model.quantizer.state_dict())
        rows = validate(self.average, self.clips)
        line = {"step": self.step, "hours": round(self.seconds / 3600, 4), "validation": rows}
        with (self.out / "curve.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        text = "  ".join(f"{r['stages']}: {r['mel']:.3f}/{r['pesq']:.2f}/{r['stoi']:.3f}" for r in rows)
        self.log(f"step {self.step}  {self.seconds / 3600:.2f} h  stages: mel/pesq/stoi {text}")

    def run(self, every_minutes: float = 10.0) -> None:
        """Train until the hours are over."""
        recipe, budget = self.recipe, self.recipe.hours * 3600
        p = self.model.preset
        due, save_due = self.seconds + every_minutes * 60, self.seconds + SAVE_SECONDS
        terms: list[list[float]] = []
        self.model.train()
        while self.seconds < budget:
            start = time.perf_counter()
            if not self.model.quantised and self.step >= recipe.continuous:
                self.start_quantizer()
            factor = rate_factor(self.step, self.seconds / budget, recipe.warmup_steps, recipe.cooldown)
            x, counts, part = self.draw()
            with torch.autocast("cpu", torch.bfloat16):
                y, commitment, usage = self.model(x, counts)
            y = y.float()
            inside = slice(p.window, -p.window)
            mel = mel_loss(x[:, inside], y[:, inside], p.rate)
            loud = loudness_loss(x[:, inside], y[:, inside], p.rate)
            phase = complex_loss(x[:, inside], y[:, inside])
            low = low_loss(x[:, inside], y[:, inside], p.rate)
            much = 0.3 + 0.7 * part
            spectral = recipe.mel * mel + recipe.loudness * loud
            loss = (spectral + much * (recipe.phase * phase + recipe.low * low)).mean()
            loss = loss + recipe.commitment * commitment
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = (
                        recipe.learning_rate * factor * (2.0 if type(optimizer).__name__ == "Muon" else 1.0)
                    )
                if torch.isfinite(norm):
                    optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            update_average(self.average, self.model, self.recipe.ema, self.step)
            self.step += 1
            terms.append([v.mean().item() for v in (loss, mel, loud, phase, low, commitment)])
            self.seconds += time.perf_counter() - start
            if self.step % 100 == 0:
                means = "  ".join(f"{v:.4f}" for v in np.mean(terms[-100:], axis=0))
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


def clips(
    paths: list[Path], rate: int, frame: int, count: int = 16, seconds: float = 4.0
) -> list[NDArray[np.float32]]:
    """Evenly spaced recordings of two seconds or more, cut to whole frames of at most four seconds."""
    found: list[NDArray[np.float32]] = []
    for path in paths[:: max(1, len(paths) // (3 * count))]:
        audio = load(path, rate).mean(1)[: int(seconds * rate)]
        if len(audio) >= 2 * rate and len(found) < count:
            found.append(np.ascontiguousarray(audio[: len(audio) // frame * frame], np.float32))
    return found


@torch.no_grad()
def validate(model: AudioModel, recordings: list[NDArray[np.float32]]) -> list[dict[str, float]]:
    """Mel distance, and PESQ and STOI where they are installed, at some numbers of stages."""
    p = model.preset
    rows = []
    for stages in (2, 3, p.stages):
        values = []
        for samples in recordings:
            x = levelled(torch.from_numpy(samples)[None])
            latents = model.analyse(x)
            if model.quantised:
                codes = model.quantizer.encode(latents, stages=stages * p.groups)
                latents = model.quantizer.decode(codes)
            y = model.synthesise(latents)
            a, b = x[0].numpy(), y[0].clamp(-1, 1).numpy()
            score, clear = _perceived(a, b, p.rate)
            values.append([mel_loss(x, y, p.rate).item(), score, clear])
        mel, score, clear = np.mean(values, axis=0)
        rows.append({"stages": stages, "mel": float(mel), "pesq": float(score), "stoi": float(clear)})
    return rows


def _perceived(x: NDArray[np.float32], y: NDArray[np.float32], rate: int) -> tuple[float, float]:
    """PESQ, of 16 kHz, and STOI; NaN where a package is absent."""
    score = clear = float("nan")
    if rate == 16000 and find_spec("pesq"):
        from pesq import pesq

        score = float(pesq(rate, x, y, "wb"))
    if find_spec("pystoi"):
        from pystoi import stoi

        clear = float(stoi(x, y, rate))
    return score, clear


def write_model(trainer: Trainer, name: str, command: str, minutes: float) -> Path:
    """Train the prior of a run's averaged model and write `model.safetensors` with its card; returns the path."""
    from siglum.codecs import runs
    from siglum.codecs.audio import export, prior_train
    from siglum.codecs.audio.extend import LAYOUTS, extended

    model, recipe = trainer.average.eval(), trainer.recipe
    if recipe.preset in LAYOUTS:
        with torch.no_grad():
            batches = [torch.from_numpy(trainer.sampler.batch(12)) for _ in range(60)]
            latents = torch.cat([model.analyse(levelled(batch)).flatten(0, 1) for batch in batches])
        model = extended(model, latents, LAYOUTS[recipe.preset], recipe.seed)
    coded = prior_train.code_recordings(model, trainer.train_paths, PRIOR_HOURS, recipe.seed, recipe.speeds)
    held = prior_train.code_recordings(model, trainer.held_paths or trainer.train_paths[::50], 0.1)
    tensors, metadata, _ = prior_train.make(model, coded, held, minutes=minutes, log=trainer.log)
    segments = levelled(torch.from_numpy(trainer.sampler.batch(64))).numpy()
    made = export.build(model, segments, tensors, metadata)
    noted = {**asdict(recipe), "prior_minutes": minutes}
    return runs.write_model(trainer, made, _point, name=name, codec="audio", recipe=noted, command=command)


def _point(line: dict[str, Any]) -> list[float]:
    """Step, hours, and PESQ at each number of stages of validation."""
    return [line["step"], line["hours"], *(row["pesq"] for row in line["validation"])]


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
