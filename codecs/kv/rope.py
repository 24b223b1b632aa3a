"""Rotary position embeddings: what a model did to its keys, undone before coding and done again after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import isfinite, pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.errors import UnsupportedInputError

LAYOUTS = ("half", "interleaved")
SCALINGS = {"default": 0, "linear": 1, "llama3": 4}
"""Variants that can be undone, and how many numbers each needs."""

# Models of these types turn channel i together with channel i + dim / 2, on the first `dim` channels of a head.
HALF_TYPES = frozenset({
    "llama", "mistral", "mixtral", "ministral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "gemma", "gemma2",
    "gemma3", "gemma3_text", "granite", "olmo", "olmo2", "phi", "phi3", "stablelm", "starcoder2", "smollm3",
    "gpt_neox", "exaone", "arcee",
})  # fmt: skip


@dataclass(frozen=True)
class Rope:
    """Rotary embedding of the keys of a layer (Su et al., arXiv 2104.09864).

    Attributes
    ----------
    theta
        Base of the frequencies.
    dim
        How many channels are turned, from the first; even.
    layout
        Which two channels turn together: "half" (i and i + dim / 2) or "interleaved" (2i and 2i + 1).
    scaling
        "default", "linear" (positions divided by a factor) or "llama3" (low frequencies only).
    parameters
        None; (factor,); (factor, low_freq_factor, high_freq_factor, original_max_position_embeddings).
    """

    theta: float
    dim: int
    layout: str = "half"
    scaling: str = "default"
    parameters: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        numbers = (self.theta, *self.parameters)
        if (
            self.layout not in LAYOUTS
            or SCALINGS.get(self.scaling) != len(self.parameters)
            or self.dim < 2
            or self.dim % 2
            or not all(isfinite(number) and number > 0 for number in numbers)
        ):
            raise UnsupportedInputError(f"{self} is no rotary embedding that can be undone")

    def frequencies(self) -> NDArray[np.float64]:
        """Radians a position of each pair, (dim / 2,)."""
        plain = self.theta ** (-np.arange(0, self.dim, 2) / self.dim)
        if self.scaling == "linear":
            return plain / self.parameters[0]
        if self.scaling == "llama3":
            factor, low, high, length = self.parameters
            wavelength = 2 * pi / plain
            smooth = np.clip((length / wavelength - low) / (high - low), 0, 1)
            return (1 - smooth) * plain / factor + smooth * plain
        return plain

    def tables(self, start: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Cosines and sines of positions start to start + count - 1, (count, dim / 2) each."""
        return _tables(self, start, count)

    def turn(self, keys: NDArray[np.float32], start: int, *, back: bool = False) -> NDArray[np.float32]:
        """Keys (..., tokens, channels) with the embedding applied, or undone.

        Parameters
        ----------
        keys
            float32; positions run along the last axis but one.
        start
            Position of the first.
        back
            Undo it.
        """
        cos, sin = self.tables(start, keys.shape[-2])
        if back:
            sin = -sin
        out = np.array(keys, np.float32)
        first, second = self._pairs()
        a, b = keys[..., first], keys[..., second]
        out[..., first] = a * cos - b * sin
        out[..., second] = b * cos + a * sin
        return out

    def _pairs(self) -> tuple[slice, slice]:
        half = self.dim // 2
        if self.layout == "half":
            return slice(0, half), slice(half, self.dim)
        return slice(0, self.dim, 2), slice(1, self.dim, 2)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"parameters": list(self.parameters)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Rope:
        """The inverse of `to_dict`.

        Raises
        ------
        UnsupportedInputError
            If the fields describe no embedding that is known.
        """
        try:
            return cls(
                float(fields["theta"]),
                int(fields["dim"]),
                str(fields.get("layout", "half")),
                str(fields.get("scaling", "default")),
                tuple(float(number) for number in fields.get("parameters", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UnsupportedInputError(f"{dict(fields)!r} describes no rotary embedding: {error}") from error


@lru_cache(64)
def _tables(rope: Rope, start: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    angles = np.outer(np.arange(start, start + count, dtype=np.float64), rope.frequencies())
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    cos.flags.writeable = sin.flags.writeable = False
    return cos, sin


def ropes_of_config(config: Mapping[str, Any], layers: int) -> list[Rope | None]:
    """The rotary embedding of each layer, from the configuration of a transformers model.

    Parameters
    ----------
    config
        As `config.to_dict()` of the model, or its text part, gives it.
    layers
        How many layers the cache has.

    Raises
    ------
    UnsupportedInputError
        If the kind of model or of scaling is unknown: it is not guessed.
    """
    config = config.get("text_config") or config
    kind = str(config.get("model_type"))
    if kind not in HALF_TYPES:
        raise UnsupportedInputError(
            f"how models of type {kind!r} turn their keys is not known; "
            "give the embedding of each layer, or None for keys that are to be coded as they are"
        )
    kinds = list(config.get("layer_types") or [])
    kinds = [kinds[i] if i < len(kinds) else "full_attention" for i in range(layers)]
    found = {name: _rope_of(config, name) for name in set(kinds)}
    with_rope = list(config.get("no_rope_layers") or [1] * layers)  # smollm3: 0 where a layer has none
    return [found[name] if with_rope[i] else None for i, name in enumerate(kinds)]


def _rope_of(config: Mapping[str, Any], layer_type: str) -> Rope:
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    sliding = layer_type == "sliding_attention"
    if layer_type in given:
        given = given[layer_type]
    elif sliding and config.get("rope_local_base_freq"):
        given = {"rope_theta": config["rope_local_base_freq"]}
    theta = float(given.get("rope_theta") or config.get("rope_theta") or 10000.0)
    share = given.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    dim = int(size * float(share))
    scaling = str(given.get("rope_type") or given.get("type") or "default")
    names = {
        "default": (),
        "linear": ("factor",),
        "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    }
    if scaling not in names:
        raise UnsupportedInputError(
            f"rotary embeddings of type {scaling!r} cannot be undone (known: {', '.join(names)}); "
            "give None as the embedding to have the keys coded as they are"
        )
    try:
        numbers = tuple(float(given[name]) for name in names[scaling])
    except KeyError as error:
        raise UnsupportedInputError(f"the rotary embedding of type {scaling!r} lacks {error}") from error
    return Rope(theta, dim, "half", scaling, numbers)
