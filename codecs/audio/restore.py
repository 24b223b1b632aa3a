"""From a model's file back to networks in torch, to train on from there: the inverse of `export`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from siglum.codecs.audio import weights
from siglum.codecs.audio.constants import LOW_SCALE
from siglum.codecs.audio.presets import Preset
from siglum.codecs.audio.transform import AudioModel


@torch.no_grad()
def model_of(tensors: Mapping[str, NDArray[Any]], preset: Preset) -> AudioModel:
    """Networks with the weights and codebooks of a model's file; the rotation stays in the layers around it.

    Raises
    ------
    KeyError, RuntimeError
        If tensors are missing or of other shapes than the preset's.
    """
    model = AudioModel(preset)
    given = {name: torch.from_numpy(np.array(array, np.float32)) for name, array in _floats(tensors).items()}

    def linear(layer: nn.Linear, name: str) -> None:
        layer.weight.copy_(given[f"{name}.weight"])
        layer.bias.copy_(given[f"{name}.bias"])

    for side, enter, blocks, leave in (
        ("encoder", model.encoder_in, model.encoder_blocks, model.encoder_out),
        ("decoder", model.decoder_in, model.decoder_blocks, model.decoder_out),
    ):
        linear(enter, f"{side}.enter")
        linear(leave, f"{side}.leave")
        for i, block in enumerate(blocks):
            for part in ("widen", "narrow"):
                layer = block.get_submodule(part)
                assert isinstance(layer, nn.Linear)
                linear(layer, f"{side}.block{i}.{part}")
            for part in ("taps", "taps_bias"):
                block.get_parameter(part).copy_(given[f"{side}.block{i}.{part}"])
    model.skip_in.copy_(given["encoder.skip"])
    model.low_in.copy_(given["encoder.low"] / LOW_SCALE)
    model.low_out.copy_(given["decoder.low"] * LOW_SCALE)
    linear(model.low_refine, "decoder.low_refine")
    for parameter in (model.low_refine.weight, model.low_refine.bias):
        parameter.mul_(LOW_SCALE)
    assert model.quantizer.rotation is not None
    model.quantizer.rotation.assign(torch.eye(preset.latent), torch.zeros(preset.latent))
    for stage, book in enumerate(model.quantizer.codebooks):
        book.assign(given[f"{weights.BOOKS}{stage}"])
    model.quantised = True
    return model


def decoder_parameters(model: AudioModel) -> dict[str, nn.Parameter]:
    """What only decoding uses, by name."""
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if name.startswith(("decoder_", "low_out", "low_refine"))
    }


def _floats(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: array for name, array in weights.widened(tensors).items() if array.dtype.kind == "f"}
