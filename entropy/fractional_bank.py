"""Builds Gaussian tables with fractional means: ``python -m siglum.entropy.fractional_bank`` writes the file.

Like `siglum.entropy.gaussian_bank`, from which the scales come: exact integers, the same bytes everywhere.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siglum.entropy.gaussian_bank import half_mass, scales_fixed
from siglum.entropy.tables import MAX_ENTRIES, MAX_PRECISION, normalise

FRACTIONS = 16
BANK_PATH = Path(__file__).parent / "fractional_bank.npz"

_ONE = 1 << 384
_SHIFT = 384 - 32


def build_table(scale: int, fraction: int) -> tuple[int, NDArray[np.uint32]]:
    """Offset and frequencies, escape last, of the integers under a Gaussian of mean ``fraction / 16``.

    Symbol k has the mass of ``[k - 1/2, k + 1/2]``. A side of the support ends where a symbol's probability
    falls below a quarter of a table's unit, or where the table has 255 symbols.

    Parameters
    ----------
    scale : int
        Standard deviation in units of 2**-16.
    fraction : int
        0 to 8.
    """
    known: dict[int, int] = {}

    def below(sixteenths: int) -> int:
        """Mass between 0 and a distance from the mean, which is odd in it."""
        if sixteenths < 0:
            return -below(-sixteenths)
        if sixteenths not in known:  # half_mass counts in halves: the scale takes the factor 8
            known[sixteenths] = half_mass(sixteenths, 8 * scale)
        return known[sixteenths]

    def mass(k: int) -> int:
        return below(FRACTIONS * k + 8 - fraction) - below(FRACTIONS * k - 8 - fraction)

    floor = _ONE >> MAX_PRECISION + 2
    low = high = 0
    down, up = mass(-1), mass(1)
    while high - low < MAX_ENTRIES - 2 and max(up, down) >= floor:
        if up >= down:
            high, up = high + 1, mass(high + 2)
        else:
            low, down = low - 1, mass(low - 2)
    masses = [mass(k) for k in range(low, high + 1)]
    masses.append(_ONE - sum(masses))
    return low, normalise([(m + (1 << _SHIFT - 1)) >> _SHIFT for m in masses], MAX_PRECISION)


def build() -> NDArray[np.uint16]:
    """All tables, by scale and then by fraction 0 to 8: ``-offset``, the number of entries, frequencies."""
    rows: list[int] = []
    for scale, fraction in itertools.product(scales_fixed(), range(FRACTIONS // 2 + 1)):
        offset, table = build_table(scale, fraction)
        rows += [-offset, len(table), *table.tolist()]
    return np.array(rows, dtype="<u2")


if __name__ == "__main__":
    from hashlib import sha256

    bank = build()
    np.savez_compressed(BANK_PATH, bank=bank)
    print(BANK_PATH, len(bank), sha256(bank.tobytes()).hexdigest())
