"""Structures of quantizers in one small audio codec: built, trained by steps, measured on recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siglum.benchmarks.audio_metrics import mel_distance, pesq, stoi
from siglum.benchmarks.items import Audio
from siglum.codecs import runs
from siglum.codecs.audio.losses import complex_loss, loudness_loss, low_loss, mel_loss
from siglum.codecs.audio.presets import Preset
from siglum.codecs.audio.segments import levelled
from siglum.codecs.audio.train import Recipe, optimizers_of
from siglum.codecs.audio.transform import AudioModel
from siglum.codecs.optimising import descend, rate_factor, update_average
from siglum.datasets.audio import SegmentSampler
from siglum.quantizers.group_residual import GroupResidualQuantizer
from siglum.quantizers.product import ProductQuantizer
from siglum.quantizers.residual import ResidualQuantizer
from siglum.quantizers.staged import Staged

SMALL = Preset(16000, 160, 96, 2, 6, 1024, 128, 3, 2, 160, 4, 2)
START_BATCHES = 240  # whose latents the codebooks start from
LAYER = 2  # codes that one more step of rate adds, in every structure
SAVE_EVERY = 200
EMA = {"kind": "ema", "commitment": 0.25, "decay": 0.995}
NONE = "none"  # the structure of the run up to where the quantizer begins
METRICS = {"pesq": pesq, "stoi": stoi, "mel": mel_distance}
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """What decides a run besides the recordings; the learning rate is that of the codec's own recipe."""

    structure: str
    seed: int = 1
    steps: int = 2000
    batch: int = 4
    frames: int = 32
    layers: tuple[int, ...] = (1, 3, 6)  # of `LAYER` codes: those that are trained and measured
    continuous: float = 0.5  # part of the steps before the quantizer begins: all structures share it
    cooldown: float = 0.3
    warmup_steps: int = 100
    ema: float = 0.998


class _PerFrame(Staged):
    """Every frame uses the first codes, as many as it has layers of `LAYER`."""

    counts: Tensor | None = None

    def _dropped(self, rows: int, share: int, device: torch.device) -> Tensor | None:
        if self.counts is None:
            return None
        return torch.arange(self.stages, device=device) // LAYER < self.counts.reshape(-1, 1)


class _Groups(_PerFrame, GroupResidualQuantizer):
    pass


class _Residual(_PerFrame, ResidualQuantizer):
    pass


class _Parallel(_PerFrame, ProductQuantizer):
    pass


Structure = _Groups | _Residual | _Parallel


def quantizer(structure: str, preset: Preset | None = None) -> Structure:
    """Return the quantizer of a name, untrained; all have the same number of codes of as many codewords."""
    preset = preset or SMALL
    dim, codes, words = preset.latent, preset.groups * preset.stages, preset.codewords
    if structure == "grvq":
        return _Groups(dim, preset.groups, preset.stages, words, rotation="pca", codebook=EMA)
    if structure == "rvq":
        return _Residual(dim, codes, words, codebook=EMA)
    if structure == "parallel":
        return _Parallel(dim, codes, words, rotation="pca", codebook=EMA)
    raise ValueError(f"structure is {structure!r}, wanted grvq, rvq or parallel")


def shared(plan: Plan) -> Plan:
    """Return the plan of what the runs of a seed have in common: the networks alone."""
    return replace(plan, structure=NONE)


