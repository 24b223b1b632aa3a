"""Training of the prior of codes for a given model: ``python -m siglum.codecs.audio.prior_train --help``."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siglum.codecs.audio.prior import Prior
from siglum.codecs.audio.prior_data import Batches, Coded, code_recordings
from siglum.codecs.audio.prior_export import to_integers
from siglum.codecs.audio.prior_network import PriorNetwork, PriorShape, shape_for
from siglum.codecs.audio.transform import AudioModel
from siglum.datasets.audio import find_recordings, speakers

CALIBRATION = 32  # chunks from which the ranges of integers are taken


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


def speed(prior: Prior, held: Iterable[Coded], per_second: float, frames: int = 250) -> str:
    """Time that a second of sound takes at all stages, the least of some runs on one thread, as a line."""
    codes = np.concatenate([part.codes for part in held])[:frames]
    counts = np.full(len(codes), prior.stages)
    payload = prior.encode(codes, counts)
    best = {"encode": math.inf, "decode": math.inf}
    for _ in range(20):
        for name in best:
            begin = time.thread_time()
            prior.encode(codes, counts) if name == "encode" else prior.decode(payload, len(codes))
            best[name] = min(best[name], time.thread_time() - begin)
    parts = [f"{name} {1000 * seconds * per_second / len(codes):.2f} ms" for name, seconds in best.items()]
    return f"a second of sound at {prior.stages} stages: {', '.join(parts)}"


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
    prior, held = Prior(tensors, metadata), list(held)
    for line in report(prior, held):
        log(line)
    log(speed(prior, held, model.preset.rate / model.preset.frame))
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
