"""The shipped bank of zero-mean Gaussian tables: one for each of 64 log-spaced scales."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.entropy.gaussian_bank import BANK_PATH, scales_fixed, thresholds_fixed
from siglum.entropy.tables import MAX_PRECISION, Tables
from siglum.errors import SiglumError, UsageError

BANK_SHA256 = "b1c1f065fc1851ed74b545c059d2dbbf492d731befe49d10643d8b84a64c4a6c"

GAUSSIAN_SCALES_FIXED: NDArray[np.int32] = np.array(scales_fixed(), dtype=np.int32)
"""Scales in units of 2**-16, for integer networks; shape (64,)."""

GAUSSIAN_THRESHOLDS_FIXED: NDArray[np.int32] = np.array(thresholds_fixed(), dtype=np.int32)
"""Above threshold i, in units of 2**-16, a scale is nearer in log to scale i + 1 than to i; shape (63,)."""

GAUSSIAN_SCALES: NDArray[np.float64] = GAUSSIAN_SCALES_FIXED / 65536.0
"""Standard deviations in quantization steps: ``0.11 * (64 / 0.11) ** (i / 63)``, on a grid of 2**-16."""

for _shared in (GAUSSIAN_SCALES_FIXED, GAUSSIAN_THRESHOLDS_FIXED, GAUSSIAN_SCALES):
    _shared.flags.writeable = False


@cache
def gaussian_tables() -> Tables:
    """Tables of centred integers under a Gaussian of each scale, 12 bits, from the file beside this one.

    Symbol k of table i has the mass of ``[k - 1/2, k + 1/2]`` under standard deviation
    ``GAUSSIAN_SCALES[i]``.

    Raises
    ------
    SiglumError
        If the file is not the one that this version was released with.
    """
    return load_bank(BANK_PATH)


def load_bank(path: Path) -> Tables:
    """Read a bank and check it against the hash in the source."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SiglumError(f"{path} cannot be read ({error.strerror}): install siglum again") from None
    if sha256(data).hexdigest() != BANK_SHA256:
        raise SiglumError(f"{path} was altered: install siglum again")
    rows = np.load(BytesIO(data), allow_pickle=False)
    frequencies = []
    position = 0
    while position < len(rows):
        size = int(rows[position])
        frequencies.append(rows[position + 1 : position + 1 + size])
        position += 1 + size
    return Tables.from_frequencies(frequencies, [-((len(f) - 2) // 2) for f in frequencies], MAX_PRECISION)


def scale_index(scale: ArrayLike) -> NDArray[np.uint8]:
    """Index of the scale that is nearest in log.

    Nearest costs 0.05 % of rate, rounding up as is often done 0.18 %.

    Parameters
    ----------
    scale : float array, any shape, in quantization steps
        Values outside 0.11 to 64 go to the ends.

    Returns
    -------
    indexes : uint8 array of the same shape, 0 to 63

    Raises
    ------
    UsageError
        If a scale is not a number.
    """
    values = np.asarray(scale, dtype=np.float64)
    if np.isnan(values).any():
        raise UsageError("a scale is not a number")
    return np.searchsorted(GAUSSIAN_THRESHOLDS_FIXED, values * 65536.0, side="left").astype(np.uint8)
