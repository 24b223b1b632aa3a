"""Training of the prior of codes for a given model: ``python -m siglum.codecs.audio.prior_train --help``."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siglum.codecs.audio import allocate
from siglum.codecs.audio.prior import Prior
from siglum.codecs.audio.prior_export import to_integers
from siglum.codecs.audio.prior_network import PriorNetwork, PriorShape, shape_for
from siglum.codecs.audio.train import levelled
from siglum.codecs.audio.transform import AudioModel
from siglum.datasets.audio import find_recordings, load, speakers

SECONDS = 20  # of a recording that are levelled and coded at once
CALIBRATION = 32  # chunks from which the ranges of integers are taken


class Coded(NamedTuple):
    """Codes of a recording.

    Attributes
    ----------
    codes : int16 (T, S)
    errors : float32 (T, R + 1)
        Squared distances of the latents after 0 to R stages.
    """

    codes: NDArray[np.int16]
    errors: NDArray[np.float32]


@torch.no_grad()
def code(model: AudioModel, samples: NDArray[np.float32]) -> Coded:
    """Codes of samples (N,) at the model's rate; what is no whole frame is left out."""
    frame, quantizer = model.preset.frame, model.quantizer
    x = levelled(torch.from_numpy(samples[None, : len(samples) // frame * frame]))
    with torch.autocast("cpu", torch.bfloat16):
        latents = model.analyse(x)[0].float()
    codes = quantizer.encode(latents)
    rest = quantizer.rotate(latents)
    errors = [rest.square().sum(1)]
    groups = model.preset.groups
    for first in range(0, codes.shape[1], groups):
        books = quantizer.codebooks[first : first + groups]
        rest = rest - torch.cat([book.vectors()[codes[:, first + g]] for g, book in enumerate(books)], 1)
        errors.append(rest.square().sum(1))
    return Coded(codes.numpy().astype(np.int16), torch.stack(errors, 1).numpy())


def code_recordings(
    model: AudioModel, paths: Sequence[Path], hours: float, seed: int = 0, speeds: Sequence[float] = (1.0,)
) -> list[Coded]:
    """Codes of recordings in random order, at random speeds, until there are so many hours."""
    p, random = model.preset, np.random.default_rng(seed)
    made, frames = list[Coded](), 0
    length = SECONDS * p.rate // p.frame * p.frame
    for index in random.permutation(len(paths)):
        audio = load(paths[index], p.rate, float(random.choice(np.asarray(speeds)))).mean(1)
        for start in range(0, len(audio) - p.frame + 1, length):
            made.append(code(model, np.ascontiguousarray(audio[start : start + length])))
            frames += len(made[-1].codes)
        if frames * p.frame >= hours * 3600 * p.rate:
            break
    return made


class Batches:
    """Random chunks of codes, with counts of stages as encoders choose them.

    Parameters
    ----------
    coded
        Recordings, joined: a chunk may reach from one into the next.
    groups
        Codes of a stage.
    frames
        Of a chunk.
    """

    def __init__(self, coded: Iterable[Coded], groups: int, frames: int, seed: int = 0) -> None:
        parts = list(coded)
        self.codes = np.concatenate([part.codes for part in parts])
        self.errors = np.concatenate([part.errors for part in parts])
        self.groups, self.frames, self.random = groups, frames, np.random.default_rng(seed)
        self.stages = self.errors.shape[1] - 1
        self.bits_a_stage = groups * 10.0

    def draw(self, chunks: int) -> tuple[Tensor, Tensor]:
        """Codes (B, T, S) and counts (B, T): half of the chunks the same for all frames, half by their error."""
        starts = self.random.integers(0, max(1, len(self.codes) - self.frames), chunks)
        rows = np.minimum(starts[:, None] + np.arange(self.frames), len(self.codes) - 1)
        return self.chunks(rows, [self._counts(row) for row in rows])

    def chunks(self, rows: NDArray[np.integer[Any]], counts: Sequence[NDArray[Any]]) -> tuple[Tensor, Tensor]:
        """Codes and counts of frames (B, T)."""
        codes = torch.from_numpy(self.codes[rows].astype(np.int64))
        return codes, torch.from_numpy(np.stack(counts).astype(np.int64))

    def _counts(self, rows: NDArray[np.integer[Any]]) -> NDArray[Any]:
        kind = self.random.random()
        if kind < 0.2:
            return np.full(len(rows), self.stages)
        if kind < 0.5:
            return np.full(len(rows), self.random.integers(1, self.stages + 1))
        return self.allocated(rows, self.random.uniform(0.3, self.stages))

    def allocated(self, rows: NDArray[np.integer[Any]], mean: float) -> NDArray[Any]:
        """Counts by error, so many stages a frame on average."""
        bits = np.tile(np.arange(self.stages + 1, dtype=np.float32), (len(rows), 1)) * np.float32(
            self.bits_a_stage
        )
        return allocate.within(self.errors[rows], bits, mean * len(rows) * self.bits_a_stage)


def train_prior(
    coded: Iterable[Coded],
    shape: PriorShape,
    books: Tensor | None = None,
    *,
    minutes: float = 12.0,
    start: dict[str, Tensor] | None = None,
    batch: int = 8,
    frames: int = 80,
    learning_rate: float = 2e-3,
    seed: int = 0,
    log: Callable[[str], None] = print,
) -> PriorNetwork:
    """Train for some minutes of this process's time on the processor.

    Parameters
    ----------
    coded
        Recordings that the networks may see.
    shape
        Sizes.
    books
        Codewords (S, K, D) to begin with.
    start
        State of a network of this shape to begin with instead: one for an earlier state of the same model, say.
    batch, frames
        Chunks of a step, and frames of a chunk.
    """
    torch.manual_seed(seed)
    network = PriorNetwork(shape, books)
    if start is not None:
        network.load_state_dict(start)
    batches = Batches(coded, shape.groups, frames, seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.9, 0.99))
    begin, step, due = time.process_time(), 0, 0.0
    recent: list[float] = []
    while (part := (time.process_time() - begin) / (60 * minutes)) < 1:
        factor = min(1.0, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * part)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * factor
        costs, many, of_counts = network(*batches.draw(batch))
        loss = costs.sum() / max(1, int(many.sum()))
        (loss + 0.1 * of_counts).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        recent.append(loss.item() / math.log(2))
        if part >= due:
            due = part + 0.05
            log(f"{100 * part:.0f} %  step {step}  {np.mean(recent[-100:]):.3f} bits a code")
    return network


def report(prior: Prior, held: Iterable[Coded], frames: int = 200, most: int = 15000) -> list[str]:
    """What held-out codes cost with the exact prior, at each number of stages and at mixed ones, as lines."""
    batches = Batches(held, prior.groups, frames)
    count = max(1, min(len(batches.codes), most) // frames)
    size = min(frames, len(batches.codes))
    rows = [np.arange(size) + i * size for i in range(count)]
    lines = []
    fixed = math.log2(prior.codewords)
    for mean in (*range(1, prior.stages + 1), 0.7, 1.5, 3.0):
        octets, codes, costs, counted = 0, 0, np.zeros(prior.codes), 0.0
        many = np.zeros(prior.codes)
        for own in rows:
            counts = np.full(size, mean) if isinstance(mean, int) else batches.allocated(own, mean)
            octets += len(prior.encode(batches.codes[own], counts))
            costs += prior.bits(batches.codes[own], counts).sum(0)
            counted += float(prior.count_bits(batches.codes[own], counts).sum())
            many += (np.arange(prior.codes) // prior.groups < counts[:, None]).sum(0)
            codes += int(counts.sum()) * prior.groups
        each = (costs / np.maximum(many, 1)).reshape(-1, prior.groups).mean(1)
        kind = "all" if isinstance(mean, int) else "on average"
        each_code = 8 * octets / codes
        lines.append(
            f"{mean} stages {kind}: {each_code:.3f} bits a code, {100 * (each_code / fixed - 1):+.1f} %; "
            f"by stage {' '.join(f'{value:.2f}' for value in each if value)}; "
            f"counts {counted / size / len(rows):.2f} bits a frame"
        )
    return lines


def make(
    model: AudioModel,
    train: Iterable[Coded],
    held: Iterable[Coded],
    *,
    minutes: float = 12.0,
    start: dict[str, Tensor] | None = None,
    shape: PriorShape | None = None,
    seed: int = 0,
    log: Callable[[str], None] = print,
) -> tuple[dict[str, NDArray[Any]], dict[str, str], PriorNetwork]:
    """Train the prior of a model and report its rate on held-out recordings.

    Returns
    -------
    tensors, metadata
        Of `siglum.codecs.audio.prior.Prior`.
    network
        In floats, from whose state a later training can start.
    """
    books = torch.stack([book.vectors().detach() for book in model.quantizer.codebooks])
    train = list(train)
    shape = shape or shape_for(model.preset)
    network = train_prior(train, shape, books, minutes=minutes, start=start, seed=seed, log=log)
    tensors, metadata = to_integers(network, *Batches(train, shape.groups, 100, seed + 1).draw(CALIBRATION))
    for line in report(Prior(tensors, metadata), held):
        log(line)
    return tensors, metadata, network


def main(arguments: Sequence[str] | None = None) -> None:
    """Code recordings with a checkpoint of `siglum.codecs.audio.train`, train, and write two files."""
    parser = argparse.ArgumentParser(
        prog="python -m siglum.codecs.audio.prior_train", description=main.__doc__
    )
    parser.add_argument("checkpoint", type=Path, help="last.pt of a training run")
    parser.add_argument("data", type=Path, help="folder of recordings, a folder a speaker")
    parser.add_argument("out", type=Path, help="prior.safetensors; the floats go to prior.pt beside it")
    parser.add_argument(
        "--held-out", default="", help="folders that rates are reported for, separated by commas"
    )
    parser.add_argument("--hours", type=float, default=6.0, help="of recordings (%(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=12.0, help="of training, processor time (%(default)s)"
    )
    parser.add_argument("--start", type=Path, help="prior.pt of an earlier state of the model to begin with")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    from safetensors.numpy import save_file

    torch.set_num_threads(1)
    model = load_checkpoint(given.checkpoint)
    names = [name for name in given.held_out.split(",") if name]
    groups = speakers(find_recordings(given.data), given.data)
    paths = [path for name, own in groups.items() if name not in names for path in own]
    held = [path for name in names for path in groups[name]] or paths[::50]
    began = time.process_time()
    train = code_recordings(model, paths, given.hours, given.seed, (0.89, 1.0, 1.13))
    print(f"{sum(len(part.codes) for part in train)} frames coded in {time.process_time() - began:.0f} s")
    start = None if given.start is None else torch.load(given.start, weights_only=True)
    tensors, metadata, network = make(
        model,
        train,
        code_recordings(model, held, 0.1, given.seed),
        minutes=given.minutes,
        start=start,
        seed=given.seed,
    )
    save_file(tensors, given.out, metadata)
    torch.save(network.state_dict(), given.out.with_suffix(".pt"))


def load_checkpoint(path: Path) -> AudioModel:
    """The averaged model of a checkpoint of `siglum.codecs.audio.train.Trainer`."""
    from siglum.codecs.audio.presets import PRESETS

    state = torch.load(path, weights_only=True)
    model = AudioModel(PRESETS[state["recipe"]["preset"]])
    model.load_state_dict(state["average"])
    model.quantised = bool(state["quantised"])
    return model.eval()


if __name__ == "__main__":
    main()
