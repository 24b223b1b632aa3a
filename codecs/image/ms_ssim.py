"""Multi-scale structural similarity as a differentiable loss.

The metric of Wang, Simoncelli, Bovik: Multi-scale structural similarity for image quality assessment. Asilomar
2003: five scales, Gaussian windows of 11 taps at valid positions. It is the metric of `siglum.benchmarks.metrics`,
written again so that gradients pass.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
TAPS = 11
SIGMA = 1.5
SMALLEST_SIDE = TAPS * 2 ** (len(WEIGHTS) - 1)
C1, C2 = 0.01**2, 0.03**2
FLOOR = 1e-4  # least value of a scale's mean, so that the power has a finite slope


def ms_ssim(reference: Tensor, picture: Tensor) -> Tensor:
    """MS-SSIM of each picture of a batch, the mean over its channels.

    Parameters
    ----------
    reference, picture
        (B, H, W, C) in 0..1, H and W at least `SMALLEST_SIDE` (176); computed in float32.

    Returns
    -------
    (B,) float32, at most 1.

    Raises
    ------
    ValueError
        If the shapes differ or a side is too short.
    """
    if reference.shape != picture.shape or reference.ndim != 4:
        shapes = f"{tuple(reference.shape)} and {tuple(picture.shape)}"
        raise ValueError(f"reference and picture are of shapes {shapes}; both must be the same (B, H, W, C)")
    if min(reference.shape[1:3]) < SMALLEST_SIDE:
        raise ValueError(
            f"MS-SSIM needs sides of at least {SMALLEST_SIDE}, not {tuple(reference.shape[1:3])}"
        )
    with torch.autocast(reference.device.type, enabled=False):  # differences of near numbers need float32
        return _of_planes(*(value.float().movedim(-1, 1).contiguous() for value in (reference, picture)))


def _of_planes(x: Tensor, y: Tensor) -> Tensor:
    """(B, C, H, W) twice -> (B,)."""
    result = torch.ones(x.shape[:2], device=x.device)
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            x, y = (F.avg_pool2d(_even(value), 2) for value in (x, y))
        luminance, structure = _similarity(x, y)
        last = scale == len(WEIGHTS) - 1
        term = (structure * luminance if last else structure).mean((2, 3))
        result = result * term.clamp_min(FLOOR) ** weight
    return result.mean(1)


def _similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The maps of luminance and of contrast times structure."""
    mean_x, mean_y, squares, product = _blur(torch.cat([x, y, x * x + y * y, x * y], dim=1)).chunk(4, dim=1)
    both = mean_x * mean_y
    energy = mean_x * mean_x + mean_y * mean_y
    luminance = (2 * both + C1) / (energy + C1)
    return luminance, (2 * (product - both) + C2) / (squares - energy + C2)


def _blur(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H - 10, W - 10): the window at every place where it fits, as two band matrices."""
    rows, columns = (_band(side).to(x.device) for side in x.shape[2:])
    return rows @ (x @ columns.T)


@cache
def _band(side: int) -> Tensor:
    """(side - 10, side): row i holds the taps of the window that begins at i."""
    at = torch.arange(TAPS, dtype=torch.float64) - (TAPS - 1) / 2
    taps = torch.exp(-(at**2) / (2 * SIGMA**2))
    matrix = torch.zeros(side - TAPS + 1, side, dtype=torch.float64)
    for tap, value in enumerate(taps / taps.sum()):
        matrix.diagonal(tap).fill_(float(value))
    return matrix.float()


def _even(x: Tensor) -> Tensor:
    """Sides continued to even ones by repeating the edge."""
    height, width = x.shape[2:]
    return F.pad(x, (0, width % 2, 0, height % 2), mode="replicate") if height % 2 or width % 2 else x
