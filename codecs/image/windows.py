"""Running the networks over a picture of any size in windows, so that memory does not grow with it.

A window reads a halo of neighbours as wide as the networks see, so its middle is what one pass over the
whole picture would give, up to the rounding of float sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from siglum.codecs.image.constants import HYPER_FACTOR, PATCH
from siglum.codecs.image.transform import ImageModel, Preset

WINDOW = 64  # latent positions on a side of a window: 1024 pixels


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Run torch with that many threads, then as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


def analysis_halo(preset: Preset) -> int:
    """Latent positions that the analysis sees beyond a position: its 3x3 layers at 1/8 and 1/16."""
    return -(-preset.analysis8 // 2) + preset.analysis16


def synthesis_halo(preset: Preset) -> int:
    """Latent positions that the synthesis sees beyond a position."""
    return -(-preset.synthesis8 // 2) + preset.synthesis16


def spans(length: int, window: int, halo: int) -> Iterator[tuple[int, int, int, int]]:
    """(start, stop, first, last): the windows of an axis, and what each reads of it."""
    for start in range(0, length, window):
        stop = min(start + window, length)
        yield start, stop, max(0, start - halo), min(length, stop + halo)


def _level(level: int) -> torch.Tensor:
    return torch.full((1,), float(level))


def analyse(model: ImageModel, pixels: np.ndarray, level: int) -> np.ndarray:
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
    out = np.empty((rows, columns, model.preset.latent), np.float32)
    halo = analysis_halo(model.preset)
    for top, bottom, first, last in spans(rows, WINDOW, halo):
        for left, right, begin, end in spans(columns, WINDOW, halo):
            part = pixels[first * PATCH : last * PATCH, begin * PATCH : end * PATCH]
            missing = ((last - first) * PATCH - part.shape[0], (end - begin) * PATCH - part.shape[1])
            part = np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
            x = torch.from_numpy(part.astype(np.float32))[None] / 255.0
            y = model.scaled(model.analysis(x, _level(level)), _level(level))[0].numpy()
            out[top:bottom, left:right] = y[top - first : bottom - first, left - begin : right - begin]
    return out


def hyper_analyse(model: ImageModel, y: np.ndarray, level: int, bound: int) -> np.ndarray:
    """Hyperlatents of a tile's latents (h, w, latent): (ceil(h/4), ceil(w/4), hyper) int16, within +-bound."""
    padded = np.pad(
        y, ((0, -y.shape[0] % HYPER_FACTOR), (0, -y.shape[1] % HYPER_FACTOR), (0, 0)), mode="edge"
    )
    z = model.hyper_analysis(torch.from_numpy(padded)[None], _level(level))[0].numpy()
    return np.clip(np.rint(z), -bound, bound).astype(np.int16)


def synthesise(model: ImageModel, y: np.ndarray, level: int, height: int, width: int) -> np.ndarray:
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
    halo = synthesis_halo(model.preset)
    for top, bottom, first, last in spans(y.shape[0], WINDOW, halo):
        for left, right, begin, end in spans(y.shape[1], WINDOW, halo):
            part = torch.from_numpy(np.ascontiguousarray(y[first:last, begin:end]))[None]
            x = model.synthesis(model.unscaled(part, _level(level)), _level(level))[0]
            inner = x[
                (top - first) * PATCH : (bottom - first) * PATCH,
                (left - begin) * PATCH : (right - begin) * PATCH,
            ]
            target = out[top * PATCH : bottom * PATCH, left * PATCH : right * PATCH]
            samples = torch.round(torch.clamp(inner, 0.0, 1.0) * 255.0).to(torch.uint8)
            target[...] = samples[: target.shape[0], : target.shape[1]].numpy()
    return out
