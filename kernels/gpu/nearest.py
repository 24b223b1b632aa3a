"""The search for the nearest codeword on a GPU: `siglum.kernels.nearest` for tensors, with the same rule for ties.

Indices equal those of the CPU wherever sums are exact, as of integers, and to rounding elsewhere. Under
``TRITON_INTERPRET=1`` the same kernels run on CPU tensors: slowly, for tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
import triton

from siglum.errors import UsageError
from siglum.kernels.gpu import nearest_kernels as kernels

STEP = kernels.STEP.value
_OPTIONS = {"num_warps": kernels.WARPS, "enable_fp_fusion": True}  # the CPU's sums are fused, too


class Packed:
    """A codebook on a device, with what the search needs of it.

    Parameters
    ----------
    codewords : float32 tensor, shape (K, D)
    bias : float32 tensor, shape (K,), optional
        Added to every squared distance.

    Attributes
    ----------
    count, dimension : int
        K and D.

    Raises
    ------
    ValueError
        If a shape is another one, or a value is not finite or too large for float32 distances (2^62 / sqrt(D)).
    """

    def __init__(self, codewords: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.codewords = _matrix("codewords", codewords, "(K, D)")
        self.count, self.dimension = self.codewords.shape
        norms = self.codewords.double().square().sum(1)
        self.bias = bias
        if bias is not None:
            if bias.shape != (self.count,) or bias.dtype != torch.float32:
                raise ValueError(
                    f"bias must be float32 of the shape ({self.count},), not {bias.dtype} of {tuple(bias.shape)}"
                )
            if not bool((bias.abs() <= 2.0**124).all()):
                raise ValueError(
                    f"bias of the shape {tuple(bias.shape)}: it must be finite, and small enough for float32 distances"
                )
            norms = norms + bias.to(norms)
        self.start = (-norms / 2).float()

    def __repr__(self) -> str:
        return f"Packed({self.count} codewords of dimension {self.dimension} on {self.codewords.device})"


Codewords = Packed | torch.Tensor


@overload
def search(
    x: torch.Tensor, codewords: Codewords, *, bias: torch.Tensor | None = ..., scores: Literal[False] = ...
) -> torch.Tensor: ...


@overload
def search(
    x: torch.Tensor, codewords: Codewords, *, bias: torch.Tensor | None = ..., scores: Literal[True]
) -> tuple[torch.Tensor, torch.Tensor]: ...


def search(
    x: torch.Tensor, codewords: Codewords, *, bias: torch.Tensor | None = None, scores: bool = False
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Index of the codeword with the least ``|x - c|² + bias``, the first of equals.

    Parameters
    ----------
    x : float32 tensor, shape (N, D)
        At least one vector.
    codewords : float32 tensor, shape (K, D), or Packed
    bias : float32 tensor, shape (K,), optional
        Not with a `Packed` codebook, which has its own.
    scores : bool
        Return the distances too.

    Returns
    -------
    indices : int32 tensor, shape (N,)
    distances : float32 tensor, shape (N,)
        If `scores` is set.

    Raises
    ------
    ValueError
        If a shape or a type is another one, there are no vectors, or values are not finite.
    UsageError
        If a tensor is not on a GPU.
    """
    codebook = _packed(codewords, bias)
    vectors = _vectors(x, codebook)
    indices = torch.empty((len(vectors), 1), dtype=torch.int32, device=vectors.device)
    _search(vectors, codebook, indices, 0, None)
    if not scores:
        return indices[:, 0]
    return indices[:, 0], _distances(vectors, codebook, indices)[:, 0]


