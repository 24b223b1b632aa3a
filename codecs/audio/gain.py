"""Loudness: every chunk is brought to one level by a gain that changes without a step.

A gain is a number of steps of 1.5 dB. It holds from `RAMP` to the end of its chunk and through the first half of
`RAMP` of the next, which then moves to its own: so what looks a few frames ahead needs no gain that is not known yet.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.audio.constants import LEVEL

STEP = 1.5  # dB
LEAST, MOST = -40, 60  # steps
RAMP = 16  # frames; the shortest chunk
_QUIET = 1e-5  # samples below are silence
_ACTIVE = 0.03  # of the loudest part


def choose(samples: NDArray[np.float32], part: int, last: int | None) -> int:
    """Gain that brings the active parts of a chunk to `LEVEL`, in steps.

    Parameters
    ----------
    samples : float32 (N, C)
        The chunk.
    part
        Samples over which power is taken.
    last
        The gain of the chunk before, which silence keeps.
    """
    whole = samples[: len(samples) // part * part].astype(np.float64)
    powers = (
        np.square(whole).reshape(-1, part, samples.shape[1]).mean(1).max(1) if len(whole) else np.zeros(1)
    )
    loudest = float(powers.max(initial=0.0))
    if loudest < _QUIET**2:
        return last or 0
    power = float(powers[powers >= _ACTIVE**2 * loudest].mean())
    wanted = 20 * math.log10(LEVEL / math.sqrt(power)) / STEP
    peak = float(np.abs(samples).max())
    return max(LEAST, min(MOST, round(wanted), math.floor(20 * math.log10(1 / peak) / STEP + 4)))


def heard(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much the errors of each channel (C,) of a chunk (N, C) count beside those of the loudest, 0.01 to 1.

    Loudness goes with power to about 0.3 (Stevens 1955), squared errors of loudness with twice that.
    """
    powers = np.square(samples.astype(np.float64)).mean(axis=0) if len(samples) else np.ones(samples.shape[1])
    loudest = float(powers.max())
    if loudest < _QUIET**2:
        return np.ones(samples.shape[1], np.float32)
    return np.asarray(np.maximum((powers / loudest) ** 0.6, 0.01), np.float32)


def curve(before: int, own: int, frames: int, frame: int) -> NDArray[np.float32]:
    """Factors for the samples of a chunk of a number of frames."""
    ramp = np.clip(np.arange(1, RAMP // 2 * frame + 1) / (RAMP // 2 * frame), 0, 1)
    steps = np.full(frames * frame, float(own))
    steps[: RAMP // 2 * frame] = before
    turn = before + (own - before) * ramp
    part = steps[RAMP // 2 * frame : RAMP * frame]
    part[:] = turn[: len(part)]
    return np.asarray(10 ** (steps * (STEP / 20)), np.float32)
