"""Builds the Gaussian bank in exact integers: ``python -m siglum.entropy.gaussian_bank`` writes it again.

No floating point is involved, so every machine builds the same bytes; a test compares them with the shipped
file.
"""

from __future__ import annotations

import itertools
from functools import cache
from math import isqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siglum.entropy.tables import MAX_ENTRIES, MAX_PRECISION, normalise

LEVELS = 64
SCALE_BITS = 16
BANK_PATH = Path(__file__).parent / "gaussian_bank.npy"

_BITS = 384  # fraction bits: the series for erf cancels at most 2**50 below, the result needs 32
_ONE = 1 << _BITS
_SMALLEST, _LARGEST = (11, 100), (64, 1)


def scales_fixed() -> list[int]:
    """The 64 scales, log-spaced from 0.11 to 64, in units of 2**-16.

    ``scale[i] = (0.11**(63 - i) * 64**i) ** (1 / 63)``, rounded to the nearest unit by an integer root.
    """
    steps = LEVELS - 1
    result = []
    for i in range(LEVELS):
        numerator = _SMALLEST[0] ** (steps - i) * _LARGEST[0] ** i << (SCALE_BITS + 1) * steps
        denominator = _SMALLEST[1] ** (steps - i) * _LARGEST[1] ** i
        result.append((_root(numerator // denominator, steps) + 1) // 2)
    return result


def thresholds_fixed() -> list[int]:
    """The 63 geometric means of neighbouring scales, in units of 2**-16, rounded down."""
    scales = scales_fixed()
    return [isqrt(a * b) for a, b in itertools.pairwise(scales)]


def half_mass(half_steps: int, scale: int) -> int:
    """Mass of a zero-mean Gaussian between 0 and ``half_steps / 2``, in units of ``2**-384``.

    ``erf(z) / 2`` with ``z = half_steps / (2 sqrt(2) sigma)``, by the Taylor series
    ``z / sqrt(pi) * sum (-z**2)**n / (n! (2n + 1))``; ``sigma = scale / 2**16``.
    """
    square = (half_steps * half_steps << 2 * SCALE_BITS - 3 + _BITS) // (scale * scale)
    total, term, n = 0, _ONE, 0
    while term:
        total += term // (2 * n + 1) if n % 2 == 0 else -(term // (2 * n + 1))
        n += 1
        term = (term * square >> _BITS) // n
    factor = (half_steps << SCALE_BITS - 1 + 2 * _BITS) // (scale * _root_of_two_pi())
    return factor * total >> _BITS


def build_table(scale: int) -> NDArray[np.uint32]:
    """Frequencies of -k..k and the escape for a zero-mean Gaussian, rounded to integers.

    The support ends where a symbol's probability falls below a quarter of a table's unit, or where 256
    entries are reached.
    """
    floor = _ONE >> MAX_PRECISION + 2
    edges = [half_mass(1, scale)]
    while 2 * len(edges) + 2 <= MAX_ENTRIES:
        edge = half_mass(2 * len(edges) + 1, scale)
        if edge - edges[-1] < floor:
            break
        edges.append(edge)
    sides = [b - a for a, b in itertools.pairwise(edges)]
    masses = [*sides[::-1], 2 * edges[0], *sides, _ONE - 2 * edges[-1]]
    shift = _BITS - 32
    return normalise([(mass + (1 << shift - 1)) >> shift for mass in masses], MAX_PRECISION)


def build() -> NDArray[np.uint16]:
    """The whole bank: for each scale the number of entries, then their frequencies, escape last."""
    rows: list[int] = []
    for scale in scales_fixed():
        table = build_table(scale).tolist()
        rows += [len(table), *table]
    return np.array(rows, dtype="<u2")


@cache
def _root_of_two_pi() -> int:
    """``sqrt(2 pi)``; pi by Machin's formula."""
    guard = 32

    def arctan_inverse(x: int) -> int:
        term = (_ONE << guard) // x
        total, n = 0, 1
        while term:
            total += term // n if n % 4 == 1 else -(term // n)
            term //= x * x
            n += 2
        return total

    pi = 4 * (4 * arctan_inverse(5) - arctan_inverse(239)) >> guard
    return isqrt(2 * pi << _BITS)


def _root(value: int, degree: int) -> int:
    """Largest r with ``r**degree <= value``, by Newton's method from above."""
    r = 1 << -(-value.bit_length() // degree)
    while True:
        better = ((degree - 1) * r + value // r ** (degree - 1)) // degree
        if better >= r:
            return r
        r = better


if __name__ == "__main__":
    from hashlib import sha256

    np.save(BANK_PATH, build())
    print(BANK_PATH, sha256(BANK_PATH.read_bytes()).hexdigest())