def top(
    x: torch.Tensor, codewords: Codewords, count: int, *, bias: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `count` nearest codewords of every vector, nearest first, equals in order of their indices.

    Takes `count` searches, each for what comes after the one before, and memory for the result alone.

    Parameters
    ----------
    x, codewords, bias
        As for `search`, whose result is the first column.
    count : int
        1 to K.

    Returns
    -------
    indices : int32 tensor, shape (N, count)
    distances : float32 tensor, shape (N, count)
        They do not decrease along a row.

    Raises
    ------
    ValueError
        As `search`, or if there are fewer than `count` codewords.
    """
    codebook = _packed(codewords, bias)
    vectors = _vectors(x, codebook)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= codebook.count:
        raise ValueError(f"count must be an integer from 1 to the {codebook.count} codewords, not {count!r}")
    indices = torch.empty((len(vectors), count), dtype=torch.int32, device=vectors.device)
    before = None
    for place in range(count):
        before = _search(vectors, codebook, indices, place, before)
    return indices, _distances(vectors, codebook, indices).cummax(1).values


@overload
def residual(
    x: torch.Tensor, stages: Sequence[Codewords], *, remainder: Literal[False] = ...
) -> torch.Tensor: ...


@overload
def residual(
    x: torch.Tensor, stages: Sequence[Codewords], *, remainder: Literal[True]
) -> tuple[torch.Tensor, torch.Tensor]: ...


def residual(
    x: torch.Tensor, stages: Sequence[Codewords], *, remainder: bool = False
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Codes of residual stages: each one searches what the stages before it left of a vector.

    One kernel runs all stages of a block of vectors.

    Parameters
    ----------
    x : float32 tensor, shape (N, D)
    stages : sequence of S codebooks, each (K_s, D) or Packed
    remainder : bool
        Return what the last stage left, too.

    Returns
    -------
    codes : int32 tensor, shape (N, S)
    left : float32 tensor, shape (N, D)
        If `remainder` is set.

    Raises
    ------
    ValueError
        As `search`, or if there is no stage.
    """
    codebooks = [_packed(stage, None, f"stages[{i}]") for i, stage in enumerate(stages)]
    if not codebooks:
        raise ValueError("stages is empty: at least one codebook is needed")
    vectors = _vectors(x, codebooks[0])
    for i, codebook in enumerate(codebooks):
        if codebook.dimension != vectors.shape[1]:
            shape = (codebook.count, codebook.dimension)
            raise ValueError(f"stages[{i}] has the shape {shape}, not (K, {vectors.shape[1]}) as the others")
    count, dimension = vectors.shape
    codes = torch.empty((count, len(codebooks)), dtype=torch.int32, device=vectors.device)
    left = vectors.clone()
    every = torch.cat([codebook.codewords for codebook in codebooks])
    start = torch.cat([codebook.start for codebook in codebooks])
    ends = torch.tensor([codebook.count for codebook in codebooks]).cumsum(0).int().to(vectors.device)
    kernels.residual_kernel[(_programs(count),)](
        left, every, start, ends, count, dimension, len(codebooks), codes, **_OPTIONS
    )
    return (codes, left) if remainder else codes


def accumulate(x: torch.Tensor, indices: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Count and sum the vectors of every index, in an order that does not change from run to run.

    Parameters
    ----------
    x : float32 tensor, shape (N, D)
    indices : integer tensor, shape (N,)
        0 to count - 1.
    count : int
        Number of codewords, K.

    Returns
    -------
    counts : int64 tensor, shape (K,)
    sums : float32 tensor, shape (K, D)

    Raises
    ------
    ValueError
        If shapes do not fit, an index is none of a codeword, or values are not finite.
    """
    vectors = _matrix("x", x, "(N, D)")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"count must be an integer of at least 1, not {count!r}")
    if indices.shape != (len(vectors),) or indices.is_floating_point():
        raise ValueError(
            f"indices must be integers of the shape ({len(vectors)},), "
            f"not {indices.dtype} of {tuple(indices.shape)}"
        )
    low, high = map(int, indices.aminmax())
    if low < 0 or high >= count:
        raise ValueError(f"indices must be 0 to {count - 1}, not {low if low < 0 else high}")
    order = indices.long().argsort(stable=True)
    counts = torch.bincount(indices.long(), minlength=count)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    sums = torch.empty((count, vectors.shape[1]), device=vectors.device)
    grid = (count, triton.cdiv(vectors.shape[1], kernels.STEP.value))
    kernels.sum_kernel[grid](vectors, order, starts, sums, vectors.shape[1], **_OPTIONS)
    return counts, sums


def _search(
    vectors: torch.Tensor,
    codebook: Packed,
    indices: torch.Tensor,
    place: int,
    before: torch.Tensor | None,
) -> torch.Tensor:
    """Fill a column of the indices; with the scores of the column before it, what comes next. Scores (N,)."""
    scores = torch.empty(len(vectors), device=vectors.device)
    last = None if before is None else indices[:, place - 1 :]
    kernels.search_kernel[(_programs(len(vectors)),)](
        vectors, codebook.codewords, codebook.start, len(vectors), codebook.count, codebook.dimension,
        before, last, scores, indices[:, place:], indices.shape[1], **_OPTIONS,
    )  # fmt: skip
    return scores


def _distances(vectors: torch.Tensor, codebook: Packed, indices: torch.Tensor) -> torch.Tensor:
    columns = [
        (vectors - codebook.codewords[column.long()]).square().sum(1)
        + (0 if codebook.bias is None else codebook.bias[column.long()])
        for column in indices.unbind(1)
    ]
    return torch.stack(columns, 1)


def _programs(count: int) -> int:
    return int(triton.cdiv(count, kernels.VECTORS.value))


def _packed(codewords: Codewords, bias: torch.Tensor | None, name: str = "codewords") -> Packed:
    if not isinstance(codewords, Packed):
        return Packed(_matrix(name, codewords, "(K, D)"), bias)
    if bias is not None:
        raise ValueError("bias is that of the packed codewords: give it to Packed")
    return codewords


def _vectors(x: torch.Tensor, codebook: Packed) -> torch.Tensor:
    wanted = f"(N, {codebook.dimension})"
    vectors = _matrix("x", x, wanted)
    if vectors.shape[1] != codebook.dimension:
        raise ValueError(f"x has the shape {tuple(vectors.shape)}, not {wanted}")
    if vectors.device != codebook.codewords.device:
        raise ValueError(f"x is on {vectors.device}, the codewords on {codebook.codewords.device}")
    return vectors


def _matrix(name: str, values: torch.Tensor, wanted: str) -> torch.Tensor:
    if not isinstance(values, torch.Tensor) or values.dtype not in (
        torch.float32,
        torch.float16,
        torch.bfloat16,
    ):
        kind = values.dtype if isinstance(values, torch.Tensor) else type(values).__name__
        raise ValueError(f"{name} must be a tensor of float32, float16 or bfloat16, not {kind}")
    shape = tuple(values.shape)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{name} has the shape {shape}, not {wanted} with at least one row and column")
    if values.device.type != "cuda" and isinstance(kernels.search_kernel, triton.JITFunction):
        raise UsageError("the GPU search takes tensors on a GPU; siglum.kernels.nearest searches on the CPU")
    matrix = values.detach().float().contiguous()
    if not bool((matrix.abs() <= 2.0**62 / shape[1] ** 0.5).all()):
        raise ValueError(
            f"{name} of the shape {shape} must hold finite numbers, small enough for float32 distances"
        )
    return matrix
