"""Entropy coders by name: the file format's own, and others for research."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from siglum.registry import Registry


@dataclass(frozen=True)
class Coder:
    """A pair of classes with the interface of `siglum.entropy.rans`.

    Attributes
    ----------
    encoder
        `encoder()` has `push(symbols, tables, indexes)` for each step and `finish() -> bytes`.
    decoder
        `decoder(data)` has `decode(tables, indexes)` for each step and `finish()`.
    """

    encoder: type[Any]
    decoder: type[Any]


CODERS: Registry[Coder] = Registry(
    "coder",
    "siglum.coders",
    {
        "rans": "siglum.entropy.rans",
        "precise": "siglum.entropy.precise",
        "constriction-ans": "siglum.entropy.constriction",
    },
)
