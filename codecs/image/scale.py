"""Pictures at 1/2, 1/4 and 1/8: sizes, means of pixels, and which blocks of the synthesis they need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from siglum.codecs import models
from siglum.codecs.image.region import Region
from siglum.errors import UsageError

FACTORS = (2, 4, 8)
PREVIEW = models.PREVIEW


def kept_blocks(factor: int, preset: Mapping[str, int]) -> int:
    """Blocks at 1/8 that a short cut runs: half of them at 1/2, a quarter at 1/4, none at 1/8."""
    return int(preset["synthesis8"]) * {2: 2, 4: 1, 8: 0}[factor] // 4


def check_factor(factor: int) -> int:
    """Return it, if pictures are decoded at 1/factor.

    Raises
    ------
    UsageError
        If they are not.
    """
    if factor not in FACTORS:
        raise UsageError(f"pictures are decoded at 1/2, 1/4 or 1/8, not at 1/{factor}")
    return factor


def check_region(region: Region, factor: int) -> Region:
    """Return it, if it begins at a pixel of the smaller picture.

    Raises
    ------
    UsageError
        If x or y is no multiple of the factor.
    """
    if region.x % factor or region.y % factor:
        raise UsageError(
            f"at 1/{factor} a region begins at a multiple of {factor} pixels, not at {region.x},{region.y}"
        )
    return region


def scaled(length: int, factor: int) -> int:
    """Pixels on a side at 1/factor; the last may stand for fewer than `factor`."""
    return -(-length // factor)


def means(parts: Iterable[NDArray[np.uint8]], factor: int) -> NDArray[np.uint8]:
    """Means over factor x factor pixels, rounded; fewer at the right and lower edge.

    Colours of RGBA weigh as much as they are opaque.

    Parameters
    ----------
    parts
        (rows, W) or (rows, W, C) uint8: a picture from top to bottom, in strips of any height.

    Returns
    -------
    (ceil(H / factor), ceil(W / factor)[, C]) uint8.
    """
    return np.concatenate([_means(part, factor) for part in _whole_rows(parts, factor)])


def _whole_rows(parts: Iterable[NDArray[np.uint8]], factor: int) -> Iterator[NDArray[np.uint8]]:
    """The same picture in strips whose heights are multiples of the factor, but for the last."""
    rest: NDArray[np.uint8] | None = None
    for part in parts:
        part = part if rest is None else np.concatenate([rest, part])
        end = len(part) // factor * factor
        if end:
            yield part[:end]
        rest = part[end:]
    if rest is not None and len(rest):
        yield rest


def _means(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        weight = _sums(pixels[..., 3:].astype(np.uint32), factor)
        plain = _means(pixels[..., :3], factor)
        colours = _sums(pixels[..., :3].astype(np.uint32) * pixels[..., 3:], factor)
        shown = np.where(weight, (colours + weight // 2) // np.maximum(weight, 1), plain)
        return np.concatenate([shown.astype(np.uint8), _means(pixels[..., 3], factor)[..., None]], axis=2)
    counts = _sums(np.ones((*pixels.shape[:2], *[1] * (pixels.ndim - 2)), np.uint32), factor)
    return ((_sums(pixels, factor) + counts // 2) // counts).astype(np.uint8)


def _sums(values: NDArray[np.integer], factor: int) -> NDArray[np.uint32]:
    rows, columns = (np.arange(0, side, factor) for side in values.shape[:2])
    by_row = np.add.reduceat(values, rows, axis=0, dtype=np.uint32)
    return np.add.reduceat(by_row, columns, axis=1, dtype=np.uint32)
