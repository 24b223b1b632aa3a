"""Folders of photographs as arrays; random crops of them for training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".ppm", ".bmp", ".tif", ".tiff"})


def find_images(folder: Path | str) -> list[Path]:
    """All pictures below `folder`, sorted by path, so that every machine sees the same order.

    Raises
    ------
    FileNotFoundError
        If `folder` is not a directory or holds no picture.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder")
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise FileNotFoundError(f"{root} holds no picture ({', '.join(sorted(SUFFIXES))})")
    return found


def load_rgb(path: Path | str) -> np.ndarray:
    """One picture as a (H, W, 3) uint8 array."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def split(paths: list[Path], every: int = 12) -> tuple[list[Path], list[Path]]:
    """Training and validation paths: every `every`-th picture of the sorted list validates."""
    train = [path for i, path in enumerate(paths) if i % every != every - 1]
    return train, [path for i, path in enumerate(paths) if i % every == every - 1]


class CropSampler:
    """Random square crops, flipped and transposed, from photographs held in memory at several scales.

    A photograph is drawn with probability proportional to the square root of its area, so that a folder
    of many small pictures does not drown a few large, clean ones; smaller scales remove traces of the
    JPEG compression that the sources went through.

    Parameters
    ----------
    paths
        The photographs. Those smaller than `size` at every scale are left out.
    size
        Side of a crop in pixels.
    scales
        Factors in (0, 1] by which each photograph is reduced (Lanczos) beforehand.
    seed
        Seed of the crops.
    """

    def __init__(
        self,
        paths: list[Path],
        size: int = 256,
        scales: tuple[float, ...] = (1.0, 0.8, 0.64, 0.5),
        seed: int = 0,
    ) -> None:
        self.size = size
        self.random = np.random.default_rng(seed)
        self.arrays: list[np.ndarray] = []
        weights = []
        for path in paths:
            with Image.open(path) as source:
                image = source.convert("RGB")
            versions = []
            for scale in scales:
                shape = (round(image.width * scale), round(image.height * scale))
                if min(shape) >= size:
                    resized = image if scale == 1 else image.resize(shape, Image.Resampling.LANCZOS)
                    versions.append(np.asarray(resized))
            self.arrays += versions
            weights += [np.sqrt(image.width * image.height) / len(versions)] * len(versions)
        if not self.arrays:
            raise ValueError(f"no picture is as large as the crops ({size} x {size})")
        self.weights = np.cumsum(weights) / np.sum(weights)

    def batch(self, count: int) -> np.ndarray:
        """A (count, size, size, 3) uint8 array of crops."""
        crops = np.empty((count, self.size, self.size, 3), np.uint8)
        for crop in crops:
            array = self.arrays[int(np.searchsorted(self.weights, self.random.random()))]
            top = self.random.integers(array.shape[0] - self.size + 1)
            left = self.random.integers(array.shape[1] - self.size + 1)
            view = array[top : top + self.size, left : left + self.size]
            turn = self.random.integers(8)
            view = view[::-1] if turn & 1 else view
            view = view[:, ::-1] if turn & 2 else view
            crop[...] = view.transpose(1, 0, 2) if turn & 4 else view
        return crops

    def batches(self, count: int) -> Iterator[np.ndarray]:
        """Batches without end."""
        while True:
            yield self.batch(count)
