"""The items of a benchmark: pictures, recordings and arrays below folders, with what identifies them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from siglum.errors import UnsupportedInputError

Medium = Literal["image", "audio", "tensor"]
SUFFIXES: dict[str, Medium] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp", ".ppm", ".bmp", ".tif", ".tiff"), "image"),
    **dict.fromkeys((".wav", ".flac"), "audio"),
    **dict.fromkeys((".npy", ".safetensors"), "tensor"),
}
UNITS: dict[Medium, tuple[str, str]] = {
    "image": ("pixels", "bpp"),
    "audio": ("seconds", "kbps"),
    "tensor": ("elements", "bpe"),
}


@dataclass(frozen=True)
class Audio:
    """A recording: samples of shape (channels, length), float32 in -1..1, and their number a second."""

    samples: NDArray[np.float32]
    rate: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.samples.shape[1] / self.rate


@dataclass(frozen=True)
class Item:
    """One thing to be coded.

    Attributes
    ----------
    name
        Its path below the dataset, with slashes, as text; for a tensor within a file, ``file#tensor``.
    medium
        What it is.
    path
        The file.
    tensor
        Which tensor of the file; None for the whole of it.
    """

    name: str
    medium: Medium
    path: Path
    tensor: str | None = None


@dataclass(frozen=True)
class Dataset:
    """The items of one path that was given, and a digest of their names and contents."""

    path: Path
    items: tuple[Item, ...]
    digests: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Digest of all items; the same wherever the folder lies."""
        lines = [f"{digest} {item.name}\n" for item, digest in zip(self.items, self.digests, strict=True)]
        return sha256("".join(lines).encode()).hexdigest()


def find(paths: Sequence[Path], limit: int | None = None) -> list[Dataset]:
    """Return the datasets: every file below a folder whose suffix tells a medium, or the files themselves.

    Parameters
    ----------
    paths
        Folders and files.
    limit
        At most so many items of each path, in the order of their names.

    Raises
    ------
    FileNotFoundError
        If a path does not exist.
    UnsupportedInputError
        If there is nothing to be coded below a path.
    """
    datasets: list[Dataset] = []
    names: set[str] = set()
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or directory")
        items: list[Item] = []
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix.lower() in SUFFIXES and (file.is_file() or not path.is_dir()):
                name = file.relative_to(path).as_posix() if path.is_dir() else file.name
                # Names of files are any bytes; those that are no text are escaped, for rows and pages are text.
                items += _items_of(name.encode("utf-8", "backslashreplace").decode(), file)
            if limit is not None and len(items) >= limit:
                break
        if not items:
            raise UnsupportedInputError(f"{path} holds nothing to be coded ({', '.join(sorted(SUFFIXES))})")
        if names & {item.name for item in items}:
            # Two paths have files of the same name: those of the later one are told apart by its own.
            items = [
                replace(item, name=f"{path.resolve().parent.name}/{path.name}/{item.name}") for item in items
            ]
        names |= {item.name for item in items}
        chosen = tuple(items[:limit])
        datasets.append(Dataset(path, chosen, tuple(_digest(item) for item in chosen)))
    return datasets


def load(item: Item) -> Any:
    """Return the pixels (H, W, 3) uint8, the `Audio`, or the array of an item.

    Raises
    ------
    OSError, ValueError, SiglumError
        If it cannot be read.
    """
    if item.medium == "image":
        from siglum.datasets.images import load_rgb

        return load_rgb(item.path)
    if item.medium == "audio":
        from siglum.benchmarks.audio import read_audio

        return read_audio(item.path)
    if item.path.suffix.lower() == ".npy":
        array = np.load(item.path, allow_pickle=False)
    else:
        array = _tensor(item)
    if array.dtype.kind not in "fiu" or array.size == 0:
        raise UnsupportedInputError(f"an array of {array.dtype} and shape {array.shape} is not coded")
    return np.ascontiguousarray(array)


def units_of(medium: Medium, media: Any) -> float:
    """Return how many pixels, seconds or elements it has."""
    if medium == "image":
        return int(media.shape[0] * media.shape[1])
    return float(media.seconds) if medium == "audio" else int(media.size)


def rate_of(medium: Medium, size: int, units: float) -> float:
    """Return bits a pixel or an element, or kilobits a second, of a file of ``size`` bytes."""
    return 8 * size / units / (1000 if medium == "audio" else 1)


def _items_of(name: str, file: Path) -> list[Item]:
    medium = SUFFIXES[file.suffix.lower()]
    if file.suffix.lower() != ".safetensors":
        return [Item(name, medium, file)]
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            return [Item(f"{name}#{key}", medium, file, key) for key in sorted(opened.keys())]
    except (SafetensorError, OSError):
        return [Item(name, medium, file)]  # reading it will say what is wrong


def _tensor(item: Item) -> NDArray[Any]:
    """Return a tensor of a file; NumPy has no bfloat16, whose values float32 holds exactly."""
    from safetensors import safe_open

    with safe_open(item.path, framework="numpy") as file:
        if item.tensor is None or file.get_slice(item.tensor).get_dtype() != "BF16":
            return np.asarray(file.get_tensor(item.tensor))
    with item.path.open("rb") as raw:
        size = int.from_bytes(raw.read(8), "little")
        head = json.loads(raw.read(size))[item.tensor]
        start, end = head["data_offsets"]
        raw.seek(8 + size + start)
        halves = np.frombuffer(raw.read(end - start), "<u2")
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(head["shape"])


def _digest(item: Item) -> str:
    digest = sha256()
    try:
        with item.path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError:
        return ""  # reading it will say what is wrong
    if item.tensor is not None:
        digest.update(item.tensor.encode())
    return digest.hexdigest()
