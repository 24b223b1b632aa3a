"""A trained audio model as arrays: what files depend on, and under ``encoder.`` what only encoding uses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from siglum.codecs import models
from siglum.codecs.audio import allocate, weights
from siglum.codecs.audio.books import Books
from siglum.codecs.audio.constants import LOW_SCALE
from siglum.codecs.audio.encoder import MIDDLE, QUALITY_STEP
from siglum.codecs.audio.transform import AudioModel

_FULLEST = 0.75  # of the stages at quality 100: the others are for bit rates


def build(
    model: AudioModel,
    segments: NDArray[np.float32],
    prior: Mapping[str, NDArray[Any]] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> dict[str, NDArray[Any]]:
    """Everything that a model's file holds.

    Parameters
    ----------
    model
        Averaged weights, with codebooks.
    segments : float32 (B, N)
        Training segments at `LEVEL`, from which the unit of the weight of a bit is taken.
    prior, metadata
        Of `siglum.codecs.audio.prior.Prior`; None: codes have fixed lengths.
    """
    tensors = tensors_of(model)
    with torch.no_grad():
        latents = model.quantizer.rotate(model.analyse(torch.from_numpy(segments)).flatten(0, 1))
    unit = unit_of(Books(models.below(tensors, weights.BOOKS), model.preset), latents.numpy())
    made = weights.narrowed(tensors)
    made |= {f"{weights.PRIOR}{name}": array for name, array in (prior or {}).items()}
    made[weights.CONFIG] = weights.config_of(model.preset, None if prior is None else dict(metadata or {}))
    made[weights.UNIT] = np.array([unit], np.float32)
    return made


def unit_of(books: Books, latents: NDArray[np.float32]) -> float:
    """Unit of the weight of a bit: with it, quality 100 uses three quarters of the stages of latents (N, D).

    So qualities mean about the same for models with few stages and with many.
    """
    p = books.preset
    _, errors = books.encode(latents)
    bits = np.arange(p.stages + 1, dtype=np.float32)[None] * p.groups * math.log2(p.codewords)
    low, high = -40.0, math.log2(float(errors[:, 0].mean()) + 1e-9)
    for _ in range(40):
        middle = (low + high) / 2
        many = allocate.at(errors, bits, 2.0**middle).mean() > _FULLEST * p.stages
        low, high = (middle, high) if many else (low, middle)
    return float(2.0**low / (MIDDLE * 2.0 ** (-50 / QUALITY_STEP)))


@torch.no_grad()
def tensors_of(model: AudioModel) -> dict[str, NDArray[Any]]:
    """Weights and codebooks in half precision, by the names that `engine.Engine` and `books.Books` read.

    The rotation in front of the split is folded into the layers before and after it.
    """
    rotation = model.quantizer.rotation
    assert rotation is not None
    turn, centre = rotation.matrix(), rotation.centre.double()
    leave, enter = model.encoder_out, model.decoder_in
    folded: dict[str, tuple[Tensor, Tensor | None]] = {
        "encoder.leave": (
            turn.T @ leave.weight.double(),
            turn.T @ (_bias(leave) - centre),
        ),
        "decoder.enter": (enter.weight.double() @ turn, _bias(enter) + enter.weight.double() @ centre),
        "encoder.enter": (model.encoder_in.weight, _bias(model.encoder_in)),
        "decoder.leave": (model.decoder_out.weight, _bias(model.decoder_out)),
    }
    for name, blocks in (("encoder", model.encoder_blocks), ("decoder", model.decoder_blocks)):
        for i, block in enumerate(blocks):
            for part in ("widen", "narrow"):
                layer = block.get_submodule(part)
                assert isinstance(layer, nn.Linear)
                folded[f"{name}.block{i}.{part}"] = (layer.weight, _bias(layer))
            for part in ("taps", "taps_bias"):
                folded[f"{name}.block{i}.{part}"] = (block.get_parameter(part), None)
    tensors: dict[str, NDArray[Any]] = {}
    for name, (weight, bias) in folded.items():
        if bias is None:
            tensors[name] = _half(weight)
        else:
            tensors[f"{name}.weight"], tensors[f"{name}.bias"] = _half(weight), _half(bias)
    tensors["encoder.skip"] = _half(turn.T @ model.skip_in.double())
    tensors["encoder.low"] = _half(turn.T @ model.low_in.double() * LOW_SCALE)
    tensors["decoder.low"] = _half(model.low_out.double() @ turn / LOW_SCALE)
    lift = model.low_out.double() @ centre
    tensors["decoder.low_refine.weight"] = _half(model.low_refine.weight / LOW_SCALE)
    tensors["decoder.low_refine.bias"] = _half((_bias(model.low_refine) + lift) / LOW_SCALE)
    for stage, book in enumerate(model.quantizer.codebooks):
        tensors[f"books.{stage}"] = _half(book.vectors())
    return tensors


def _bias(layer: nn.Linear) -> Tensor:
    return layer.bias.double()


def _half(value: Tensor) -> NDArray[np.float16]:
    return np.asarray(value.detach().float().numpy().astype(np.float16))
