"""How many stages each frame gets: where a code takes away most of the error, within what may be spent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.uint8]
Floats = NDArray[np.float32]
_ROUNDS = 16
# Weights of a bit between which the search looks, relative to a latent's energy.
_SOFTEST, _HARDEST = 1e-7, 1e3


def at(errors: Floats, bits: Floats, weight: float) -> Counts:
    """Stages of each frame that make ``error + weight * bits`` least.

    Parameters
    ----------
    errors : float32 (T, R + 1)
        What 0 to R stages leave.
    bits : float32 (T, R + 1)
        What they cost.
    weight
        Of a bit.
    """
    return np.asarray(np.argmin(errors + np.float32(weight) * bits, axis=1), np.uint8)


def within(errors: Floats, bits: Floats, most: float) -> Counts:
    """The stages with about the least error of which all frames together cost at most so many bits.

    Parameters
    ----------
    errors, bits
        As `at` takes them.
    most
        Bits. Where even no stages at all cost more, those are the result.
    """
    frames = np.arange(len(errors))
    scale = float(errors[:, 0].mean()) + 1e-12
    low, high = np.log(_SOFTEST * scale), np.log(_HARDEST * scale)
    best = at(errors, bits, float(np.exp(low)))
    if bits[frames, best].sum() <= most:
        return best
    best = np.zeros(len(errors), np.uint8)
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        counts = at(errors, bits, float(np.exp(middle)))
        if bits[frames, counts].sum() <= most:
            high, best = middle, counts
        else:
            low = middle
    return best
