"""Transforms of key-value caches on a GPU: samples to symbols and back, the rotary embedding included, in one kernel.

Symbols are those of the CPU but for ties of rounding; sums are of float32 quality (three products of TF32 each). Under
``TRITON_INTERPRET=1`` the same kernels run on CPU tensors: slowly, for tests. They were compiled, and not timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch
import triton
from numpy.typing import NDArray

from siglum.errors import UsageError
from siglum.kernels.gpu import kv_kernels as kernels

BAD = int(kernels.BAD.value)
"""In place of a symbol beyond ±32767, or of what is no number."""

_OPTIONS = {"num_warps": kernels.WARPS, "enable_fp_fusion": True}
_LIMITS = {torch.float16: 65504, torch.bfloat16: 0, torch.float32: 0}
_ONE_AT_A_TIME = Lock()  # launches from several threads; the interpreter is not made for them


@dataclass(frozen=True)
class Pairs:
    """Which channels of a head are turned together.

    Attributes
    ----------
    first, second
        (pairs,) channels; of a pair without a second it is the first again.
    turns
        (pairs,) int32 number of the angle; -1: not turned; -2: nor is there a second.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    turns: NDArray[np.int32]

    @classmethod
    def of(cls, channels: int, turned: int = 0, interleaved: bool = False) -> Pairs:
        """Of a head whose first `turned` channels turn: 2i with 2i + 1 if interleaved, else i with i + turned / 2."""
        half = np.arange(turned // 2)
        rest = np.arange(turned, channels, 2)
        first = np.concatenate([2 * half if interleaved else half, rest])
        second = np.concatenate([2 * half + 1 if interleaved else half + turned // 2, rest + 1])
        turns = np.concatenate([half, np.where(rest + 1 < channels, -1, -2)]).astype(np.int32)
        return cls(first, np.where(second < channels, second, first), turns)


class Matrices:
    """A transform on a device, its channels in pairs.

    Parameters
    ----------
    analysis : float32 (width, count)
        Components are ``(token - mean) @ analysis + offset``.
    offset : float32 (count,)
    synthesis : float32 (count, width)
        A token is ``components @ synthesis + bias``.
    mean, bias : float32 (width,)
    pairs : Pairs
        Of each head; width is a multiple of its channels.
    channels : int
        Of a head.
    device : torch.device
    """

    def __init__(
        self,
        analysis: NDArray[np.float32],
        offset: NDArray[np.float32],
        synthesis: NDArray[np.float32],
        mean: NDArray[np.float32],
        bias: NDArray[np.float32],
        pairs: Pairs,
        channels: int,
        device: Any,
    ) -> None:
        width, self.count = analysis.shape
        if width % channels or synthesis.shape != (self.count, width) or mean.shape != (width,):
            raise ValueError(
                f"analysis {analysis.shape}, synthesis {synthesis.shape} and mean {mean.shape} do not fit "
                f"heads of {channels} channels"
            )
        self.pairs, self.channels, self.heads = pairs, channels, width // channels
        self.device = torch.device(device)
        heads = np.arange(self.heads)[:, None] * channels
        first, second = (heads + pairs.first).ravel(), (heads + pairs.second).ravel()
        single = np.tile(pairs.turns == -2, self.heads)

        def there(array: NDArray[Any]) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

        self.turns = there(np.tile(pairs.turns, self.heads))
        self.mean = there(mean[first]), there(np.where(single, 0, mean[second]).astype(np.float32))
        self.bias = there(bias[first]), there(bias[second])
        self.analysis = there(analysis[first]), there(np.where(single[:, None], 0, analysis[second]))
        self.synthesis = there(synthesis[:, first]), there(synthesis[:, second])
        self.offset = there(offset)


def analyse(
    parts: Sequence[torch.Tensor],
    matrices: Matrices,
    angles: tuple[torch.Tensor, torch.Tensor],
    *,
    quantise: bool,
) -> torch.Tensor:
    """Components of tokens of layers that are transformed together.

    Parameters
    ----------
    parts
        A tensor (heads, tokens, channels) of each layer, float16, bfloat16 or float32, on one device.
    matrices
        The transform.
    angles
        Cosines and sines (tokens, angles) of the embedding that is undone.
    quantise
        Round.

    Returns
    -------
    (tokens, count) int16 symbols, `BAD` where there is none; or float32 components.

    Raises
    ------
    UsageError
        If the tensors are not on a GPU.
    ValueError
        If they do not fit the transform.
    """
    base, first, second, stride = _places(parts, matrices)
    tokens = parts[0].shape[1]
    kind = torch.int16 if quantise else torch.float32
    out = torch.empty((tokens, matrices.count), dtype=kind, device=base.device)
    if not out.numel():
        return out
    grid = (triton.cdiv(tokens, kernels.TOKENS.value), triton.cdiv(matrices.count, kernels.OUTPUTS.value))
    with _ONE_AT_A_TIME:
        kernels.analyse_kernel[grid](
            base, first, second, matrices.turns, *angles, *matrices.mean, *matrices.analysis, matrices.offset,
            tokens, len(matrices.turns), angles[0].shape[1], matrices.count, stride, out, QUANTISE=quantise,
            **_OPTIONS,
        )  # fmt: skip
    return out


def synthesise(
    values: torch.Tensor,
    matrices: Matrices,
    angles: tuple[torch.Tensor, torch.Tensor],
    out: Sequence[torch.Tensor],
) -> None:
    """Write what components (tokens, count), symbols or floats, stand for to the tensors of `analyse`.

    Raises
    ------
    UsageError, ValueError
        As `analyse`.
    """
    base, first, second, stride = _places(out, matrices)
    tokens = out[0].shape[1]
    if values.shape != (tokens, matrices.count):
        raise ValueError(f"values have the shape {tuple(values.shape)}, not ({tokens}, {matrices.count})")
    pairs = len(matrices.turns)
    grid = (triton.cdiv(tokens, kernels.TOKENS.value), triton.cdiv(pairs, kernels.OUTPUTS.value))
    with _ONE_AT_A_TIME:
        kernels.synthesise_kernel[grid](
            values.contiguous(), *matrices.synthesis, *matrices.bias, first, second, matrices.turns, *angles,
            tokens, matrices.count, pairs, angles[0].shape[1], stride, base, LIMIT=_LIMITS[base.dtype],
            **_OPTIONS,
        )  # fmt: skip


def _places(
    parts: Sequence[torch.Tensor], matrices: Matrices
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Where every pair's samples of a token lie, counted from the first tensor: layers need not lie together."""
    base = parts[0]
    shape, strides = (*base.shape[:2], matrices.channels), base.stride()
    for part in parts:
        if part.dtype not in _LIMITS or part.device != matrices.device or part.dtype != base.dtype:
            raise ValueError(
                f"a layer is {part.dtype} on {part.device}, the transform is on {matrices.device}"
            )
        if tuple(part.shape) != shape or part.stride() != strides:
            raise ValueError(f"a layer has the shape {tuple(part.shape)}, not {shape}, or other strides")
    if len(parts) * base.shape[0] != matrices.heads:
        raise ValueError(f"{len(parts)} layers of {base.shape[0]} heads are not {matrices.heads} heads")
    if base.device.type != "cuda" and isinstance(kernels.analyse_kernel, triton.JITFunction):
        raise UsageError("these kernels take tensors on a GPU; siglum.kv codes others on the CPU")
    far = np.array([part.data_ptr() - base.data_ptr() for part in parts], np.int64) // base.element_size()
    heads = (far[:, None] + np.arange(base.shape[0]) * strides[0]).reshape(-1, 1)
    places = [
        torch.from_numpy((heads + channels * strides[2]).ravel()).to(base.device)
        for channels in (matrices.pairs.first, matrices.pairs.second)
    ]
    return base, places[0], places[1], int(strides[1])
