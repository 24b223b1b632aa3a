"""Quantizers: vectors <-> codes. `get("residual", dim=64, stages=8, codewords=1024)` makes one; torch comes with it.

Structures (how codes are arranged) are registered in `QUANTIZERS`, ways of learning a codebook in `CODEBOOKS`,
gradients through the choice of a codeword in `ESTIMATORS`. Listing names imports no torch, nor does
`siglum.quantizers.tables`, which uses exported quantizers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from siglum.errors import UsageError, require_torch
from siglum.quantizers.names import CODEBOOKS, ESTIMATORS, QUANTIZERS

if TYPE_CHECKING:
    from siglum.quantizers.base import Quantizer

__all__ = ["CODEBOOKS", "ESTIMATORS", "QUANTIZERS", "from_config", "get", "names"]


def get(name: str, **config: Any) -> Quantizer:
    """The quantizer of that name with the given settings.

    Raises
    ------
    UnknownCodecError
        If there is none; the message lists near matches.
    SiglumError
        If torch is not installed.
    """
    require_torch(f"the quantizer {name!r}")
    return QUANTIZERS.get(name, **config)


def from_config(config: Mapping[str, Any]) -> Quantizer:
    """The quantizer that a ``config()`` describes, untrained: its state is torch's ``state_dict``.

    Raises
    ------
    UsageError
        If the name is missing.
    """
    settings = dict(config)
    if not isinstance(settings.get("name"), str):
        raise UsageError("the config of a quantizer has a 'name'; this one has not")
    return get(settings.pop("name"), **settings)


def names() -> list[str]:
    """The names of all structures, installed ones of other packages included."""
    return QUANTIZERS.names()
