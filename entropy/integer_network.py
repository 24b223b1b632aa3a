"""Exact networks: the same integers on every machine, thread count and batch size.

Whatever feeds a probability table on the decoder's side must not depend on the order of a sum. Here
activations are int16, weights int8, accumulators int32 that cannot overflow (a static bound is checked when
the network is built), and requantisation is one integer multiplication and a shift. After Ballé, Johnston and
Minnen, "Integer networks for data compression with latent-variable models", ICLR 2019.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import siglum.kernels._native as _native
from siglum.entropy.integer_layers import (
    Depthwise,
    Layer,
    PixelShuffle,
    Pointwise,
    quantize_depthwise,
    quantize_pointwise,
)
from siglum.kernels import dispatch
from siglum.kernels.reference import integer_network as reference

__all__ = [
    "Depthwise",
    "IntegerNetwork",
    "Layer",
    "PixelShuffle",
    "Pointwise",
    "quantize_depthwise",
    "quantize_pointwise",
]

MAX_LAYERS = 256
MAX_SHUFFLES = 8
_METADATA_KEY = "integer_network"
_METADATA_LIMIT = 1 << 16
_KINDS: dict[str, type[Pointwise] | type[Depthwise]] = {"pointwise": Pointwise, "depthwise": Depthwise}
_NAMES = {Pointwise: "pointwise", Depthwise: "depthwise", PixelShuffle: "pixel_shuffle"}


class IntegerNetwork:
    """A chain of integer layers, immutable and safe to share between threads.

    Parameters
    ----------
    layers
        `Pointwise`, `Depthwise` and `PixelShuffle` layers, at least one of the first two.
    input_bound
        Largest magnitude of an input, 0 to 32768.
    condition_bounds
        For each `Pointwise` and `Depthwise` layer, in order, the largest magnitude of a conditioning bias; 0
        where the layer takes none. None: no layer takes any.

    Raises
    ------
    ValueError
        Channels do not fit together, or an accumulator may leave int32: every output channel needs
        sum(|weight|) * max(|input|) + |bias| + condition bound < 2**31.

    Examples
    --------
    >>> import numpy as np
    >>> weight, bias, multiplier = np.int8([[3, -1]]), np.int32([4]), np.int32([1])
    >>> layer = Pointwise(weight, bias, multiplier, shift=1)
    >>> network = IntegerNetwork([layer], input_bound=100)
    >>> network.bounds
    [404]
    >>> network(np.array([[[10, 5]]], np.int16))  # (3 * 10 - 5 + 4 + 1) >> 1
    array([[[15]]], dtype=int16)
    """

    def __init__(
        self, layers: Sequence[Layer], input_bound: int, condition_bounds: Sequence[int] | None = None
    ) -> None:
        self.layers = tuple(layers)
        arithmetic = [layer for layer in self.layers if isinstance(layer, (Pointwise, Depthwise))]
        if not all(isinstance(layer, (Pointwise, Depthwise, PixelShuffle)) for layer in self.layers):
            raise ValueError("layers must be Pointwise, Depthwise or PixelShuffle")
        if not arithmetic or len(self.layers) > MAX_LAYERS:
            raise ValueError(f"a network has 1 to {MAX_LAYERS} layers, at least one of them with weights")
        if len(self.layers) - len(arithmetic) > MAX_SHUFFLES:
            raise ValueError(f"a network has at most {MAX_SHUFFLES} pixel shuffles")
        if condition_bounds is None:
            condition_bounds = [0] * len(arithmetic)
        if len(condition_bounds) != len(arithmetic):
            raise ValueError("one condition bound for each layer with weights")
        for bound in (input_bound, *condition_bounds):
            if isinstance(bound, bool) or not isinstance(bound, (int, np.integer)):
                raise ValueError("bounds must be integers")
        if not 0 <= input_bound <= 2**15:
            raise ValueError("input_bound must be 0 to 32768")
        if not all(0 <= bound < 2**31 for bound in condition_bounds):
            raise ValueError("condition bounds must be 0 to 2**31 - 1")

        self.input_bound = int(input_bound)
        self.condition_bounds = tuple(int(bound) for bound in condition_bounds)
        self.bounds: list[int] = []
        """Of each layer with weights, the largest magnitude of an accumulator or of any partial sum of it."""
        self._arithmetic = arithmetic
        self._check_channels()
        self._check_bounds()
        self._native: dict[str, Any] = {}

    def _check_channels(self) -> None:
        channels = None
        for layer in self.layers:
            if isinstance(layer, PixelShuffle):
                if channels is not None and channels % 4:
                    raise ValueError(f"a pixel shuffle needs a multiple of 4 channels, not {channels}")
                channels = None if channels is None else channels // 4
            else:
                if channels is not None and layer.in_channels != channels:
                    raise ValueError(f"a layer takes {layer.in_channels} channels but gets {channels}")
                channels = layer.out_channels
        leading = next(i for i, layer in enumerate(self.layers) if not isinstance(layer, PixelShuffle))
        assert channels is not None
        self.in_channels = self._arithmetic[0].in_channels * 4**leading
        self.out_channels = channels

    def _check_bounds(self) -> None:
        activation = self.input_bound
        for index, (layer, condition) in enumerate(zip(self._arithmetic, self.condition_bounds, strict=True)):
            bound = layer.accumulator_bound(activation, condition)
            if bound >= 2**31:
                raise ValueError(
                    f"layer {index} with weights: an accumulator may reach {bound}, beyond int32"
                )
            self.bounds.append(bound)
            activation = layer.output_bound

    @property
    def upsampling(self) -> int:
        """Output pixels for each input pixel, along one side."""
        return int(2 ** (len(self.layers) - len(self._arithmetic)))

    def __call__(
        self,
        x: NDArray[np.int16],
        condition: Sequence[NDArray[np.int32] | None] | None = None,
        threads: int | None = 1,
        *,
        isa: str | None = None,
    ) -> NDArray[np.int16]:
        """Run the network in compiled code, without the GIL.

        Parameters
        ----------
        x
            (H, W, C) or (N, H, W, C) int16, no magnitude above `input_bound`.
        condition
            For each layer with weights None or a (Cout,) int32 bias, the same for all images.
        threads
            None: as many as `siglum.kernels.dispatch.threads` says. The result does not depend on it.
        isa
            Forces an instruction set. The result does not depend on it.

        Returns
        -------
        ndarray
            (H', W', C') or (N, H', W', C') int16, each side `upsampling` times as long.

        Raises
        ------
        ValueError
            Wrong type or shape, an empty image, or a value beyond its bound.
        """
        batch, biases = self._check_input(x), self.biases(condition)
        count = dispatch.threads(threads)
        handle = self.compiled(isa or dispatch.isa())
        n, height, width, _ = batch.shape
        out = np.empty((n, height * self.upsampling, width * self.upsampling, self.out_channels), np.int16)
        handle.run(batch, biases, out, count)
        return out if x.ndim == 4 else out[0]

    def reference(
        self, x: NDArray[np.int16], condition: Sequence[NDArray[np.int32] | None] | None = None
    ) -> NDArray[np.int16]:
        """Run the network in NumPy: slow, and equal to the compiled code bit for bit."""
        batch, biases = self._check_input(x), iter(self._biases(condition))
        for layer in self.layers:
            if isinstance(layer, PixelShuffle):
                batch = reference.pixel_shuffle(batch)
                continue
            sums = reference.pointwise_sums if isinstance(layer, Pointwise) else reference.depthwise_sums
            accumulators = sums(batch, layer.weight, next(biases).astype(np.int64))
            batch = reference.requantise(accumulators, layer.multiplier, layer.shift, layer.low, layer.high)
        return batch if x.ndim == 4 else batch[0]

    def _check_input(self, x: NDArray[np.int16]) -> NDArray[np.int16]:
        """Return x as a contiguous (N, H, W, C) batch."""
        if not isinstance(x, np.ndarray) or x.dtype != np.int16 or x.ndim not in (3, 4):
            raise ValueError("the input must be an int16 array (H, W, C) or (N, H, W, C)")
        if x.shape[-1] != self.in_channels:
            raise ValueError(f"the input must have {self.in_channels} channels, not {x.shape[-1]}")
        if 0 in x.shape[-3:-1]:
            raise ValueError("the input is an image without pixels")
        limited = self.input_bound < 2**15  # else no int16 is beyond it
        if limited and x.size and (int(x.min()) < -self.input_bound or int(x.max()) > self.input_bound):
            raise ValueError(f"an input is beyond the bound of ±{self.input_bound}")
        return np.ascontiguousarray(x if x.ndim == 4 else x[None])

    def _biases(self, condition: Sequence[NDArray[np.int32] | None] | None) -> list[NDArray[np.int32]]:
        """Return the bias of every layer with weights, conditioning included."""
        if condition is None:
            return [layer.bias for layer in self._arithmetic]
        if len(condition) != len(self._arithmetic):
            raise ValueError(
                f"the condition must have {len(self._arithmetic)} entries, one a layer with weights"
            )
        biases = []
        for layer, extra, bound in zip(self._arithmetic, condition, self.condition_bounds, strict=True):
            if extra is None:
                biases.append(layer.bias)
                continue
            if (
                not isinstance(extra, np.ndarray)
                or extra.dtype != np.int32
                or extra.shape != layer.bias.shape
            ):
                raise ValueError(
                    "a conditioning bias must be an int32 array with one entry an output channel"
                )
            if int(extra.min()) < -bound or int(extra.max()) > bound:
                raise ValueError(f"a conditioning bias is beyond its bound of ±{bound}")
            biases.append(layer.bias + extra)
        return biases

    def biases(self, condition: Sequence[NDArray[np.int32] | None] | None) -> NDArray[np.int32]:
        """Return the biases of all layers, one after the other, conditioning included; `condition` as in a call."""
        return np.concatenate(self._biases(condition))

    def compiled(self, isa: str) -> Any:
        """Return the native network with its weights packed for one instruction set."""
        handle = self._native.get(isa)
        if handle is None:
            handle = _native.IntegerNetwork(isa)
            for layer in self.layers:
                if isinstance(layer, PixelShuffle):
                    handle.add_pixel_shuffle()
                else:
                    add = handle.add_pointwise if isinstance(layer, Pointwise) else handle.add_depthwise
                    add(layer.weight, layer.multiplier, layer.shift, layer.low, layer.high)
            self._native[isa] = handle
        return handle

    def tensors(self, prefix: str = "") -> dict[str, NDArray[Any]]:
        """Return the arrays: ``{prefix}{layer}.weight`` (int8), ``.bias`` and ``.multiplier`` (int32)."""
        return {
            f"{prefix}{index}.{name}": getattr(layer, name)
            for index, layer in enumerate(self.layers)
            if not isinstance(layer, PixelShuffle)
            for name in ("weight", "bias", "multiplier")
        }

    def metadata(self, prefix: str = "") -> dict[str, str]:
        """Return what `tensors` leaves out, as one JSON string: what safetensors takes as metadata."""
        layers = [
            {"kind": _NAMES[type(layer)]}
            if isinstance(layer, PixelShuffle)
            else {"kind": _NAMES[type(layer)], "shift": layer.shift, "low": layer.low, "high": layer.high}
            for layer in self.layers
        ]
        content = {
            "layers": layers,
            "input_bound": self.input_bound,
            "condition_bounds": list(self.condition_bounds),
        }
        return {f"{prefix}{_METADATA_KEY}": json.dumps(content, separators=(",", ":"))}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str], prefix: str = ""
    ) -> IntegerNetwork:
        """Build the network that `tensors` and `metadata` describe, checking all of it again.

        Raises
        ------
        ValueError
            Anything is missing, superfluous (under the prefix), of a wrong type or shape, or beyond a bound.
        """
        content = _parse(metadata.get(f"{prefix}{_METADATA_KEY}"))
        unused = {name for name in tensors if name.startswith(prefix)}
        layers: list[Layer] = []
        for index, entry in enumerate(content["layers"]):
            kind = entry.get("kind") if isinstance(entry, dict) else None
            if kind == "pixel_shuffle" and len(entry) == 1:
                layers.append(PixelShuffle())
                continue
            if (
                not isinstance(kind, str)
                or kind not in _KINDS
                or set(entry) != {"kind", "shift", "low", "high"}
            ):
                raise ValueError(f"integer network: layer {index} is malformed")
            names = [f"{prefix}{index}.{name}" for name in ("weight", "bias", "multiplier")]
            if not unused.issuperset(names):
                raise ValueError(f"integer network: layer {index} lacks a tensor")
            unused.difference_update(names)
            weight, bias, multiplier = (tensors[name] for name in names)
            layers.append(_KINDS[kind](weight, bias, multiplier, entry["shift"], entry["low"], entry["high"]))
        if unused:
            raise ValueError(f"integer network: unexpected tensor {min(unused)!r}")
        return cls(layers, content["input_bound"], content["condition_bounds"])


def _parse(text: object) -> dict[str, Any]:
    """Parse the metadata string as far as its outer shape."""
    if not isinstance(text, str) or len(text) > _METADATA_LIMIT:
        raise ValueError("integer network: the metadata are missing or too long")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("integer network: the metadata are not JSON") from None
    if not isinstance(content, dict) or set(content) != {"layers", "input_bound", "condition_bounds"}:
        raise ValueError("integer network: the metadata have the wrong keys")
    if not isinstance(content["layers"], list) or not isinstance(content["condition_bounds"], list):
        raise ValueError("integer network: layers and condition bounds must be lists")
    return content
