"""Import of torchvision, and of what imports it, beside a torch that was built without CUDA."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# torchvision registers shapes for these operators of its own while it is imported. Its wheels hold them as CUDA code
# that does not load beside another build of torch; no codec and no metric here calls them.
_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[Any] = []  # a library's definitions go when it does


def import_beside_any_torch(module: str) -> Any:
    """Import a module that imports torchvision.

    Raises
    ------
    ImportError
        If it, or something that it needs, is not installed.
    """
    try:
        return import_module(module)
    except RuntimeError as error:
        if "operator torchvision::" not in str(error) or _kept:
            raise ImportError(str(error)) from error
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _OPERATORS:
        library.define(schema)
    _kept.append(library)
    try:
        return import_module(module)
    except RuntimeError as error:
        raise ImportError(str(error)) from error
