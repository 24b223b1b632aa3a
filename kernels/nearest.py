"""The codeword nearest to each vector: search, the best few, residual stages, and sums for training.

One pass, without a matrix of distances: vectors lie side by side in registers and meet the codewords in order.
Every result is the same, to the bit, for any instruction set, number of threads and company in a batch; of
codewords at equal distance the first one wins. Scores are float32: ``x·c - (|c|² + bias) / 2`` with one fused
multiply-add a dimension, in order. Distances that differ by less than about ``1e-7 (|x| + |c|)²`` may count as
equal, as in every search by products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

import siglum.kernels._native as _native
from siglum.kernels import dispatch

Floats = NDArray[np.float32]
Indices = NDArray[np.int32]
MAX_WIDTH = 64
"""Partial solutions of a beam, at most."""


class Packed:
    """A codebook in the order that the search reads; made once, it spares every call the packing.

    Parameters
    ----------
    codewords : float32 array, shape (K, D)
    bias : float32 array, shape (K,), optional
        Added to every squared distance, such as ``bits / lambda``.

    Attributes
    ----------
    count, dimension : int
        K and D.

    Raises
    ------
    ValueError
        If a shape is another one, or a value is not finite or too large for float32 distances (2^62 / sqrt(D)).
    """

    def __init__(self, codewords: ArrayLike, bias: ArrayLike | None = None) -> None:
        values = _matrix("codewords", codewords, "(K, D)")
        self.count, self.dimension = values.shape
        extra = None if bias is None else _floats("bias", bias)
        if extra is not None and extra.shape != (self.count,):
            raise ValueError(f"bias has the shape {extra.shape}, not ({self.count},) as there are codewords")
        try:
            self.native: Any = _native.NearestCodewords(values, extra)
        except ValueError as error:  # it tells which of the two is wrong
            name = "bias" if str(error).startswith("bias") else "codewords"
            shape = (self.count,) if name == "bias" else values.shape
            raise ValueError(f"{name} of the shape {shape}: {error}") from None

    def __repr__(self) -> str:
        return f"Packed({self.count} codewords of dimension {self.dimension})"


Codewords = Packed | ArrayLike


@overload
def search(
    x: ArrayLike,
    codewords: Codewords,
    *,
    bias: ArrayLike | None = ...,
    threads: int | None = ...,
    scores: Literal[False] = ...,
) -> Indices: ...


@overload
def search(
    x: ArrayLike,
    codewords: Codewords,
    *,
    bias: ArrayLike | None = ...,
    threads: int | None = ...,
    scores: Literal[True],
) -> tuple[Indices, Floats]: ...


def search(
    x: ArrayLike,
    codewords: Codewords,
    *,
    bias: ArrayLike | None = None,
    threads: int | None = None,
    scores: bool = False,
) -> Indices | tuple[Indices, Floats]:
    """Index of the codeword with the least ``|x - c|² + bias``, the first of equals.

    Parameters
    ----------
    x : float32 array, shape (N, D)
        At least one vector.
    codewords : float32 array, shape (K, D), or Packed
    bias : float32 array, shape (K,), optional
        Not with a `Packed` codebook, which has its own.
    threads : int, optional
        As `siglum.kernels.dispatch.threads`.
    scores : bool
        Return the distances too.

    Returns
    -------
    indices : int32 array, shape (N,)
    distances : float32 array, shape (N,)
        ``|x - c|² + bias``, if `scores` is set.

    Raises
    ------
    ValueError
        If a shape or a type is another one, there are no vectors, or values are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> search(np.float32([[0.9, 0.1], [0, 3]]), np.float32([[0, 0], [1, 0], [0, 2]]))
    array([1, 2], dtype=int32)
    """
    codebook = _packed(codewords, bias)
    vectors = _vectors(x, codebook.dimension)
    indices = np.empty(len(vectors), np.int32)
    distances = np.empty(len(vectors), np.float32) if scores else None
    team, isa = dispatch.threads(threads), dispatch.isa()
    _finite(_native.nearest_search(codebook.native, isa, vectors, indices, distances, team))
    return indices if distances is None else (indices, distances)


def top(
    x: ArrayLike,
    codewords: Codewords,
    count: int,
    *,
    bias: ArrayLike | None = None,
    threads: int | None = None,
) -> tuple[Indices, Floats]:
    """Return the `count` nearest codewords of every vector, nearest first, equals in order of their indices.

    Parameters
    ----------
    x, codewords, bias, threads
        As for `search`, whose result is the first column.
    count : int
        1 to K.

    Returns
    -------
    indices : int32 array, shape (N, count)
    distances : float32 array, shape (N, count)
        They do not decrease along a row.

    Raises
    ------
    ValueError
        As `search`, or if there are fewer than `count` codewords.
    """
    codebook = _packed(codewords, bias)
    vectors = _vectors(x, codebook.dimension)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= codebook.count:
        raise ValueError(f"count must be an integer from 1 to the {codebook.count} codewords, not {count!r}")
    indices = np.empty((len(vectors), count), np.int32)
    distances = np.empty((len(vectors), count), np.float32)
    team, isa = dispatch.threads(threads), dispatch.isa()
    _finite(_native.nearest_top(codebook.native, isa, vectors, indices, distances, team))
    return indices, distances


@overload
def residual(
    x: ArrayLike, stages: Sequence[Codewords], *, threads: int | None = ..., remainder: Literal[False] = ...
) -> Indices: ...


@overload
def residual(
    x: ArrayLike, stages: Sequence[Codewords], *, threads: int | None = ..., remainder: Literal[True]
) -> tuple[Indices, Floats]: ...


def residual(
    x: ArrayLike, stages: Sequence[Codewords], *, threads: int | None = None, remainder: bool = False
) -> Indices | tuple[Indices, Floats]:
    """Codes of residual stages: each one searches what the stages before it left of a vector.

    All stages of a block of vectors run before the next block is read. Codes equal those of `search` and
    float32 subtraction in turns.

    Parameters
    ----------
    x : float32 array, shape (N, D)
    stages : sequence of S codebooks, each (K_s, D) or Packed
    threads : int, optional
    remainder : bool
        Return what the last stage left, too.

    Returns
    -------
    codes : int32 array, shape (N, S)
    left : float32 array, shape (N, D)
        If `remainder` is set: x minus the chosen codewords, subtracted stage by stage.

    Raises
    ------
    ValueError
        As `search`, or if there is no stage.
    """
    codebooks, vectors = _stages(x, stages)
    codes = np.empty((len(vectors), len(codebooks)), np.int32)
    left = np.empty_like(vectors) if remainder else None
    team, isa = dispatch.threads(threads), dispatch.isa()
    native = [codebook.native for codebook in codebooks]
    _finite(_native.nearest_residual(native, isa, vectors, codes, left, team))
    return codes if left is None else (codes, left)


def beam(x: ArrayLike, stages: Sequence[Codewords], width: int, *, threads: int | None = None) -> Indices:
    """Codes of residual stages, the best of several partial solutions.

    Every stage keeps the `width` solutions with the least ``|rest|² + biases`` of all that have one code more; of
    equals the one whose parent was better, then the lower index (Babenko and Lempitsky, Additive Quantization, 2014,
    in residual order). A beam may miss what the greedy search of `residual` finds: compare where that matters.

    Parameters
    ----------
    x : float32 array, shape (N, D)
    stages : sequence of S codebooks, each (K_s, D) or Packed
    width : int
        Partial solutions, 1 to 64.
    threads : int, optional

    Returns
    -------
    codes : int32 array, shape (N, S)

    Raises
    ------
    ValueError
        As `residual`, or if `width` is another number.
    """
    if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= MAX_WIDTH:
        raise ValueError(f"width must be an integer from 1 to {MAX_WIDTH}, not {width!r}")
    codebooks, vectors = _stages(x, stages)
    codes = np.empty((len(vectors), len(codebooks)), np.int32)
    team, isa = dispatch.threads(threads), dispatch.isa()
    native = [codebook.native for codebook in codebooks]
    _finite(_native.nearest_beam(native, isa, vectors, width, codes, team))
    return codes


def accumulate(
    x: ArrayLike, indices: ArrayLike, count: int, *, threads: int | None = None
) -> tuple[NDArray[np.int64], Floats]:
    """Count and sum the vectors of every index: what an average of assigned vectors needs.

    Parameters
    ----------
    x : float32 array, shape (N, D)
    indices : integer array, shape (N,)
        0 to count - 1.
    count : int
        Number of codewords, K.
    threads : int, optional

    Returns
    -------
    counts : int64 array, shape (K,)
    sums : float32 array, shape (K, D)
        Added in the order of vectors, whatever the number of threads.

    Raises
    ------
    ValueError
        If shapes do not fit, an index is none of a codeword, or values are not finite.
    """
    vectors = _matrix("x", x, "(N, D)")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"count must be an integer of at least 1, not {count!r}")
    which = np.asarray(indices)
    if not np.issubdtype(which.dtype, np.integer) or which.shape != (len(vectors),):
        raise ValueError(
            f"indices must be integers of the shape ({len(vectors)},), not {which.dtype} of {which.shape}"
        )
    low, high = int(which.min()), int(which.max())
    if low < 0 or high >= count:
        raise ValueError(f"indices must be 0 to {count - 1}, not {low if low < 0 else high}")
    counts, sums = np.empty(count, np.int64), np.empty((count, vectors.shape[1]), np.float32)
    narrow = np.ascontiguousarray(which, np.int32)
    _finite(_native.nearest_accumulate(vectors, narrow, counts, sums, dispatch.threads(threads)))
    return counts, sums


def _packed(codewords: Codewords, bias: ArrayLike | None, name: str = "codewords") -> Packed:
    if isinstance(codewords, Packed):
        if bias is not None:
            raise ValueError("bias is that of the packed codewords: give it to Packed")
        return codewords
    return Packed(_matrix(name, codewords, "(K, D)"), bias)


def _stages(x: ArrayLike, stages: Sequence[Codewords]) -> tuple[list[Packed], Floats]:
    codebooks = [_packed(stage, None, f"stages[{i}]") for i, stage in enumerate(stages)]
    if not codebooks:
        raise ValueError("stages is empty: at least one codebook is needed")
    vectors = _vectors(x, codebooks[0].dimension)
    for i, codebook in enumerate(codebooks):
        if codebook.dimension != vectors.shape[1]:
            shape = (codebook.count, codebook.dimension)
            raise ValueError(f"stages[{i}] has the shape {shape}, not (K, {vectors.shape[1]}) as the others")
    return codebooks, vectors


def _vectors(x: ArrayLike, dimension: int) -> Floats:
    wanted = f"(N, {dimension})"
    vectors = _matrix("x", x, wanted)
    if vectors.shape[1] != dimension:
        raise ValueError(f"x has the shape {vectors.shape}, not {wanted}")
    return vectors


def _matrix(name: str, values: ArrayLike, wanted: str) -> Floats:
    array = _floats(name, values)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} has the shape {array.shape}, not {wanted} with at least one row and column")
    return array


def _floats(name: str, values: ArrayLike) -> Floats:
    array = np.asarray(values)
    if array.dtype not in (np.float32, np.float16):
        raise ValueError(f"{name} must be float32 or float16, not {array.dtype} of the shape {array.shape}")
    return np.ascontiguousarray(array, np.float32)


def _finite(vector: int) -> None:
    if vector >= 0:
        raise ValueError(
            f"x must hold finite numbers, small enough for float32 distances: vector {vector} does not"
        )
