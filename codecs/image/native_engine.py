"""The float networks of the image codec in compiled code, from the weights' tensors, without torch.

Channels of cells are stored (colour or channel, row, column) in the weights, as in `transform.space_to_depth`,
and (row, column, channel) in the compiled networks, where they need no copy: weights are permuted here.

Of the analysis all but the linear branch may run in bfloat16, since an encoder is free in its symbols; that costs
less than 0.02 % of rate and distortion. The synthesis stays float32, so that every machine shows the same pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.image.constants import ANCHOR_STEP, ANCHORS, HYPER_FACTOR, PATCH
from siglum.codecs.image.scale import PREVIEW, kept_blocks
from siglum.errors import UnknownModel
from siglum.kernels.float_network import PATCH_CHANNELS, Block, Depthwise, FloatNetwork, Layer, Pointwise

Floats = NDArray[np.float32]
_HALF = PATCH // 2
_SAMPLE_UNIT = 128 / 255


class NativeEngine:
    """Runs one model; networks are built when they are first used.

    Parameters
    ----------
    tensors
        Arrays by the names of `transform.ImageModel`; half precision is widened.
    preset
        Sizes of the networks, the fields of `transform.Preset`.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]], preset: Mapping[str, int]) -> None:
        self._tensors, self._preset = tensors, preset
        self._scaled: dict[int, FloatNetwork] = {}

    def analyse(
        self, pixels: NDArray[np.uint8], level: int, out: Floats, top: int, left: int, threads: int
    ) -> None:
        """See `Engine.analyse`."""
        network, scale = self._analysis, np.exp(self._at_level("gain", level, self._preset["latent"]))
        gain = np.exp(self._at_level("analysis.gain", level, self._size("analysis.down")))
        network(pixels, [scale, gain, scale], out, top, left, threads)

    def hyper_analyse(self, y: Floats, level: int, threads: int) -> Floats:
        """See `Engine.hyper_analyse`."""
        z: Floats = self._hyper_analysis(y, threads=threads)
        return z + self._at_level("hyper_analysis.bias", level, z.shape[2])

    def synthesise(
        self, y: Floats, level: int, out: NDArray[np.uint8], top: int, left: int, threads: int
    ) -> None:
        """See `Engine.synthesise`."""
        network, scale = (
            self._synthesis,
            np.exp(self._at_level("inverse_gain", level, self._preset["latent"])),
        )
        gain = np.exp(self._at_level("synthesis.gain", level, self._size("synthesis.enter")))
        network(y, [scale, gain], out, top, left, threads)

    def synthesise_scaled(
        self,
        y: Floats,
        level: int,
        out: NDArray[np.uint8],
        top: int,
        left: int,
        threads: int,
        factor: int,
    ) -> None:
        """See `Engine.synthesise_scaled`."""
        if factor not in self._scaled:
            self._scaled[factor] = self._scaled_synthesis(factor)
        scale = np.exp(self._at_level("inverse_gain", level, self._preset["latent"]))
        gain = np.exp(self._at_level("synthesis.gain", level, self._size("synthesis.enter")))
        side = _HALF // factor  # pixels on a side of a position at 1/8
        rows, columns = (-(-length // side) for length in out.shape[:2])
        means = np.empty((rows, columns, 3 * side * side), np.float32)
        self._scaled[factor](y, [scale, gain], means, top // side, left // side, threads)
        means = np.clip(
            means * np.float32(255) + np.float32(128), 0, 255, out=means
        )  # + 1/2: rounds down below
        patches = means.astype(np.uint8).reshape(rows, columns, side, side, 3).transpose(0, 2, 1, 3, 4)
        whole = patches.reshape(rows * side, columns * side, 3)
        out[...] = whole[: out.shape[0], : out.shape[1]]

    def _scaled_synthesis(self, factor: int) -> FloatNetwork:
        """Latents -> means of pixels: by the model's short cut, or all blocks and the mean of their last layers."""
        size, channels = self._preset, 3 * (_HALF // factor) ** 2
        name = f"{PREVIEW}{factor}"
        if f"{name}.linear.weight" in self._tensors:
            blocks = kept_blocks(factor, size)
            linear = self._pointwise(f"{name}.linear", grid="up", branch="aside")
            leave = self._array(f"{name}.leave.weight", -1, -1)
        else:
            blocks = size["synthesis8"]
            weight = _means_of(self._array("synthesis.linear.weight", -1, -1), PATCH, factor)
            bias = _means_of(self._array("synthesis.linear.bias", -1), PATCH, factor)
            leave = _means_of(self._array("synthesis.leave.weight", -1, -1), _HALF, factor)
            bias += np.tile(_means_of(self._array("synthesis.leave.bias", -1), _HALF, factor), 4)
            linear = Pointwise(weight, bias, grid="up", branch="aside")
        layers: list[Layer] = [
            linear,
            self._pointwise("synthesis.enter", gained=True),
            *self._blocks("synthesis.blocks16", size["synthesis16"]),
        ]
        if blocks:
            layers += [
                self._pointwise("synthesis.up", "cell out", grid="up"),
                *self._blocks("synthesis.blocks8", blocks),
            ]
        zeros = np.zeros(len(leave), np.float32)
        layers.append(Pointwise(leave, zeros, branch="add", grid="same" if blocks else "up"))
        return self._network(layers, size["latent"], channels, input="scaled")

    @cached_property
    def _analysis(self) -> FloatNetwork:
        size = self._preset
        layers: list[Layer] = [
            self._pointwise("analysis.linear", "patches in", grid="down", branch="aside", gained=True),
            self._pointwise("analysis.enter", "patch in", may_round=True),
            *self._blocks("analysis.blocks8", size["analysis8"], may_round=True),
            self._pointwise("analysis.down", "cell in", grid="down", gained=True, may_round=True),
            *self._blocks("analysis.blocks16", size["analysis16"], may_round=True),
            self._pointwise("analysis.leave", branch="add", gained=True, may_round=True),
        ]
        return self._network(layers, PATCH_CHANNELS, size["latent"], input="samples", multiple=2)

    @cached_property
    def _synthesis(self) -> FloatNetwork:
        size = self._preset
        layers: list[Layer] = [
            self._pointwise("synthesis.linear", "patches out", grid="up", branch="aside"),
            self._pointwise("synthesis.enter", gained=True),
            *self._blocks("synthesis.blocks16", size["synthesis16"]),
            self._pointwise("synthesis.up", "cell out", grid="up"),
            *self._blocks("synthesis.blocks8", size["synthesis8"]),
            self._pointwise("synthesis.leave", "patch out", branch="add"),
        ]
        return self._network(layers, size["latent"], 3, input="scaled", output="samples")

    @cached_property
    def _hyper_analysis(self) -> FloatNetwork:
        layers: list[Layer] = [
            self._pointwise("hyper_analysis.enter", activation=True),
            self._depthwise("hyper_analysis.mix16"),
            self._pointwise("hyper_analysis.down32", "cell in", grid="down", activation=True),
            self._depthwise("hyper_analysis.mix32"),
            self._pointwise("hyper_analysis.down64", "cell in", grid="down", activation=True),
            self._pointwise("hyper_analysis.leave"),
        ]
        size = self._preset
        return self._network(layers, size["latent"], size["hyper"], input="asinh", multiple=HYPER_FACTOR)

    def _network(self, layers: list[Layer], channels: int, result: int, **settings: Any) -> FloatNetwork:
        try:
            network = FloatNetwork(layers, channels, **settings)
            if network.output_size(PATCH * HYPER_FACTOR, PATCH * HYPER_FACTOR)[2] != result:
                raise ValueError("a network has the wrong number of output channels")
        except ValueError as error:
            raise _misfit(error) from error
        return network

    def _array(self, name: str, *shape: int) -> Floats:
        """A tensor in float32; a size of -1 is any."""
        array = self._tensors.get(name)
        if array is None:
            raise _misfit(f"it lacks {name}")
        fits = array.ndim == len(shape) and all(
            want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits or array.dtype.kind != "f":
            raise _misfit(f"{name} is {array.dtype} of shape {array.shape}")
        return np.ascontiguousarray(array, np.float32)

    def _pointwise(
        self,
        name: str,
        order: Literal["", "patch in", "patches in", "cell in", "patch out", "patches out", "cell out"] = "",
        **settings: Any,
    ) -> Pointwise:
        weight, bias = self._array(f"{name}.weight", -1, -1), self._array(f"{name}.bias", -1)
        if bias.size != weight.shape[0]:
            raise _misfit(f"{name}.bias has {bias.size} entries")
        if order:
            kind, side = order.split()
            axis = 1 if side == "in" else 0
            places = _places(kind, weight.shape[axis])
            weight = np.ascontiguousarray(np.take(weight, places, axis))
            if side == "out":
                bias = bias[places]
            elif (
                kind != "cell"
            ):  # the weights take sample / 255 - 1/2, the compiled network gives sample / 128 - 1
                bias = bias + weight.sum(axis=1) * np.float32(_SAMPLE_UNIT - 0.5)
                weight = weight * np.float32(_SAMPLE_UNIT)
        return Pointwise(weight, bias, **settings)

    def _depthwise(self, name: str) -> Depthwise:
        weight = self._array(f"{name}.weight", -1, 1, 3, 3)
        taps = np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0))
        return Depthwise(taps, self._array(f"{name}.bias", -1))

    def _blocks(self, name: str, count: int, may_round: bool = False) -> list[Block]:
        return [self._block(f"{name}.{number}", may_round) for number in range(count)]

    def _block(self, name: str, may_round: bool) -> Block:
        enter, leave, widen, narrow = (
            self._pointwise(f"{name}.{part}") for part in ("enter", "leave", "widen", "narrow")
        )
        mix = self._depthwise(f"{name}.depthwise")
        return Block(
            enter.weight,
            enter.bias,
            mix.weight,
            mix.bias,
            leave.weight,
            leave.bias,
            widen.weight,
            widen.bias,
            narrow.weight,
            narrow.bias,
            may_round,
        )

    def _size(self, name: str) -> int:
        """Output channels of a layer."""
        return self._array(f"{name}.bias", -1).size

    def _at_level(self, name: str, level: int, size: int) -> Floats:
        """A quality's vector: linear between the anchors on both sides."""
        anchors = self._array(f"{name}.anchors", ANCHORS, size)
        low, part = divmod(level, ANCHOR_STEP)
        share = np.float32(part / ANCHOR_STEP)
        return anchors[low] * (1 - share) + anchors[low + 1] * share


def _places(kind: str, size: int) -> NDArray[np.intp]:
    """Where each channel of a compiled network is in the weights."""
    if kind == "cell":  # (row, column, channel) of (channel, row, column)
        if size % 4:
            raise _misfit(f"{size} channels make no cell")
        return np.arange(size).reshape(size // 4, 2, 2).transpose(1, 2, 0).ravel()
    side = _HALF if kind == "patch" else PATCH
    if size != 3 * side * side:
        raise _misfit(f"{size} channels make no {kind}")
    order = np.arange(size).reshape(3, side // _HALF, _HALF, side // _HALF, _HALF)
    return order.transpose(1, 3, 2, 4, 0).ravel()  # (row and column of the patch, those in it, colour)


def _means_of(array: Floats, side: int, factor: int) -> Floats:
    """Of (3 * side^2, ...) channels (colour, row, column) the means, as (patch row and column, row, column, colour)."""
    if len(array) != 3 * side * side:
        raise _misfit(f"{len(array)} channels make no patch of {side} pixels")
    k, patches = _HALF // factor, side // _HALF
    rest = array.shape[1:]
    means = array.reshape(3, patches, k, factor, patches, k, factor, *rest).mean((3, 6), dtype=np.float64)
    order = (1, 3, 2, 4, 0, *range(5, 5 + len(rest)))
    return np.ascontiguousarray(means.transpose(order).reshape(-1, *rest), np.float32)


def _misfit(problem: object) -> UnknownModel:
    return UnknownModel(f"the model is not of its preset ({problem}); install it again")
