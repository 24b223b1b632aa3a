"""What the linear branch speaks of: the lowest functions of a modified cosine transform."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.audio.constants import LOW


def cosines(frame: int) -> NDArray[np.float32]:
    """The first `LOW` functions with a sine window, (2 frame, LOW); Princen and Bradley 1986."""
    n, k = np.arange(2 * frame)[:, None], np.arange(LOW)
    waves = np.cos(math.pi / frame * (n + 0.5 + frame / 2) * (k + 0.5))
    return np.asarray(np.sin(math.pi / (2 * frame) * (n + 0.5)) * waves * math.sqrt(2 / frame), np.float32)
