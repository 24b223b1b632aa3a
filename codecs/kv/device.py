"""Caches that live on a GPU: coded and decoded there as far as that goes, the entropy code on the CPU.

`DeviceArray` stands for a tensor wherever the codec takes an array; what the CPU must see of it (sinks, the sample from
which scales are estimated, a lossless copy) is copied when it is needed. torch is not imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.cache import DTYPES, KVCache, Layer, numpy_of
from siglum.codecs.kv.rope import Rope
from siglum.errors import UnsupportedInputError

__all__ = ["DeviceArray", "cache_of", "is_on_device"]


class DeviceArray:
    """A tensor (heads, tokens, channels) in the place of an array.

    Parameters
    ----------
    tensor
        float16, bfloat16 or float32.
    """

    def __init__(self, tensor: Any) -> None:
        name = str(tensor.dtype).removeprefix("torch.")
        if name not in DTYPES:
            raise UnsupportedInputError(f"a cache has samples of {', '.join(DTYPES)}, not {name}")
        self.tensor, self.kind = tensor.detach(), name
        self.dtype = DTYPES[name]

    @property
    def shape(self) -> tuple[int, ...]:
        """(heads, tokens, channels)."""
        return tuple(self.tensor.shape)

    @property
    def ndim(self) -> int:
        """3."""
        return int(self.tensor.ndim)

    @property
    def size(self) -> int:
        """Numbers in it."""
        return int(self.tensor.numel())

    @property
    def nbytes(self) -> int:
        """Bytes in it."""
        return self.size * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"DeviceArray({self.kind} {self.shape} on {self.tensor.device})"

    def __getitem__(self, key: Any) -> DeviceArray:
        return DeviceArray(self.tensor[key])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = numpy_of(self.tensor)[1]
        return array if dtype is None else array.astype(dtype)

    def astype(self, dtype: Any) -> NDArray[Any]:
        """A copy on the CPU."""
        return self.__array__().astype(dtype)

    def __array_function__(
        self, function: Callable[..., Any], types: Iterable[type], args: Any, kwargs: Any
    ) -> Any:
        """Runs of tokens are joined where they are; all else is done with copies on the CPU."""
        if function is np.concatenate and all(isinstance(part, DeviceArray) for part in args[0]):
            import torch

            return DeviceArray(torch.cat([part.tensor for part in args[0]], dim=kwargs.get("axis", 0)))
        return function(*(_copied(argument) for argument in args), **kwargs)


def cache_of(
    layers: Iterable[tuple[Any, Any]],
    *,
    rope: Rope | Sequence[Rope | None] | None = None,
    model: str = "",
    position: int = 0,
) -> KVCache:
    """A cache of tensors (heads, tokens, channels), which stay where they are.

    Parameters
    ----------
    layers
        Keys and values of each, float16, bfloat16 or float32, on one device.
    rope, model, position
        As for `KVCache.from_arrays`.
    """
    pairs = [(DeviceArray(keys), DeviceArray(values)) for keys, values in layers]
    ropes = list(rope) if isinstance(rope, Sequence) else [rope] * len(pairs)
    if len(ropes) != len(pairs):
        raise UnsupportedInputError(f"{len(ropes)} rotary embeddings for {len(pairs)} layers")
    longest = max((keys.shape[1] for keys, _ in pairs), default=0)
    made: list[Any] = [
        Layer(keys, values, turned, longest - keys.shape[1])  # type: ignore[arg-type]
        for (keys, values), turned in zip(pairs, ropes, strict=True)
    ]
    return KVCache(made, pairs[0][0].kind if pairs else "float16", model, position)


def is_on_device(cache: KVCache) -> bool:
    """Whether a cache is one of `DeviceArray`, and there is what its kernels need."""
    return isinstance(cache.layers[0].keys, DeviceArray) and find_spec("triton") is not None


def _copied(argument: Any) -> Any:
    if isinstance(argument, DeviceArray):
        return np.asarray(argument)
    if isinstance(argument, (list, tuple)):
        return [_copied(part) for part in argument]
    return argument
