"""The layers of an integer network, and how float layers become them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_SHIFT = 46
INT16_LOW, INT16_HIGH = -(2**15), 2**15 - 1


def _frozen(array: object, dtype: type, ndim: int, name: str) -> NDArray[Any]:
    """Return a read-only C-ordered copy of an array of exactly that type and number of axes."""
    if not isinstance(array, np.ndarray) or array.dtype != np.dtype(dtype) or array.ndim != ndim:
        raise ValueError(f"{name} must be a {np.dtype(dtype).name} array with {ndim} axes")
    if array.size == 0:
        raise ValueError(f"{name} is empty")
    copy: NDArray[Any] = np.array(array, dtype=dtype, order="C")
    copy.setflags(write=False)
    return copy


def _is_int(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


@dataclass(frozen=True, eq=False)
class _Arithmetic:
    """What pointwise and depthwise layers share: weights, and the way back from int32 to int16."""

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: NDArray[np.int32]
    shift: int
    low: int = INT16_LOW
    high: int = INT16_HIGH

    def __post_init__(self) -> None:
        ndim = 2 if isinstance(self, Pointwise) else 3
        object.__setattr__(self, "weight", _frozen(self.weight, np.int8, ndim, "weight"))
        object.__setattr__(self, "bias", _frozen(self.bias, np.int32, 1, "bias"))
        object.__setattr__(self, "multiplier", _frozen(self.multiplier, np.int32, 1, "multiplier"))
        if not self.bias.shape == self.multiplier.shape == (self.out_channels,):
            raise ValueError("bias and multiplier must have one entry an output channel")
        if self.multiplier.min() < 0:
            raise ValueError("a multiplier is negative")
        if not (_is_int(self.shift) and 1 <= self.shift <= MAX_SHIFT):
            raise ValueError(f"shift must be an integer from 1 to {MAX_SHIFT}")
        if not (
            _is_int(self.low) and _is_int(self.high) and INT16_LOW <= self.low <= self.high <= INT16_HIGH
        ):
            raise ValueError("low and high must be an interval of int16")
        for name in ("shift", "low", "high"):
            object.__setattr__(self, name, int(getattr(self, name)))

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        return int(self.weight.shape[-1])

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return int(self.weight.shape[0 if isinstance(self, Pointwise) else -1])

    @property
    def output_bound(self) -> int:
        """Largest magnitude of an output."""
        return max(abs(self.low), abs(self.high))

    def accumulator_bound(self, input_bound: int, condition_bound: int = 0) -> int:
        """Return the largest magnitude that any partial sum can reach, in any order of summation."""
        axes = 1 if isinstance(self, Pointwise) else (0, 1)
        weights = np.abs(self.weight.astype(np.int64)).sum(axis=axes)
        return int((weights * input_bound + np.abs(self.bias.astype(np.int64))).max()) + condition_bound


@dataclass(frozen=True, eq=False)
class Pointwise(_Arithmetic):
    """A 1x1 convolution, then ``clip((acc * multiplier + 2**(shift - 1)) >> shift, low, high)``.

    Parameters
    ----------
    weight
        (Cout, Cin) int8.
    bias
        (Cout,) int32, in units of the accumulator.
    multiplier
        (Cout,) int32, not negative.
    shift
        1 to 46, one for the layer.
    low, high
        Saturation of the output, an interval of int16 (``low=0`` is a ReLU).

    Raises
    ------
    ValueError
        A type, shape or range is not as above.
    """


@dataclass(frozen=True, eq=False)
class Depthwise(_Arithmetic):
    """A depthwise 3x3 convolution with zero padding, requantised as `Pointwise` is.

    `weight` is (3, 3, C) int8: row, column, channel; no kernel flip, as in torch.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight.shape[:2] != (3, 3):
            raise ValueError("depthwise weights must be (3, 3, C)")


@dataclass(frozen=True)
class PixelShuffle:
    """(H, W, 4C) -> (2H, 2W, C): out[2h+i, 2w+j, c] = in[h, w, 4c+2i+j], torch's order."""


Layer = Pointwise | Depthwise | PixelShuffle


