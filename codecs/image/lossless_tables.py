"""Tables of the lossless picture model: mixtures of the shipped Gaussians, and two-way decisions."""

from __future__ import annotations

from functools import cache

import numpy as np

from siglum.entropy import Tables, gaussian_tables
from siglum.entropy.tables import MAX_ENTRIES, normalise

TOTAL = 4096
MIXTURE = ((0, 200), (6, 51), (14, 5))
"""(steps up the bank, parts of 256): prediction errors have heavier tails than one Gaussian."""

_REACH = (MAX_ENTRIES - 2) // 2


@cache
def lossless_tables() -> Tables:
    """The 131 tables that the lossless kernel names by index.

    Rows 0 to 63 are residuals: row i mixes the Gaussian tables i, i + 6 and i + 14 (at most 63) with the
    parts of `MIXTURE`, in integers. Rows 64 to 130 are decisions, 0 for a hit and 1 for a miss, by rising
    chance of a miss.
    """
    gaussian = gaussian_tables()
    rows = [np.zeros(2 * _REACH + 1, dtype=np.int64) for _ in gaussian.frequencies]
    for row, frequencies in zip(rows, gaussian.frequencies, strict=True):
        reach = (len(frequencies) - 2) // 2
        row[_REACH - reach : _REACH + reach + 1] = frequencies[:-1]
    tables, offsets = [], []
    for i in range(len(rows)):
        mixed = np.sum([parts * rows[min(i + steps, len(rows) - 1)] for steps, parts in MIXTURE], axis=0)
        inside = np.flatnonzero(mixed >= 128)  # half a part of 4096, else it is cheaper to escape
        reach = int(inside[-1]) - _REACH
        kept = [int(weight) for weight in mixed[_REACH - reach : _REACH + reach + 1]]
        tables.append(normalise([*kept, 256 * TOTAL - sum(kept)], 12))
        offsets.append(-reach)
    for miss in miss_frequencies():
        tables.append(np.array([TOTAL - 1 - miss, miss, 1], dtype=np.uint32))
        offsets.append(0)
    return Tables.from_frequencies(tables, offsets)


def miss_frequencies() -> list[int]:
    """Chance of a miss of each decision table, in parts of 4096: 33 rising values, 2048, mirrored."""
    rising = [1]
    while len(rising) < 33:
        rising.append(rising[-1] + max(1, rising[-1] // 4))
    return [*rising, TOTAL // 2, *(TOTAL - 1 - f for f in reversed(rising))]
