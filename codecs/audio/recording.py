"""A recording: samples and their rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.errors import UnsupportedInputError

MAX_CHANNELS = 8
MAX_RATE = 768000
MIN_RATE = 4000


@dataclass(frozen=True, eq=False)
class Recording:
    """Samples of one or more channels.

    Attributes
    ----------
    samples : float32 (N, C)
        -1 to 1 is full scale.
    rate : int
        Samples a second.
    """

    samples: NDArray[np.float32]
    rate: int

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[1])

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.samples) / self.rate


def as_samples(values: ArrayLike) -> NDArray[np.float32]:
    """Samples (N,) or (N, C), floats or signed integers of full scale, as float32 (N, C).

    Raises
    ------
    UnsupportedInputError
        If the shape or the type is another, or samples are NaN or infinite.
    """
    array: NDArray[Any] = np.asarray(values)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or not 1 <= array.shape[1] <= MAX_CHANNELS:
        raise UnsupportedInputError(
            f"samples are of shape (N,) or (N, C) with at most {MAX_CHANNELS} channels, not {array.shape}"
        )
    if array.dtype.kind == "i":
        return np.asarray(array / np.float32(np.iinfo(array.dtype).max + 1), np.float32)
    if array.dtype.kind != "f":
        raise UnsupportedInputError(f"samples are floats or signed integers, not {array.dtype}")
    samples = np.asarray(array, np.float32)
    if not np.isfinite(samples).all():
        raise UnsupportedInputError("the recording has samples that are NaN or infinite: repair it first")
    return samples


def check_form(rate: int, channels: int) -> None:
    """Raise `UnsupportedInputError` unless such recordings are coded."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise UnsupportedInputError(f"rates of {MIN_RATE} to {MAX_RATE} Hz are coded, not {rate}")
    if not 1 <= channels <= MAX_CHANNELS:
        raise UnsupportedInputError(f"1 to {MAX_CHANNELS} channels are coded, not {channels}")
