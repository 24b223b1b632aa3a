"""The picture models of CompressAI's zoo, where their weights are on disk; nothing is downloaded.

CompressAI has no file format. The file here is the smallest that decodes: a head of nine bytes (the quality, the
picture's and the hyperlatents' sizes) and the strings of its own coder with their lengths.

References
----------
Bégaint, Racapé, Feltman, Pushparaja: CompressAI. arXiv 2011.03029, 2020.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.benchmarks.coder import Coder, Dial, MissingPeer
from siglum.benchmarks.torchvision_guard import import_beside_any_torch
from siglum.errors import BitstreamError

Pixels = NDArray[np.uint8]
PREFIX = "compressai-"
MULTIPLE = 64  # both sides of what the models take are multiples of it
_HEAD = struct.Struct("<BHHHH")


def zoo(name: str, threads: int) -> Coder:
    """Return a model of the zoo, trained for squared error; its dial is the zoo's quality, 1 to 8.

    Raises
    ------
    MissingPeer
        If CompressAI is not installed, or no weights of the model are in torch's folder of checkpoints.
    """
    try:
        images = import_beside_any_torch("compressai.zoo.image")
    except ImportError as error:
        raise MissingPeer(
            f"{name} needs CompressAI ({error}): pip install 'siglum[compressai]' in an environment of its own, "
            "whose numpy is below 2"
        ) from error
    model = name.removeprefix(PREFIX)
    urls: dict[int, str] = images.model_urls[model]["mse"]
    folder = _checkpoints()
    files = {quality: folder / url.rsplit("/", 1)[1] for quality, url in urls.items()}
    dials = tuple(float(quality) for quality, file in sorted(files.items()) if file.is_file())
    if not dials:
        first = next(iter(files.values()))
        raise MissingPeer(f"{name}: its weights are not on disk; {first.name} and its like go into {folder}")

    def encode(pixels: Pixels, dial: Dial) -> bytes:
        return _encode(model, threads, round(dial or 0), pixels)

    return Coder(
        name,
        "image",
        ".cai",
        dials,
        quick=dials[:: max(1, len(dials) // 4)],
        version=f"compressai {version('compressai')}, torch {version('torch')}",
        encode=encode,
        decode=lambda data: _decode(model, threads, data),
        settings=lambda dial: {"quality": round(dial or 0), "metric": "mse", "device": "cpu"},
        threads=threads,
    )


def _checkpoints() -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


@lru_cache(maxsize=2)
def _network(model: str, quality: int) -> Any:
    models = import_beside_any_torch("compressai.zoo").image_models
    network = models[model](quality=quality, metric="mse", pretrained=True, progress=False).eval()
    network.update()
    return network


def _encode(model: str, threads: int, quality: int, pixels: Pixels) -> bytes:
    import torch

    torch.set_num_threads(threads)
    height, width = pixels.shape[:2]
    # Grown at the right and at the bottom by their last pixels: what is grown is cut again.
    grown = np.pad(pixels, ((0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0)), mode="edge")
    values = torch.from_numpy(np.ascontiguousarray(grown.transpose(2, 0, 1))).float().div(255)[None]
    with torch.inference_mode():
        coded = _network(model, quality).compress(values)
    strings = [group[0] for group in coded["strings"]]
    head = _HEAD.pack(quality, height, width, *coded["shape"])
    return head + b"".join(struct.pack("<I", len(string)) + string for string in strings)


def _decode(model: str, threads: int, data: bytes) -> Pixels:
    import torch

    torch.set_num_threads(threads)
    try:
        quality, height, width, rows, columns = _HEAD.unpack_from(data)
        strings, at = [], _HEAD.size
        while at < len(data):
            (length,) = struct.unpack_from("<I", data, at)
            strings.append([data[at + 4 : at + 4 + length]])
            at += 4 + length
    except struct.error as error:
        raise BitstreamError(f"not a whole file of {model}: {error}") from error
    with torch.inference_mode():
        decoded = _network(model, quality).decompress(strings, (rows, columns))["x_hat"][0]
    values = decoded[:, :height, :width].clamp(0, 1).mul(255).round().byte()
    return np.ascontiguousarray(values.permute(1, 2, 0).numpy())
