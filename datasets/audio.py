"""Folders of recordings as arrays; random segments of them for training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siglum.errors import UsageError

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif"})
QUIET = 1e-3  # recordings that are nowhere louder are left out
GROWTH = 2**24  # samples by which memory grows while recordings are read


def find_recordings(folder: Path | str) -> list[Path]:
    """All recordings below `folder`, sorted by path; links to files and folders are followed.

    Raises
    ------
    FileNotFoundError
        If `folder` is not a directory or holds no recording.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder")
    below = [root, *(path for path in root.iterdir() if path.is_symlink() and path.is_dir())]
    files = {path for part in below for path in part.rglob("*") if path.suffix.lower() in SUFFIXES}
    found = sorted(path for path in files if path.is_file())
    if not found:
        raise FileNotFoundError(f"{root} holds no recording ({', '.join(sorted(SUFFIXES))})")
    return found


def load(path: Path | str, rate: int, speed: float = 1.0) -> NDArray[np.float32]:
    """One recording at a rate, all channels, (N, C); played faster by ``speed``."""
    import soundfile
    import soxr

    samples, own = soundfile.read(path, dtype="float32", always_2d=True)
    if own * speed != rate:
        samples = soxr.resample(samples, own * speed, rate, quality="HQ")
    return np.asarray(samples, np.float32)


def speakers(paths: Sequence[Path], folder: Path | str) -> dict[str, list[Path]]:
    """Recordings by the first folder below the root: one speaker, or one source, each."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        parts = path.relative_to(folder).parts
        groups.setdefault(parts[0] if len(parts) > 1 else "", []).append(path)
    return groups


class SegmentSampler:
    """Random segments of recordings, held in memory as 16-bit samples of one rate.

    Parameters
    ----------
    paths
        Recordings; those shorter than a segment are left out. Of two channels, both stand by themselves.
    rate
        Samples a second.
    length
        Samples of a segment.
    speeds
        Each recording is there once at every speed: more voices.
    seed
        Of the draws.
    cache
        File that keeps the decoded samples between runs.

    Raises
    ------
    UsageError
        If nothing is long enough.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        rate: int,
        length: int,
        speeds: Sequence[float] = (0.89, 1.0, 1.13),
        seed: int = 0,
        cache: Path | None = None,
    ) -> None:
        self.rate, self.length, self.random = rate, length, np.random.default_rng(seed)
        if cache is not None and cache.exists():
            with np.load(cache) as stored:
                self.samples, self.ends = stored["samples"], stored["ends"]
        else:
            samples, ends = np.empty(0, np.int16), [0]
            for path in paths:
                for speed in speeds:
                    audio = load(path, rate, speed)
                    loudest = float(np.abs(audio).max(initial=0.0))
                    if len(audio) < length or loudest < QUIET:
                        continue
                    channels = audio.T[:1] if audio.shape[1] > 1 and _same(audio) else audio.T
                    for channel in channels:
                        end = ends[-1] + len(channel)
                        if end > len(samples):  # in place where the system can: never twice in memory
                            samples.resize(end + GROWTH, refcheck=False)
                        np.rint(channel * (32767 / loudest), out=samples[ends[-1] : end], casting="unsafe")
                        ends.append(end)
            if len(ends) == 1:
                raise UsageError(f"no recording is as long as a segment of {length / rate:.2f} seconds")
            samples.resize(ends[-1], refcheck=False)
            self.samples, self.ends = samples, np.array(ends[1:])
            if cache is not None:
                np.savez(cache, samples=self.samples, ends=self.ends)
        self.starts = np.concatenate([[0], self.ends[:-1]])

    @property
    def seconds(self) -> float:
        """How much sound is in memory, every channel and every speed counted."""
        return len(self.samples) / self.rate

    def batch(self, count: int) -> NDArray[np.float32]:
        """Segments (count, length), float32; the louder of two draws where the first is quiet."""
        out = np.empty((count, self.length), np.float32)
        for row in out:
            for _ in range(4):
                at = int(self.random.integers(len(self.samples) - self.length + 1))
                which = int(np.searchsorted(self.ends, at, "right"))
                at = min(max(at, int(self.starts[which])), int(self.ends[which]) - self.length)
                row[:] = self.samples[at : at + self.length]
                if row.std() > 300:
                    break
        return out / np.float32(32768)


def _same(audio: NDArray[np.float32]) -> bool:
    """Whether a recording's channels are one."""
    return bool(np.abs(audio[:, 0] - audio[:, 1]).max() < 1e-3)