def quantize_pointwise(
    weight: ArrayLike,
    bias: ArrayLike,
    input_scale: float,
    output_scale: float,
    low: int = INT16_LOW,
    high: int = INT16_HIGH,
    weight_bits: int = 8,
) -> Pointwise:
    """Turn a float 1x1 convolution into an integer one.

    Real value = integer * scale, for inputs and outputs. Weights get one symmetric scale an output channel;
    weight, input and output scale together become ``multiplier / 2**shift``, the largest with 31 bits.

    Parameters
    ----------
    weight
        (Cout, Cin) float.
    bias
        (Cout,) float, in real units.
    input_scale, output_scale
        Positive.
    low, high
        Saturation of the integer output.
    weight_bits
        2 to 8: weights are within ±(2**(weight_bits - 1) - 1).

    Raises
    ------
    ValueError
        Not finite, wrong shapes, or an output scale too small for 31 bits.
    """
    real = np.asarray(weight, dtype=np.float64)
    if real.ndim != 2:
        raise ValueError("weight must be (Cout, Cin)")
    rows, integers = _quantize(real, bias, input_scale, output_scale, weight_bits)
    return Pointwise(rows, *integers, low, high)


def quantize_depthwise(
    weight: ArrayLike,
    bias: ArrayLike,
    input_scale: float,
    output_scale: float,
    low: int = INT16_LOW,
    high: int = INT16_HIGH,
    weight_bits: int = 8,
) -> Depthwise:
    """Turn a float depthwise 3x3 convolution into an integer one, as `quantize_pointwise` does.

    `weight` is (3, 3, C): a torch weight (C, 1, 3, 3) becomes it by ``weight[:, 0].permute(1, 2, 0)``.
    """
    real = np.asarray(weight, dtype=np.float64)
    if real.ndim != 3 or real.shape[:2] != (3, 3):
        raise ValueError("weight must be (3, 3, C)")
    rows, integers = _quantize(real.reshape(9, -1).T, bias, input_scale, output_scale, weight_bits)
    return Depthwise(np.ascontiguousarray(rows.T).reshape(3, 3, -1), *integers, low, high)


def _quantize(
    weight: NDArray[np.float64], bias: ArrayLike, input_scale: float, output_scale: float, weight_bits: int
) -> tuple[NDArray[np.int8], tuple[NDArray[np.int32], NDArray[np.int32], int]]:
    """Quantize rows (C, K) of weights: int8 rows, and (bias, multiplier, shift)."""
    offset = np.asarray(bias, dtype=np.float64)
    if weight.size == 0 or offset.shape != weight.shape[:1]:
        raise ValueError("bias must have one entry an output channel")
    if not (np.isfinite(weight).all() and np.isfinite(offset).all()):
        raise ValueError("weights and biases must be finite")
    if not all(math.isfinite(scale) and scale > 0 for scale in (input_scale, output_scale)):
        raise ValueError("scales must be positive")
    if not (_is_int(weight_bits) and 2 <= weight_bits <= 8):
        raise ValueError("weight_bits must be 2 to 8")

    limit = 2 ** (weight_bits - 1) - 1
    with np.errstate(over="ignore", invalid="ignore"):
        # A large bias over small weights coarsens their scale: it keeps 24 bits, ample for int16 outputs.
        step = np.maximum(np.abs(weight).max(axis=1) / limit, np.abs(offset) / input_scale / 2**24)
        ratio = step * (input_scale / output_scale)
    largest = float(ratio.max())
    if not largest * 2 < 2**31 - 1:
        raise ValueError("output_scale is too small for these weights")
    shift = MAX_SHIFT if largest == 0 else min(MAX_SHIFT, 31 - math.frexp(largest)[1])
    if np.rint(largest * 2.0**shift) > 2**31 - 1:
        shift -= 1  # rounding up reached 2**31
    safe = np.where(step > 0, step, 1.0)
    integers = (
        np.rint(offset / safe / input_scale).astype(np.int32),
        np.rint(ratio * 2.0**shift).astype(np.int32),
        shift,
    )
    # Clipped, since the step of a tiny row may be subnormal.
    rows = np.clip(np.rint(weight / safe[:, None]), -limit, limit)
    return rows.astype(np.int8), integers
