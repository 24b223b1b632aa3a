"""Codes that the prior is trained on: recordings through a model, and chunks of them as encoders cut them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siglum.codecs.audio import allocate
from siglum.codecs.audio.train import levelled
from siglum.codecs.audio.transform import AudioModel
from siglum.datasets.audio import load

SECONDS = 20  # of a recording that are levelled and coded at once


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
    p = model.preset
    rest = quantizer.rotate(latents)
    errors, width = [rest.square().sum(1)], p.latent // p.groups
    for number, (group, book) in enumerate(zip(p.layout, quantizer.codebooks, strict=True)):
        rest[:, group * width : (group + 1) * width] -= book.vectors()[codes[:, number]]
        if number % p.groups == p.groups - 1:
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
