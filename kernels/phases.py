"""Inside a group of channels: latents as a Gaussian over neighbouring positions, one phase after the other.

Arrays are (rows, columns, channels) and need only the last axis to be contiguous. Deviations are what is decoded
of a latent beyond its mean: int16 in 1/32 of a step, saturated. A latent of a later phase leans on four
neighbours of earlier phases: the sum of their deviations, each times a predicted factor, is its pull. All of it
is integer arithmetic, the same on every machine; see `siglum.kernels.reference.phases`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import siglum.kernels._native as _native
from siglum.kernels import dispatch

FACTOR_HIGH = 512  # largest magnitude of a factor: 2 in 1/256
NEIGHBOURS = 4

Integers = NDArray[np.int16]


def lean(
    factors: Integers,
    deviation: Integers,
    mean: NDArray[np.float32],
    phase: int,
    threads: int = 1,
    isa: str | None = None,
) -> None:
    """Begin a phase: set its deviations to the pull of their neighbours, and add that to the means.

    Parameters
    ----------
    factors
        (rows, columns, 4C) int16 in 1/256, at most `FACTOR_HIGH`: of the first neighbour all channels, and so on.
    deviation
        (rows, columns, C) int16; those of earlier phases are known.
    mean
        (rows, columns, C) float32 in steps.
    phase
        0 to 3: positions (0, 0), (1, 1), (0, 1), (1, 0) of each 2x2 block. The first leans on nothing, the second
        on its diagonal neighbours, (-1, -1), (-1, 1), (1, -1), (1, 1), the others on their direct ones,
        (0, -1), (0, 1), (-1, 0), (1, 0). Beyond the border all is 0.
    """
    _native.phases_lean(factors, deviation, mean, phase, threads, isa or dispatch.isa())


def settle(symbols: NDArray[np.int32], deviation: Integers, threads: int = 1, isa: str | None = None) -> None:
    """End a phase: add the symbols of its positions to their deviations.

    Parameters
    ----------
    symbols
        (rows, columns, C) int32 in steps; beyond +-32767 they count as that.
    deviation
        (rows, columns, C) int16, the pulls; both are only the positions of the phase.
    """
    _native.phases_settle(symbols, deviation, threads, isa or dispatch.isa())


def join(
    features: Integers,
    deviation: Integers,
    gain: NDArray[np.int32],
    limit: int,
    threads: int = 1,
    isa: str | None = None,
) -> Integers:
    """Features and the context of the next group, side by side.

    Parameters
    ----------
    features
        (rows, columns, F) int16.
    deviation
        (rows, columns, C) int16.
    gain
        (C,) int32, 0 to 65535, in 1/1024.
    limit
        Where contexts saturate, at most 32767.

    Returns
    -------
    (rows, columns, F + 2C) int16: after the features the contexts,
    ``clamp((deviation * gain + 512) >> 10, -limit, limit)``, and the magnitudes, log2(1 + |deviation| / 32) in
    1/1024, in straight pieces between the powers of 2: with v = 32 + |deviation| and m = floor(log2(v)) that is
    ``(m - 5) * 1024 + ((v << 10) >> m) - 1024``.
    """
    channels = features.shape[2] + 2 * deviation.shape[2]
    out = np.empty((*features.shape[:2], channels), np.int16)
    _native.phases_join(features, deviation, gain, limit, out, threads, isa or dispatch.isa())
    return out