class Arm:
    """One run in a folder, from which it goes on after an interruption with what it would have drawn.

    Parameters
    ----------
    plan
        What is trained.
    sampler
        Segments of the recordings; runs of one seed see the same ones.
    out
        Where ``last.pt`` lies.
    """

    def __init__(self, plan: Plan, sampler: SegmentSampler, out: Path, log: Callable[[str], None]) -> None:
        self.plan, self.sampler, self.out, self.log = plan, sampler, out, log
        torch.manual_seed(plan.seed)
        self.model, self.average = _model(plan.structure), _model(plan.structure)
        self.average.load_state_dict(self.model.state_dict())
        self.optimizers = optimizers_of(self.model, Recipe())
        self.step = 0
        out.mkdir(parents=True, exist_ok=True)

    def resume(self, before: Path | None = None) -> None:
        """Continue from the checkpoint, if there is one, or from that of the run without a quantizer.

        Raises
        ------
        ValueError
            If it is of another plan.
        """
        path = self.out / "last.pt"
        plan, strict = self.plan, True
        if not path.exists() and before is not None:
            path, plan, strict = before / "last.pt", shared(self.plan), False
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state["plan"] != _plain(plan):
            raise ValueError(f"{path} is of another plan: {state['plan']}")
        for model, name in ((self.model, "model"), (self.average, "average")):
            tensors = state[name] if strict else _networks(state[name])
            missing = model.load_state_dict(tensors, strict=strict).missing_keys
            assert all(key.startswith("quantizer.") for key in missing)
        self.model.quantised = self.average.quantised = state["quantised"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "plan": _plain(self.plan),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "quantised": self.model.quantised,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
        }
        runs.save_state(self.out / "last.pt", state)

    def run(self) -> None:
        """Train what is left."""
        plan = self.plan
        terms: list[float] = []
        self.model.train()
        first = round(plan.continuous * plan.steps)
        end = first if plan.structure == NONE else plan.steps
        while self.step < end:
            if not self.model.quantised and self.step >= first:
                self._start()
            terms.append(self._train())
            self.step += 1
            if self.step % 100 == 0:
                self.log(f"{plan.structure} {plan.seed} step {self.step}  loss {np.mean(terms[-100:]):.4f}")
            if self.step % SAVE_EVERY == 0 or self.step == end:
                self.save()

    def _train(self) -> float:
        plan, p = self.plan, SMALL
        x, counts = self._draw(self.step)
        with torch.autocast("cpu", torch.bfloat16):
            y, commitment, _ = self.model(x, counts)
        inside = slice(p.window, -p.window)
        a, b = x[:, inside], y.float()[:, inside]
        part = counts[:, 0] / max(plan.layers)
        distance = mel_loss(a, b, p.rate) + 0.25 * loudness_loss(a, b, p.rate)
        waves = complex_loss(a, b, (512,)) + 1.5 * low_loss(a, b, p.rate)
        loss = (distance + (0.3 + 0.7 * part) * waves).mean() + commitment
        loss.backward()
        factor = rate_factor(self.step, self.step / plan.steps, plan.warmup_steps, plan.cooldown)
        descend(self.optimizers, self.model.parameters(), Recipe.learning_rate * factor)
        update_average(self.average, self.model, plan.ema, self.step)
        return loss.item()

    def _draw(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step, (B, N), and the layers of each frame, (B, T): the same in every structure."""
        plan = self.plan
        random = self.sampler.random = np.random.default_rng((plan.seed, step))
        x = levelled(torch.from_numpy(self.sampler.batch(plan.batch)))
        counts = random.choice(plan.layers, (plan.batch, 1)).repeat(plan.frames, 1)
        return x, torch.from_numpy(counts)

    def _start(self) -> None:
        with torch.no_grad():
            batches = [self._draw(self.plan.steps + i)[0] for i in range(START_BATCHES)]
            latents = torch.cat([self.model.analyse(x) for x in batches])
            self.model.quantizer.start(latents.reshape(-1, SMALL.latent))
        self.average.load_state_dict(self.model.state_dict())
        self.model.quantised = self.average.quantised = True

    def finished(self) -> AudioModel:
        """Return the averaged networks with the codebooks as they are."""
        self.average.quantizer.load_state_dict(self.model.quantizer.state_dict())
        return self.average.eval()


@torch.no_grad()
def measure(
    model: AudioModel, recordings: Sequence[Floats], layers: Sequence[int]
) -> dict[str, list[list[float]]]:
    """Return by metric a list for each number of layers with a value for each recording."""
    found: dict[str, list[list[float]]] = {name: [[] for _ in layers] for name in METRICS}
    rate = model.preset.rate
    for samples in recordings:
        x = levelled(torch.from_numpy(samples)[None])
        latents = model.analyse(x)
        for place, count in enumerate(layers):
            codes = model.quantizer.encode(latents, stages=LAYER * count)
            y = model.synthesise(model.quantizer.decode(codes)).clamp(-1, 1)
            pair = Audio(x.numpy(), rate), Audio(y.numpy(), rate)
            for name, metric in METRICS.items():
                found[name][place].append(metric(*pair))
    return found


@torch.no_grad()
def usage(model: AudioModel, sampler: SegmentSampler, frames: int) -> dict[str, Any]:
    """Return what part of each codebook a number of frames uses, and the perplexities."""
    sampler.random = np.random.default_rng(0)
    counts = np.zeros((model.quantizer.stages, model.preset.codewords), np.int64)
    seen = 0
    while seen < frames:
        latents = model.analyse(levelled(torch.from_numpy(sampler.batch(16))))
        codes = model.quantizer.encode(latents).reshape(-1, len(counts)).numpy()
        for stage, book in enumerate(counts):
            book += np.bincount(codes[:, stage], minlength=len(book))
        seen += len(codes)
    share = counts / counts.sum(1, keepdims=True)
    entropy = -(share * np.log2(np.maximum(share, 1e-300))).sum(1)
    return {"frames": seen, "used": (counts > 0).mean(1).tolist(), "perplexity": (2**entropy).tolist()}


def _model(structure: str) -> AudioModel:
    model = AudioModel(SMALL)
    if structure != NONE:
        model.add_module("quantizer", quantizer(structure))
    return model


def _networks(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if not name.startswith("quantizer.")}


def _plain(plan: Plan) -> dict[str, Any]:
    return {**asdict(plan), "layers": list(plan.layers)}
