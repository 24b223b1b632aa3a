"""The lattice of the widest vectors: D4 (integers of even sum), its quotient by 4 Z^4, and its nearest points.

At high rates no codebook can be as large as such vectors ask for; D4 has the densest packing in four dimensions
and the quantizer of least error among lattices (Conway and Sloane, IEEE Trans. IT 28, 1982). A point is 4 times
an integer vector, the coarse stage, plus one of 128 points of a cube, the codewords of the fine stage.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.image_vq.constants import COARSE_FACTOR, DIMENSION, REFINED, WORDS

Integers = NDArray[np.int32]
Floats = NDArray[np.float32]
_LOW = -COARSE_FACTOR // 2


def representatives() -> Integers:
    """(128, 4): the points of the lattice in the cube of -2..1, in the order of their numbers."""
    cube = np.indices((COARSE_FACTOR,) * DIMENSION).reshape(DIMENSION, -1).T + _LOW
    points = cube[cube.sum(axis=1) % 2 == 0].astype(np.int32)
    assert len(points) == WORDS[REFINED]
    return points


def nearest(x: Floats, weight: Floats) -> Integers:
    """The lattice point of about the least weighted squared distance; exactly that where weights are equal.

    Parameters
    ----------
    x, weight
        (N, 4) float32; weights are positive.

    Returns
    -------
    (N, 4) int32.
    """
    points = np.rint(x)
    away = x - points
    # Where the sum is odd, the component that loses least goes to its second nearest integer.
    loss = weight * (1 - 2 * np.abs(away))
    odd = np.flatnonzero(points.sum(axis=1) % 2)
    worst = loss[odd].argmin(axis=1)
    points[odd, worst] += np.where(away[odd, worst] < 0, -1, 1)
    return points.astype(np.int32)


def split(points: Integers) -> tuple[Integers, Integers]:
    """Coarse integers (N, 4) and numbers of representatives (N,) of lattice points (N, 4)."""
    coarse = (points - _LOW) >> 2
    digits = points - COARSE_FACTOR * coarse - _LOW
    # Even sums only: the last digit's lowest bit follows from the others.
    numbers = ((digits[:, 0] * 4 + digits[:, 1]) * 4 + digits[:, 2]) * 2 + (digits[:, 3] >> 1)
    return coarse, numbers.astype(np.int32)
