"""Float networks in compiled code: what a decoder's synthesis and an encoder's analysis are made of.

Activations are float32, channels-last. Sums are added in another order by every instruction set, so results
agree to rounding only; whatever an entropy decoder's probabilities depend on is an
`siglum.entropy.integer_network.IntegerNetwork` instead. Space to depth and its inverse are not copies: a layer
with the grid "down" reads the four positions of each 2 x 2 cell where they lie, one with "up" writes them there.
A `Block` passes over bands of rows whose intermediate activations stay in the second-level cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import siglum.kernels._native as _native
from siglum.kernels import dispatch
from siglum.kernels.reference import float_network as reference

Floats = NDArray[np.float32]
PATCH = 8  # pixels on a side that one position of samples holds
PATCH_CHANNELS = 3 * PATCH * PATCH


@dataclass(frozen=True, eq=False)
class Pointwise:
    """A 1x1 layer: ``act(weight @ x + bias) * gain``.

    Attributes
    ----------
    weight, bias
        (Cout, Cin) and (Cout,) float32.
    activation
        Apply x * clamp(x + 1/2, 0, 1).
    grid
        "down" takes 2 x 2 cells of positions, with 4 times their channels; "up" gives such cells. Channels of a
        cell are ordered (row, column, channel).
    branch
        "replace": the next layer takes the result. "aside": the next layer takes what this one took, and the
        result is kept. "add": what was kept is added.
    gained
        Every call gives a gain for each output channel.
    may_round
        Round weights and inputs to bfloat16 where the CPU multiplies those faster; sums stay float32.
    """

    weight: Floats
    bias: Floats
    activation: bool = False
    grid: Literal["same", "down", "up"] = "same"
    branch: Literal["replace", "aside", "add"] = "replace"
    gained: bool = False
    may_round: bool = False


@dataclass(frozen=True, eq=False)
class Depthwise:
    """A 3x3 depthwise layer with zero padding: ``weight`` (3, 3, C) and ``bias`` (C,) float32."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True, eq=False)
class Block:
    """``x += leave(depthwise(act(enter(x))))``, then ``x += narrow(act(widen(x)))``.

    ``enter``, ``leave`` (C, C), ``widen`` (D, C), ``narrow`` (C, D) and ``taps`` (3, 3, C) are float32 weights.
    `may_round` is that of `Pointwise`, for the first four.
    """

    enter: Floats
    enter_bias: Floats
    taps: Floats
    taps_bias: Floats
    leave: Floats
    leave_bias: Floats
    widen: Floats
    widen_bias: Floats
    narrow: Floats
    narrow_bias: Floats
    may_round: bool = False


Layer = Pointwise | Depthwise | Block


