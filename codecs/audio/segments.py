"""What training of the audio codec sees: random segments at random levels and tilts, and stages for their frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siglum.codecs.audio.constants import LEVEL
from siglum.codecs.audio.presets import Preset
from siglum.datasets.audio import SegmentSampler, find_recordings, load, speakers
from siglum.errors import UsageError

SILENCE = 1e-3  # frames below that part of the level may have no codes


def levelled(samples: Tensor) -> Tensor:
    """(B, N) at a root mean square of `LEVEL`, peaks at most 0.99."""
    size = samples.square().mean(1, keepdim=True).sqrt()
    peak = samples.abs().amax(1, keepdim=True)
    return samples * torch.minimum(LEVEL / (size + 1e-5), 0.99 / (peak + 1e-5))


class Segments:
    """Batches of a folder's recordings, of which some folders are held out.

    Parameters
    ----------
    data
        Folder of recordings, a folder a speaker or source.
    preset
        Rate, frame and stages of the model.
    frames
        Length of a segment.
    held_out
        Names of folders that are not drawn from.
    speeds
        Each recording is there once at every speed.
    cache
        File that keeps decoded samples between runs.

    Raises
    ------
    UsageError
        If a folder that is to be held out is not there.
    """

    def __init__(
        self,
        data: Path,
        preset: Preset,
        *,
        frames: int,
        held_out: tuple[str, ...],
        speeds: tuple[float, ...],
        seed: int,
        cache: Path,
    ) -> None:
        groups = speakers(find_recordings(data), data)
        missing = set(held_out) - set(groups)
        if missing:
            raise UsageError(f"{data} has no folder {', '.join(sorted(missing))} to hold out")
        self.preset, self.frames, self._seed = preset, frames, seed
        self.train = [path for name, paths in groups.items() if name not in held_out for path in paths]
        self.held = [path for name in held_out for path in groups[name]]
        self.clips = clips(self.held or self.train[::50], preset.rate, preset.frame)
        self.sampler = SegmentSampler(self.train, preset.rate, frames * preset.frame, speeds, seed, cache)
        self.random = np.random.default_rng(seed)
        self.note = f"{len(self.train)} recordings of {data}"

    def reseed(self, step: int) -> None:
        """Draw, from some step of a run on, what no earlier step drew."""
        self.sampler.random = np.random.default_rng(self._seed + step)
        self.random = np.random.default_rng(self._seed + step + 1)

    def batch(self, count: int) -> Tensor:
        """Segments (count, N) as they are."""
        return torch.from_numpy(self.sampler.batch(count))

    def draw(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Segments (B, N), stages of their frames (B, T), and the part of all stages that each has (B,)."""
        p = self.preset
        x = self.batch(count)
        tilt = torch.from_numpy(self.random.uniform(-0.4, 0.4, (count, 1)).astype(np.float32))
        x = x - tilt * torch.nn.functional.pad(x, (1, 0))[:, :-1]
        gain = torch.from_numpy(self.random.uniform(-6, 6, (count, 1)).astype(np.float32))
        x = levelled(levelled(x) * 10 ** (gain / 20)) * 10 ** (gain / 20)
        counts = self.random.integers(1, p.stages + 1, (count, 1)).repeat(self.frames, 1)
        counts[self.random.random(count) < 0.3] = p.stages
        mixed = self.random.random(count) < 0.3  # every frame its own, in the neighbourhood
        wobble = self.random.integers(-1, 2, counts.shape) * mixed[:, None]
        counts = np.clip(counts + wobble, 1, p.stages)
        frames = x.reshape(count, self.frames, p.frame).square().mean(2).sqrt().numpy()
        silent = (frames < SILENCE * LEVEL * 4) & (self.random.random(counts.shape) < 0.5)
        counts[silent] = 0
        return x.clamp(-1, 1), torch.from_numpy(counts), torch.from_numpy(counts.mean(1) / p.stages).float()


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
