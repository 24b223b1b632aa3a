"""What is found by name: structures, ways of learning a codebook, gradient estimators. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siglum.registry import Registry

if TYPE_CHECKING:
    from siglum.quantizers.base import Quantizer
    from siglum.quantizers.codebook import Codebook

_HERE = "siglum.quantizers"

QUANTIZERS: Registry[Quantizer] = Registry(
    "quantizer",
    _HERE,
    {
        "additive": f"{_HERE}.additive",
        "cascade": f"{_HERE}.cascade",
        "finite": f"{_HERE}.finite",
        "group-residual": f"{_HERE}.group_residual",
        "lattice": f"{_HERE}.lattice",
        "lookup-free": f"{_HERE}.binary",
        "product": f"{_HERE}.product",
        "residual": f"{_HERE}.residual",
        "scalar": f"{_HERE}.scalar",
        "spherical": f"{_HERE}.binary",
        "vector": f"{_HERE}.vector",
    },
)
"""Structures, made by their settings."""

CODEBOOKS: Registry[Codebook] = Registry(
    "kind of codebook",
    "siglum.codebooks",
    {
        "bridge": f"{_HERE}.codebooks.bridge",
        "ema": f"{_HERE}.codebooks.ema",
        "entropy-constrained": f"{_HERE}.codebooks.rate",
        "frozen": f"{_HERE}.codebooks.linear",
        "gradient": f"{_HERE}.codebook",
        "gumbel": f"{_HERE}.codebooks.soft",
        "ibq": f"{_HERE}.codebooks.soft",
        "penalised": f"{_HERE}.codebooks.penalised",
        "projected": f"{_HERE}.codebooks.projected",
        "simvq": f"{_HERE}.codebooks.linear",
    },
)
"""Kinds of codebooks, made as ``kind(size, dim, **settings)``."""

ESTIMATORS: Registry[Any] = Registry(
    "gradient estimator",
    None,
    {
        "codebook": f"{_HERE}.estimators",
        "diveq": f"{_HERE}.estimators",
        "rotation": f"{_HERE}.estimators",
        "straight-through": f"{_HERE}.estimators",
    },
)
"""Functions ``(x, values) -> values`` that differ in their gradients alone."""
