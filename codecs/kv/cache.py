"""What the codec takes and gives: the keys and values of each layer, and how the keys were turned."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.rope import Rope, ropes_of_config
from siglum.errors import UnsupportedInputError, require_torch

__all__ = ["DTYPES", "KVCache", "Layer", "as_float", "from_float"]

DTYPES: dict[str, np.dtype[Any]] = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(np.uint16),
    "float32": np.dtype(np.float32),
}
"""Types of samples, and what NumPy holds them as: bfloat16 as the upper halves of float32, in uint16."""


class Layer(NamedTuple):
    """Keys and values of a layer.

    Attributes
    ----------
    keys, values
        (heads, tokens, channels) each; channels may differ between keys and values.
    rope
        How the keys were turned, or None if they were not, or are to be coded as they are.
    start
        Number of the first token that is there: 0, or more in layers that see a sliding window only.
    """

    keys: NDArray[Any]
    values: NDArray[Any]
    rope: Rope | None = None
    start: int = 0

    @property
    def tokens(self) -> int:
        """How many tokens this layer has."""
        return int(self.keys.shape[1])


@dataclass(frozen=True)
class KVCache:
    """The key-value cache of one sequence.

    Attributes
    ----------
    layers
        In order. All end at the same token.
    dtype
        "float16", "bfloat16" (arrays of uint16, see `DTYPES`) or "float32".
    model
        Name of the model that filled it, by which a calibration is chosen; may be empty. Of a path the last part
        is kept: files name no folders.
    position
        Position, as rotary embeddings count it, of token 0.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> keys, values = rng.standard_normal((2, 3, 100, 64)).astype(np.float16)
    >>> cache = KVCache.from_arrays([(keys, values)], rope=Rope(10000.0, 64))
    >>> cache.tokens, cache.elements, cache.nbytes
    (100, 38400, 76800)
    >>> cache.slice(10, 20).tokens
    10
    """

    layers: Sequence[Layer]
    dtype: str = "float16"
    model: str = ""
    position: int = 0
    notes: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if self.model.count("/") != 1 or self.model.startswith((".", "/", "~")):  # no owner/name of a hub
            object.__setattr__(self, "model", re.split(r"[/\\]", self.model.rstrip("/\\"))[-1])
        check(self)

    @classmethod
    def from_arrays(
        cls,
        layers: Iterable[tuple[NDArray[Any], NDArray[Any]]],
        *,
        rope: Rope | Sequence[Rope | None] | None = None,
        dtype: str | None = None,
        model: str = "",
        position: int = 0,
    ) -> KVCache:
        """A cache of arrays (heads, tokens, channels), keys and values of each layer.

        Parameters
        ----------
        layers
            float16 or float32 arrays; bfloat16 as uint16 with ``dtype="bfloat16"``.
        rope
            Of all layers, or of each. None: the keys are coded as they are.
        """
        pairs = [(np.asarray(keys), np.asarray(values)) for keys, values in layers]
        ropes = list(rope) if isinstance(rope, Sequence) else [rope] * len(pairs)
        if len(ropes) != len(pairs):
            raise UnsupportedInputError(f"{len(ropes)} rotary embeddings for {len(pairs)} layers")
        if dtype is None:
            dtype = pairs[0][0].dtype.name if pairs else "float16"
        longest = max((keys.shape[1] for keys, _ in pairs if keys.ndim == 3), default=0)
        made = [
            Layer(keys, values, turned, longest - keys.shape[1] if keys.ndim == 3 else 0)
            for (keys, values), turned in zip(pairs, ropes, strict=True)
        ]
        return cls(made, dtype, model, position)

    @classmethod
    def from_transformers(
        cls, cache: Any, config: Any = None, *, model: str = "", batch: int | None = None
    ) -> KVCache:
        """A cache of transformers' (`DynamicCache`); what is on a GPU stays there.

        Parameters
        ----------
        cache
            What a model returns as ``past_key_values``; (batch, heads, tokens, channels) in each layer.
        config
            The model's ``config`` or its ``to_dict()``: says how keys were turned. Without it they are coded
            as they are, which costs bits.
        model
            Name for `model`; by default that in the configuration.
        batch
            Which sequence; may be left out if there is one.

        Raises
        ------
        UnsupportedInputError
            If the configuration is of an unknown kind, or there are several sequences and none is chosen.
        """
        fields: dict[str, Any] = (
            config if isinstance(config, dict) else {} if config is None else config.to_dict()
        )
        layers = list(cache.layers)
        ropes = ropes_of_config(fields, len(layers)) if fields else [None] * len(layers)
        tokens = max((int(getattr(layer, "cumulative_length", 0) or 0) for layer in layers), default=0)
        made, kind = [], "float16"
        for layer, rope in zip(layers, ropes, strict=True):
            if getattr(layer, "keys", None) is None or layer.keys.ndim != 4:
                raise UnsupportedInputError(
                    "a layer of the cache has no keys (batch, heads, tokens, channels)"
                )
            size = layer.keys.shape[0]
            if batch is None and size != 1:
                raise UnsupportedInputError(f"the cache has {size} sequences: choose one by batch=")
            kind, keys = array_of(layer.keys[batch or 0])
            made.append((keys, array_of(layer.values[batch or 0])[1], rope))
        tokens = max([tokens, *(keys.shape[1] for keys, _, _ in made)])
        return cls(
            [Layer(keys, values, rope, tokens - keys.shape[1]) for keys, values, rope in made],
            kind,
            model or str(fields.get("_name_or_path") or fields.get("_model_name_or_path") or ""),
        )

    def to_transformers(self, config: Any = None, device: str = "cpu") -> Any:
        """A `DynamicCache` of batch 1.

        Parameters
        ----------
        config
            The model's; needed where layers have sliding windows.
        device
            Where torch puts it.
        """
        require_torch("a cache of transformers")
        from transformers import DynamicCache

        cache = DynamicCache(config=config) if config is not None else DynamicCache()
        for number, layer in enumerate(self.layers):
            keys, values = (torch_of(part, self.dtype)[None].to(device) for part in layer[:2])
            cache.update(keys, values, number)
            made: Any = cache.layers[number]
            if hasattr(made, "cumulative_length"):
                made.cumulative_length = self.tokens
        return cache

    @property
    def tokens(self) -> int:
        """How many tokens the sequence has, those that sliding windows have left behind included."""
        return max((layer.start + layer.tokens for layer in self.layers), default=0)

    @property
    def elements(self) -> int:
        """Numbers in all layers, keys and values."""
        return sum(layer.keys.size + layer.values.size for layer in self.layers)

    @property
    def nbytes(self) -> int:
        """Bytes of all layers as they are."""
        return self.elements * DTYPES[self.dtype].itemsize

    def slice(self, start: int, stop: int) -> KVCache:
        """Tokens start to stop - 1, as views; their positions stay what they were."""
        layers = []
        for layer in self.layers:
            low, high = max(start - layer.start, 0), max(stop - layer.start, 0)
            keys, values = layer.keys[:, low:high], layer.values[:, low:high]
            layers.append(Layer(keys, values, layer.rope, max(layer.start - start, 0)))
        return KVCache(layers, self.dtype, self.model, self.position + start, self.notes)


def check(cache: KVCache) -> None:
    """Refuse what is no cache: shapes or types that do not fit together.

    Raises
    ------
    UnsupportedInputError
        Naming the layer and what was expected.
    """
    if cache.dtype not in DTYPES:
        raise UnsupportedInputError(f"a cache has samples of {', '.join(DTYPES)}, not {cache.dtype!r}")
    if not cache.layers:
        raise UnsupportedInputError("a cache needs at least one layer")
    wanted = DTYPES[cache.dtype]
    ends = {layer.start + layer.tokens for layer in cache.layers if layer.keys.ndim == 3}
    for number, (keys, values, rope, start) in enumerate(cache.layers):
        if keys.ndim != 3 or values.ndim != 3 or keys.shape[:2] != values.shape[:2] or start < 0:
            raise UnsupportedInputError(
                f"layer {number}: keys {keys.shape} and values {values.shape} must be (heads, tokens, channels)"
            )
        if keys.dtype != wanted or values.dtype != wanted:
            raise UnsupportedInputError(f"layer {number} holds {keys.dtype}, {cache.dtype} is {wanted} here")
        if min(keys.shape[0], keys.shape[2], values.shape[2]) < 1:
            raise UnsupportedInputError(
                f"layer {number} has no heads or no channels: {keys.shape}, {values.shape}"
            )
        if rope is not None and rope.dim > keys.shape[2]:
            raise UnsupportedInputError(
                f"layer {number}: {rope.dim} of {keys.shape[2]} channels cannot be turned"
            )
    if len(ends) != 1:
        raise UnsupportedInputError(f"layers end at different tokens: {sorted(ends)}")
    if not 0 <= cache.position < 2**31:
        raise UnsupportedInputError(f"position {cache.position} is not one of 0 to 2^31 - 1")


def as_float(part: NDArray[Any], dtype: str) -> NDArray[np.float32]:
    """Samples as float32."""
    if dtype == "bfloat16":
        return (part.astype(np.uint32) << 16).view(np.float32)
    return part.astype(np.float32)


def from_float(part: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """The inverse of `as_float`, rounded to nearest even and kept finite."""
    if dtype == "float16":
        if part.size and (part.min() < -65504 or part.max() > 65504):
            part = np.clip(part, -65504, 65504)
        return part.astype(np.float16)
    if dtype == "bfloat16":
        bits = np.ascontiguousarray(part, np.float32).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.asarray(part, np.float32)


def array_of(tensor: Any) -> tuple[str, Any]:
    """Type and samples of a tensor: an array, or what stands for one if it is on a GPU."""
    if not tensor.is_cuda:
        return numpy_of(tensor)
    from siglum.codecs.kv.device import DeviceArray

    made = DeviceArray(tensor)
    return made.kind, made


def numpy_of(tensor: Any) -> tuple[str, NDArray[Any]]:
    import torch

    tensor = tensor.detach().to("cpu").contiguous()
    if tensor.dtype == torch.bfloat16:
        return "bfloat16", tensor.view(torch.int16).numpy().view(np.uint16)
    return str(tensor.dtype).removeprefix("torch."), tensor.numpy()


def torch_of(part: NDArray[Any], dtype: str) -> Any:
    import torch

    if hasattr(part, "tensor"):  # a DeviceArray
        return part.tensor
    if dtype == "bfloat16":
        return torch.from_numpy(np.ascontiguousarray(part).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.ascontiguousarray(part))
