"""Scales and steps as integers: what chooses a table is exact on every machine.

A unit is a sixteenth of the distance, in log, between two tables of the Gaussian bank.
"""

from __future__ import annotations

from math import log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.entropy.gaussian_bank import LEVELS

UNITS_A_TABLE = 16
LOG_UNIT = log(64 / 0.11) / (LEVELS - 1) / UNITS_A_TABLE  # natural log of a factor of one unit
LOWEST = -350  # round(log(0.11) / LOG_UNIT): the unit of the bank's first table
UNITS_A_LEVEL = 4
STEP_OF_LEVEL_0 = 128
MAX_UNITS = 2**14


def step_units(level: int) -> int:
    """Logarithm of the quantization step of a level 0..255, in units."""
    return STEP_OF_LEVEL_0 - UNITS_A_LEVEL * level


def units_of(values: ArrayLike) -> NDArray[np.int32]:
    """Positive numbers as logarithms in units, rounded."""
    logs = np.log(np.maximum(np.asarray(values, np.float64), 1e-30)) / LOG_UNIT
    return np.clip(np.rint(logs), -MAX_UNITS, MAX_UNITS).astype(np.int32)


def value_of(units: ArrayLike) -> NDArray[np.float64]:
    """The inverse of `units_of`."""
    return np.exp(np.asarray(units, np.float64) * LOG_UNIT)


def table_of(scale: NDArray[np.int32], step: int) -> NDArray[np.int32]:
    """Table of each component without correction; below 0 it is not coded unless a correction lifts it.

    Parameters
    ----------
    scale
        Logarithms of standard deviations in units.
    step
        Logarithm of the quantization step in units.
    """
    return (scale - step - LOWEST + UNITS_A_TABLE // 2) >> 4
