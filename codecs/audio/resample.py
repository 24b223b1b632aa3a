"""Another number of samples a second, block by block, by soxr."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.errors import SiglumError

Floats = NDArray[np.float32]


class Resampler:
    """Resamples (N, C) in pieces; at equal rates it hands them on.

    The same pieces give the same samples. Which pieces there are is for the caller to keep equal.
    """

    def __init__(self, source: int, target: int, channels: int) -> None:
        self._channels = channels
        self._stream: Any = None
        if source != target:
            try:
                import soxr
            except ImportError as error:
                raise SiglumError("resampling needs soxr: pip install soxr") from error
            self._stream = soxr.ResampleStream(source, target, channels, dtype="float32", quality="HQ")

    def push(self, samples: Floats, last: bool = False) -> Floats:
        """Add samples (N, C) and return those that are certain now."""
        if self._stream is None:
            return samples
        # soxr takes one channel without a second axis.
        given = samples[:, 0] if self._channels == 1 else samples
        made = self._stream.resample_chunk(np.ascontiguousarray(given), last)
        return np.asarray(made, np.float32).reshape(-1, self._channels)


def resampled_length(length: int, source: int, target: int) -> int:
    """Samples after resampling that cover all of so many before."""
    return -(-length * target // source)
