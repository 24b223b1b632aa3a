"""How far a decoded array is from its original."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def mse(original: NDArray[Any], decoded: NDArray[Any]) -> float:
    """Mean squared error over all elements, in float64."""
    return float(np.mean((original.astype(np.float64) - decoded) ** 2))


def cosine(original: NDArray[Any], decoded: NDArray[Any]) -> float:
    """Cosine of the angle between the two as vectors; 1 where both are zero, 0 where one is."""
    x, y = original.astype(np.float64).ravel(), decoded.astype(np.float64).ravel()
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    if norms == 0:
        return float(not x.any() and not y.any())
    return float(np.dot(x, y)) / norms


def relative_error(original: NDArray[Any], decoded: NDArray[Any]) -> float:
    """Norm of the difference by the norm of the original; infinite for a zero original that became another."""
    x, y = original.astype(np.float64).ravel(), decoded.astype(np.float64).ravel()
    error, norm = float(np.linalg.norm(x - y)), float(np.linalg.norm(x))
    if norm == 0:
        return 0.0 if error == 0 else math.inf
    return error / norm