class FloatNetwork:
    """A chain of float layers, immutable and safe to share between threads.

    Parameters
    ----------
    layers
        What is computed, in order.
    channels
        Channels of the input.
    input
        "floats"; "scaled": times a gain for each channel; "asinh": through the inverse hyperbolic sine;
        "samples": uint8 pixels, as 8 x 8 patches of 192 channels ordered (row, column, colour), sample / 128 - 1,
        which bfloat16 holds exactly.
    output
        "floats", or "samples": (value + 1/2) * 255, rounded and clamped.
    multiple
        Sides of the input's grid are continued to multiples of it by repeating the edge.

    Raises
    ------
    ValueError
        Arrays are of wrong types or shapes, or layers do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Pointwise(np.float32([[2, 1]]), np.float32([0.5]))
    >>> FloatNetwork([layer], channels=2)(np.float32([[[1, 3]]]))
    array([[[5.5]]], dtype=float32)
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        channels: int = PATCH_CHANNELS,
        input: Literal["floats", "scaled", "asinh", "samples"] = "floats",  # noqa: A002
        output: Literal["floats", "samples"] = "floats",
        multiple: int = 1,
    ) -> None:
        self.layers = tuple(layers)
        self.channels, self.input, self.output, self.multiple = channels, input, output, multiple
        for layer in self.layers:
            for name, array in _arrays(layer).items():
                if not isinstance(array, np.ndarray) or array.dtype != np.float32:
                    raise ValueError(f"{name} must be a float32 array")
        self._native: dict[str, Any] = {}
        self._handle(dispatch.isa())

    def output_size(self, height: int, width: int) -> tuple[int, int, int]:
        """(height, width, channels) of the result for an input of height x width."""
        size: tuple[int, int, int] = self._handle(dispatch.isa()).output_size(height, width)
        return size

    def __call__(
        self,
        x: NDArray[Any],
        gains: Sequence[Floats] = (),
        out: NDArray[Any] | None = None,
        top: int = 0,
        left: int = 0,
        threads: int | None = 1,
        *,
        isa: str | None = None,
    ) -> NDArray[Any]:
        """Run the network, without the GIL.

        Parameters
        ----------
        x
            (H, W, C) float32, or (H, W, 3) uint8 for samples; any strides but that of the last axis.
        gains
            (C,) float32 for a scaled input, then for each layer that is gained, in order.
        out
            Where to write a part of the result, of any height and width; None: all of it, in a new array.
        top, left
            Where that part begins in the result.
        threads
            None: as many as `siglum.kernels.dispatch.threads` says. The result does not depend on it.
        isa
            Forces an instruction set.

        Raises
        ------
        ValueError
            Wrong types or shapes.
        """
        handle = self._handle(isa or dispatch.isa())
        if out is None:
            kind = np.uint8 if self.output == "samples" else np.float32
            out = np.empty(handle.output_size(*x.shape[:2]), kind)
        values = np.concatenate(gains, dtype=np.float32) if gains else np.empty(0, np.float32)
        try:
            handle.run(x, values, out, top, left, dispatch.threads(threads))
        except TypeError:
            raise ValueError(f"an input of {x.dtype} {x.shape} does not fit the network") from None
        return out

    def reference(self, x: NDArray[Any], gains: Sequence[Floats] = ()) -> NDArray[Any]:
        """The same in NumPy, in float64: slow, and equal up to the rounding of float32."""
        factors = iter(gains)
        if self.input == "samples":
            y = reference.patches_of(x, self.multiple, PATCH)
        else:
            sides = ((0, -x.shape[0] % self.multiple), (0, -x.shape[1] % self.multiple), (0, 0))
            y = np.pad(x.astype(np.float64), sides, mode="edge")
            if self.input == "asinh":
                y = np.arcsinh(y)
            elif self.input == "scaled":
                y = y * next(factors)
        aside = np.zeros(())
        for layer in self.layers:
            if isinstance(layer, Depthwise):
                y = reference.depthwise(y, layer.weight, layer.bias)
            elif isinstance(layer, Block):
                mixed = reference.activation(reference.pointwise(y, layer.enter, layer.enter_bias))
                mixed = reference.depthwise(mixed, layer.taps, layer.taps_bias)
                y = y + reference.pointwise(mixed, layer.leave, layer.leave_bias)
                wide = reference.activation(reference.pointwise(y, layer.widen, layer.widen_bias))
                y = y + reference.pointwise(wide, layer.narrow, layer.narrow_bias)
            else:
                made = reference.cells_of(y) if layer.grid == "down" else y
                made = reference.pointwise(made, layer.weight, layer.bias)
                made = reference.activation(made) if layer.activation else made
                made = made * next(factors) if layer.gained else made
                made = reference.positions_of(made) if layer.grid == "up" else made
                if layer.branch == "aside":
                    aside = made
                else:
                    y = made + aside if layer.branch == "add" else made
        return reference.samples_of(y, PATCH) if self.output == "samples" else y.astype(np.float32)

    def _handle(self, isa: str) -> Any:
        """Return the native network with its weights packed for one instruction set."""
        handle = self._native.get(isa)
        if handle is None:
            source = getattr(_native.FloatInput, self.input)
            target = getattr(_native.FloatOutput, self.output)
            handle = _native.FloatNetwork(isa, source, self.channels, self.multiple, target)
            for layer in self.layers:
                arrays = [np.ascontiguousarray(array) for array in _arrays(layer).values()]
                try:
                    if isinstance(layer, Pointwise):
                        grid = getattr(_native.FloatGrid, layer.grid)
                        branch = getattr(_native.FloatBranch, layer.branch)
                        handle.add_pointwise(
                            *arrays, layer.activation, grid, branch, layer.gained, layer.may_round
                        )
                    elif isinstance(layer, Block):
                        handle.add_block(*arrays, layer.may_round)
                    else:
                        handle.add_depthwise(*arrays)
                except TypeError:
                    shapes = ", ".join(str(array.shape) for array in arrays)
                    raise ValueError(f"arrays of shapes {shapes} make no {type(layer).__name__}") from None
            self._native[isa] = handle
        return handle


def rounds(isa: str | None = None) -> bool:
    """Whether layers that may be rounded are, on this machine."""
    return bool(_native.has_bfloat16(isa or dispatch.isa()))


def _arrays(layer: Layer) -> dict[str, Floats]:
    values = {field.name: getattr(layer, field.name) for field in fields(layer)}
    return {name: value for name, value in values.items() if not isinstance(value, (bool, str))}
