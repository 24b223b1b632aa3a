"""Gaussian tables with fractional means, for sources that are integers themselves."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from io import BytesIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.entropy.fractional_bank import BANK_PATH, FRACTIONS
from siglum.entropy.gaussian_bank import LEVELS
from siglum.entropy.models import as_integers
from siglum.entropy.tables import MAX_PRECISION, Tables
from siglum.errors import SiglumError

BANK_SHA256 = "815914cab21aebfe68f8bae7c3f6b5e7dfcde3ce28d450eccbcaeb5f3ea458b2"

MAX_MEAN = 1 << 27
"""Largest magnitude of a mean, in sixteenths."""


@cache
def fractional_tables() -> Tables:
    """Tables of integers under a Gaussian of each scale and fraction of a mean, 12 bits.

    Table ``16 * scale + 8 + fraction`` has the scale of that number in `siglum.entropy.GAUSSIAN_SCALES` and
    the mean ``fraction / 16``, -8 <= fraction <= 7. Fractions 0 to 8 are stored; the negative ones are their
    mirror images.

    Raises
    ------
    SiglumError
        If the file is not the one that this version was released with.
    """
    try:
        rows = np.load(BytesIO(BANK_PATH.read_bytes()), allow_pickle=False)["bank"]
    except (OSError, ValueError, KeyError):
        raise SiglumError(f"{BANK_PATH} cannot be read: install siglum again") from None
    if sha256(rows.tobytes()).hexdigest() != BANK_SHA256:
        raise SiglumError(f"{BANK_PATH} was altered: install siglum again")
    half = FRACTIONS // 2
    tables: list[tuple[int, NDArray[np.uint16]]] = []
    position = 0
    for _ in range(LEVELS):
        stored = []
        for _ in range(half + 1):
            size = int(rows[position + 1])
            stored.append((-int(rows[position]), rows[position + 2 : position + 2 + size]))
            position += 2 + size
        tables += [_mirrored(*stored[f]) for f in range(half, 0, -1)]
        tables += stored[:half]
    return Tables.from_frequencies([f for _, f in tables], [o for o, _ in tables], MAX_PRECISION)


def _mirrored(offset: int, table: NDArray[np.uint16]) -> tuple[int, NDArray[np.uint16]]:
    return -(offset + len(table) - 2), np.concatenate([table[-2::-1], table[-1:]])


def indexes(mean: ArrayLike, scale: ArrayLike) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    """Split integer predictions into what is subtracted from a symbol and a table of `fractional_tables`.

    Parameters
    ----------
    mean : int array, in sixteenths of a step, magnitude at most `MAX_MEAN`
    scale : int array, 0 to 63
        Numbers of scales, see `siglum.entropy.scale_index`. Broadcasts with ``mean``.

    Returns
    -------
    shift : int32 array
        ``(mean + 8) >> 4``, the nearest integer; a symbol is coded as ``symbol - shift``.
    table : uint16 array
        ``16 * scale + 8 + mean - 16 * shift``.

    Raises
    ------
    UsageError
        If a value is out of range or not an integer.

    Examples
    --------
    >>> shift, table = indexes(np.array([24, 23, -1]), 10)
    >>> shift.tolist(), (table.astype(int) % 16 - 8).tolist()
    ([2, 1, 0], [-8, 7, -1])
    """
    means = as_integers(mean, "means", -MAX_MEAN, MAX_MEAN)
    scales = as_integers(scale, "scales", 0, LEVELS - 1)
    half = FRACTIONS // 2
    shift = (means + half) >> 4
    table = (scales * FRACTIONS + half + means - shift * FRACTIONS).astype(np.uint16)
    return np.broadcast_to(shift, table.shape), table
