"""Running the networks over a picture of any size in windows, so that memory does not grow with it.

A window reads a halo of neighbours as wide as the networks see, so its middle is what one pass over the
whole picture would give, up to the rounding of float sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.image.constants import PATCH
from siglum.codecs.image.engine import Engine

WINDOW = 128  # latent positions on a side of a window at most: 2048 pixels


def analysis_halo(preset: Mapping[str, int]) -> int:
    """Latent positions that the analysis sees beyond a position: its 3x3 layers at 1/8 and 1/16."""
    return -(-preset["analysis8"] // 2) + preset["analysis16"]


def synthesis_halo(preset: Mapping[str, int]) -> int:
    """Latent positions that the synthesis sees beyond a position."""
    return -(-preset["synthesis8"] // 2) + preset["synthesis16"]


def spans(length: int, window: int, halo: int) -> Iterator[tuple[int, int, int, int]]:
    """(start, stop, first, last): the windows of an axis, of about equal size, and what each reads of it."""
    count = -(-length // window)
    for number in range(count):
        start, stop = length * number // count, length * (number + 1) // count
        yield start, stop, max(0, start - halo), min(length, stop + halo)


def spans_within(
    first: int, last: int, window: int, halo: int, length: int
) -> Iterator[tuple[int, int, int, int]]:
    """As `spans`, of the part first..last - 1 of an axis."""
    for start, stop, _, _ in spans(last - first, window, halo):
        yield first + start, first + stop, max(0, first + start - halo), min(length, first + stop + halo)


def analyse(
    engine: Engine, preset: Mapping[str, int], pixels: NDArray[np.uint8], level: int, threads: int
) -> NDArray[np.float32]:
    """Latents of a picture in units of their step.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8; edges are continued to a multiple of 16.

    Returns
    -------
    (ceil(H/16), ceil(W/16), latent) float32.
    """
    height, width = pixels.shape[:2]
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    out = np.empty((rows, columns, preset["latent"]), np.float32)
    halo = analysis_halo(preset)
    for top, bottom, first, last in spans(rows, WINDOW, halo):
        for left, right, begin, end in spans(columns, WINDOW, halo):
            part = pixels[first * PATCH : last * PATCH, begin * PATCH : end * PATCH]
            target = out[top:bottom, left:right]
            engine.analyse(part, level, target, top - first, left - begin, threads)
    return out


def synthesise(
    engine: Engine,
    preset: Mapping[str, int],
    y: NDArray[np.float32],
    level: int,
    height: int,
    width: int,
    threads: int,
) -> NDArray[np.uint8]:
    """Picture of the latents.

    Parameters
    ----------
    y
        (h, w, latent) float32 in units of their step.

    Returns
    -------
    (height, width, 3) uint8.
    """
    out = np.empty((height, width, 3), np.uint8)
    halo = synthesis_halo(preset)
    for top, bottom, first, last in spans(y.shape[0], WINDOW, halo):
        for left, right, begin, end in spans(y.shape[1], WINDOW, halo):
            target = out[top * PATCH : bottom * PATCH, left * PATCH : right * PATCH]
            place = (top - first) * PATCH, (left - begin) * PATCH
            engine.synthesise(y[first:last, begin:end], level, target, *place, threads)
    return out
