"""The tables under which coefficients are coded: 64 symmetric ones, one for each scale that a context can name.

They are fitted to the symbols themselves: rounded with a wide zero, these are no Gaussians, whatever the scale.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from siglum.entropy.gaussian import gaussian_tables
from siglum.entropy.tables import MAX_PRECISION, Tables, normalise

COUNT = 64
REACH = 126  # largest magnitude with an entry
PRIOR = 40.0  # occurrences that the Gaussian of the same scale is worth
SPREAD = 6  # counts of a magnitude are averaged over those within 1/6 of it


def to_tensors(tables: Tables) -> dict[str, np.ndarray]:
    """Sizes and frequencies of symmetric tables; `from_tensors` is the inverse."""
    return {
        "sizes": tables.sizes.astype(np.int32),
        "frequencies": np.concatenate(tables.frequencies).astype(np.int32),
    }


def from_tensors(sizes: np.ndarray, frequencies: np.ndarray) -> Tables:
    """Tables of -k..k and an escape, k following from the size.

    Raises
    ------
    ValueError
        If they make no tables.
    """
    if (
        sizes.shape != (COUNT,)
        or int(sizes.min()) < 2
        or int(sizes.sum()) != frequencies.size
        or (sizes % 2).any()
    ):
        raise ValueError("the tables are of wrong sizes")
    rows = np.split(frequencies, np.cumsum(sizes)[:-1])
    return Tables.from_frequencies(rows, [-((len(row) - 2) // 2) for row in rows], MAX_PRECISION)


def fit(counts: np.ndarray) -> Tables:
    """Tables of what was coded under each: (64, 2 * r + 1) counts of -r..r -> tables."""
    reach = counts.shape[1] // 2
    gaussian = gaussian_tables()
    rows = []
    for table in range(COUNT):
        both = (counts[table] + counts[table][::-1])[reach:].astype(np.float64)  # of each magnitude; 0 twice
        both[0] /= 2
        total = both.sum()
        smooth = both.copy()
        cumulative = np.concatenate([[0.0], np.cumsum(both)])
        for k in range(1, reach + 1):
            width = min(k // SPREAD, reach - k)
            smooth[k] = (cumulative[k + width + 1] - cumulative[k - width]) / (2 * width + 1)
        known, offset = gaussian.frequencies[table], int(gaussian.offsets[table])
        prior = np.zeros(reach + 1)
        prior[0] = known[-offset]
        inside = min(-offset, reach)
        prior[1 : inside + 1] = 2.0 * known[-offset + 1 : -offset + 1 + inside]
        mass = (smooth / max(smooth.sum(), 1e-9) * total + prior / 4096 * PRIOR) / (total + PRIOR)
        limit = min(REACH, reach)
        while limit > 0 and mass[limit] < 2.0**-MAX_PRECISION:  # both signs share it: half a unit each
            limit -= 1
        sides = mass[1 : limit + 1] / 2
        escape = max(1.0 - mass[0] - 2 * sides.sum(), 0.0)
        masses = [*sides[::-1], mass[0], *sides, escape]
        rows.append(normalise([round(p * 2**32) for p in masses], MAX_PRECISION))
    return Tables.from_frequencies(rows, [-((len(row) - 2) // 2) for row in rows], MAX_PRECISION)


def step_bits(tables: Tables) -> np.ndarray:
    """(2, 64): bits that 1 costs more than 0, and 2 more than 1, under each table; an escape counts 6 bits."""
    rows = []
    for frequencies, offset in zip(tables.frequencies, tables.offsets, strict=True):
        last = len(frequencies) - 1
        entry = np.minimum(np.arange(3) - int(offset), last)
        bits = -np.log2(frequencies[entry].astype(np.float64)) + 6.0 * (entry == last)
        rows.append(np.diff(bits))
    return np.stack(rows).T


def histogram(parts: Iterable[tuple[np.ndarray, np.ndarray]], counts: np.ndarray) -> None:
    """Add residuals under tables to counts (64, 2 * r + 1)."""
    reach = counts.shape[1] // 2
    for residuals, tables in parts:
        np.add.at(counts, (tables, np.clip(residuals, -reach, reach) + reach), 1)
