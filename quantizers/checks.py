"""Arguments of quantizers: what is wrong is said with the argument's name, what was given, what is wanted."""

from __future__ import annotations

import torch
from torch import Tensor


def shape_of(tensor: Tensor) -> str:
    """A shape for messages: (8, 3)."""
    return str(tuple(tensor.shape))


def vectors(x: Tensor, dim: int, name: str = "x") -> Tensor:
    """Finite float32 vectors (..., dim), at least one; the rest is refused.

    Raises
    ------
    ValueError
        If ``x`` is no floating-point tensor, has another last dimension, no vectors, or NaN or infinities.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{name} must be a floating-point tensor of shape (..., {dim}), not {kind}")
    if x.ndim == 0 or x.shape[-1] != dim:
        raise ValueError(f"{name} has shape {shape_of(x)}, wanted (..., {dim})")
    if x.numel() == 0:
        raise ValueError(f"{name} has shape {shape_of(x)}: no vectors, wanted (..., {dim}) with at least one")
    x = x.float()
    # One pass: a sum of finite products is finite, unless it overflows, which the exact test then tells apart.
    if not bool(torch.isfinite(x.detach().sum())) and not bool(torch.isfinite(x.detach()).all()):
        raise ValueError(
            f"{name} of shape {shape_of(x)} has NaN or infinite values, wanted finite (..., {dim})"
        )
    return x


def codes(value: Tensor, sizes: tuple[int, ...], name: str = "codes") -> Tensor:
    """Codes (..., S') of a prefix of the stages, each below its stage's size, as int64.

    Raises
    ------
    ValueError
        If they are no integers, empty, of too many stages, or out of range.
    """
    wanted = f"(..., 1 to {len(sizes)})"
    if not isinstance(value, Tensor) or value.is_floating_point() or value.is_complex():
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name} must be an integer tensor of shape {wanted}, not {kind}")
    if value.ndim == 0 or not 1 <= value.shape[-1] <= len(sizes):
        raise ValueError(f"{name} has shape {shape_of(value)}, wanted {wanted}")
    if value.numel() == 0:
        raise ValueError(f"{name} has shape {shape_of(value)}: no codes, wanted {wanted} with at least one")
    value = value.long()
    limits = torch.tensor(sizes[: value.shape[-1]], device=value.device)
    wrong = (value < 0) | (value >= limits)
    if bool(wrong.any()):
        stage = int(wrong.reshape(-1, value.shape[-1]).any(0).nonzero()[0])
        raise ValueError(
            f"{name} of shape {shape_of(value)} are out of range in stage {stage}, wanted 0 to {sizes[stage] - 1}"
        )
    return value


def enough(x: Tensor, count: int, name: str = "x") -> None:
    """At least as many vectors (N, dim) as codewords.

    Raises
    ------
    ValueError
        If there are fewer.
    """
    if len(x) < count:
        raise ValueError(f"{name} has {len(x)} vectors, wanted at least {count}, one a codeword")


def matrix(value: Tensor, rows: int, columns: int, name: str) -> Tensor:
    """A finite float32 matrix of exactly that shape.

    Raises
    ------
    ValueError
        If it is not.
    """
    value = torch.as_tensor(value)
    if tuple(value.shape) != (rows, columns):
        raise ValueError(f"{name} has shape {shape_of(value)}, wanted ({rows}, {columns})")
    return vectors(value.float(), columns, name)


def integer(value: int, least: int, most: int | None, name: str) -> int:
    """An integer from least to most.

    Raises
    ------
    ValueError
        If it is not.
    """
    wanted = f"an integer from {least}" + ("" if most is None else f" to {most}")
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}, wanted {wanted}")
    if most is not None and value > most:
        raise ValueError(f"{name} is {value!r}, wanted {wanted}")
    return value
