"""Full-reference picture metrics in NumPy: PSNR and multi-scale SSIM.

Pictures are (H, W) or (H, W, C) arrays of equal shape, uint8 or float, with values from 0 to ``peak``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.errors import UsageError

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as JPEG has it
# Wang, Simoncelli and Bovik, "Multi-scale structural similarity for image quality assessment", Asilomar 2003.
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW_TAPS = 11
WINDOW_SIGMA = 1.5
# The window must still fit into the picture after it was halved at every scale but the first.
MS_SSIM_SMALLEST_SIDE = WINDOW_TAPS * 2 ** (len(MS_SSIM_WEIGHTS) - 1)

Floats = NDArray[np.float64]


def mse(reference: ArrayLike, picture: ArrayLike) -> float:
    """Return the mean squared error over all samples of two arrays of equal shape.

    Raises
    ------
    UsageError
        If the shapes differ or the arrays are empty.
    """
    first, second = _pair(reference, picture)
    total = 0.0
    # By rows, so that a large picture is not copied whole into float64.
    rows = max(1, 2**20 // max(1, first[:1].size))
    for row in range(0, first.shape[0], rows):
        difference = first[row : row + rows].astype(np.float64) - second[row : row + rows]
        total += float(np.vdot(difference, difference))
    return total / first.size


def psnr(reference: ArrayLike, picture: ArrayLike, peak: float = 255.0) -> float:
    """Return the peak signal-to-noise ratio in dB, infinite for equal pictures.

    Examples
    --------
    >>> import numpy as np
    >>> round(psnr(np.zeros((4, 4)), np.full((4, 4), 255.0)), 3)
    0.0
    >>> psnr(np.ones((4, 4, 3)), np.ones((4, 4, 3)))
    inf
    """
    error = mse(reference, picture)
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def psnr_y(reference: ArrayLike, picture: ArrayLike, peak: float = 255.0) -> float:
    """Return the PSNR in dB of the luma of two RGB pictures (BT.601, full range, not rounded)."""
    first, second = _pair(reference, picture)
    return psnr(first.astype(np.float64) @ LUMA, second.astype(np.float64) @ LUMA, peak)


def ms_ssim(reference: ArrayLike, picture: ArrayLike, peak: float = 255.0) -> float:
    """Return the multi-scale structural similarity, at most 1 (equal pictures).

    Five scales, Gaussian windows of 11 taps (sigma 1.5) at valid positions, K1 = 0.01, K2 = 0.03; negative
    terms count as zero. Each channel has its own value; the result is their mean.

    Raises
    ------
    UsageError
        If the shapes differ, or a side is shorter than ``MS_SSIM_SMALLEST_SIDE`` (176).

    References
    ----------
    Wang, Simoncelli, Bovik: Multi-scale structural similarity for image quality assessment. Asilomar 2003.
    """
    first, second = _pair(reference, picture)
    if min(first.shape[:2]) < MS_SSIM_SMALLEST_SIDE:
        raise UsageError(
            f"MS-SSIM needs pictures of at least {MS_SSIM_SMALLEST_SIDE} pixels a side, "
            f"not {first.shape[1]}x{first.shape[0]}"
        )
    if first.ndim == 2:
        return _ms_ssim_of_plane(first, second, peak)
    planes = range(first.shape[2])
    return float(np.mean([_ms_ssim_of_plane(first[..., c], second[..., c], peak) for c in planes]))


def ms_ssim_in_db(reference: ArrayLike, picture: ArrayLike) -> float:
    """Return the MS-SSIM of two pictures in dB; NaN if they are too small for it."""
    if min(np.shape(reference)[:2]) < MS_SSIM_SMALLEST_SIDE:
        return math.nan
    return ms_ssim_db(ms_ssim(reference, picture))


def ms_ssim_db(value: float) -> float:
    """Return an MS-SSIM value in dB, -10 log10(1 - value): infinite for 1."""
    return math.inf if value >= 1 else -10 * math.log10(1 - value)


def largest_difference(reference: ArrayLike, picture: ArrayLike) -> float:
    """Return the largest absolute difference of two samples at the same place."""
    first, second = _pair(reference, picture)
    wide = np.int32 if first.dtype == second.dtype == np.uint8 else np.float64
    return float(max(np.abs(a.astype(wide) - b).max() for a, b in zip(first, second, strict=True)))


def _pair(reference: ArrayLike, picture: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    first, second = np.asarray(reference), np.asarray(picture)
    if first.shape != second.shape:
        raise UsageError(f"the pictures differ in shape: {first.shape} and {second.shape}")
    if first.ndim not in (2, 3) or first.size == 0:
        raise UsageError(
            f"a picture has the shape (H, W) or (H, W, C) and at least one pixel, not {first.shape}"
        )
    return first, second


def _ms_ssim_of_plane(first: NDArray[Any], second: NDArray[Any], peak: float) -> float:
    x, y = first.astype(np.float64), second.astype(np.float64)
    result = 1.0
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        if scale:
            x, y = _halve(x), _halve(y)
        luminance, structure = _similarity(x, y, peak)
        term = structure * luminance if scale == len(MS_SSIM_WEIGHTS) - 1 else structure
        result *= max(float(term.mean()), 0.0) ** weight
    return result


def _similarity(x: Floats, y: Floats, peak: float) -> tuple[Floats, Floats]:
    """Return the maps of luminance and of contrast times structure."""
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    product = mean_x * mean_y
    squares = mean_x**2 + mean_y**2
    covariance = _blur(x * y) - product
    variances = _blur(x * x + y * y) - squares
    return (2 * product + c1) / (squares + c1), (2 * covariance + c2) / (variances + c2)


def _blur(plane: Floats) -> Floats:
    """(H, W) -> (H - 10, W - 10): the Gaussian window at every place where it fits."""
    at = np.arange(WINDOW_TAPS) - (WINDOW_TAPS - 1) / 2
    taps = np.exp(-(at**2) / (2 * WINDOW_SIGMA**2))
    taps /= taps.sum()
    rows = plane.shape[0] - WINDOW_TAPS + 1
    plane = sum(tap * plane[i : i + rows] for i, tap in enumerate(taps))
    columns = plane.shape[1] - WINDOW_TAPS + 1
    return sum(tap * plane[:, i : i + columns] for i, tap in enumerate(taps))


def _halve(plane: Floats) -> Floats:
    """(H, W) -> (ceil(H / 2), ceil(W / 2)): means of 2x2 pixels; an odd edge is repeated."""
    height, width = plane.shape
    if height % 2 or width % 2:
        plane = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    return (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 4
