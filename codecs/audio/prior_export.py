"""A trained prior of codes in exact integers."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from siglum.codecs.audio.prior import EMBEDDING_UNIT, METADATA, PRESENT
from siglum.codecs.audio.prior_network import PriorNetwork
from siglum.entropy.integer_layers import INT16_HIGH, INT16_LOW, Pointwise, quantize_pointwise
from siglum.entropy.integer_network import IntegerNetwork

HIGH = 4095  # of features: 12 bits, so that sums over hundreds of them fit into 32
LATENT_HIGH = 8191
ROOM = 1.3  # beyond the largest feature that was seen
LOGIT = math.log(2) / 256  # unit of logits, in nats

Floats = NDArray[np.float64]


def _array(value: Tensor) -> Floats:
    return value.detach().double().numpy()


def _scale(seen: Tensor, high: int) -> float:
    return max(float(seen.detach().abs().max()) * ROOM, 1e-6) / high


def _layer(layer: nn.Module, units: Floats | float, scale: float, low: int, high: int) -> Pointwise:
    """A float layer whose inputs stand for integers of these units."""
    assert isinstance(layer, nn.Linear)
    return quantize_pointwise(_array(layer.weight) * units, _array(layer.bias), 1.0, scale, low, high)


def _logits(layer: nn.Module, units: float) -> Pointwise:
    """The same for logits, of which only the differences mean anything."""
    assert isinstance(layer, nn.Linear)
    weight, bias = _array(layer.weight), _array(layer.bias)
    weight, bias = weight - weight.mean(0), bias - bias.mean()
    return quantize_pointwise(weight * units, bias, 1.0, LOGIT, INT16_LOW, INT16_HIGH)


@torch.no_grad()
def to_integers(
    network: PriorNetwork, codes: Tensor, counts: Tensor
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Tensors and metadata of `siglum.codecs.audio.prior.Prior`.

    Parameters
    ----------
    network
        Trained.
    codes, counts : int64 (B, T, S), (B, T)
        From which the ranges of features are taken: some thousand frames, some of them with all stages.
    """
    s = network.shape
    seen, before, context = network.features(codes, counts)
    present = nn.functional.one_hot(counts, s.stages + 1).float()
    of_frame, of_context = _scale(before, HIGH), _scale(context, HIGH)
    of_wide = _scale(nn.functional.relu(network.wide(torch.cat([before, present], -1))), HIGH)
    steps = np.array([float(words.abs().max().clamp_min(1e-6)) / 127 for words in network.words])
    words = np.rint(_array(network.words) / steps[:, None, None]).astype(np.int8)
    units = np.repeat(steps / EMBEDDING_UNIT, s.embedding).reshape(s.codes, s.embedding)
    counted = np.full(s.stages + 1, 1 / PRESENT)

    past = np.full(s.past, of_frame)
    networks = {
        "frame.": [_layer(network.frame, np.concatenate([units.ravel(), counted]), of_frame, 0, HIGH)],
        "count.": [_logits(network.count, of_frame)],
        "context.": [
            _layer(network.wide, np.concatenate([past, counted]), of_wide, 0, HIGH),
            _layer(network.context, of_wide, of_context, 0, HIGH),
        ],
    }
    context, seen, number = context.flatten(0, 1), seen.flatten(0, 1), counts.flatten()
    for i in range(s.codes):
        rows = torch.nonzero(number > i // s.groups)[:, 0]
        rows = rows if len(rows) else torch.arange(len(number))
        own = seen[rows][:, s.sees(i).start : i].flatten(1)
        inside = nn.functional.relu(network.hidden[i](torch.cat([context[rows], own], -1)))
        of_hidden = _scale(inside, HIGH)
        of_latent = _scale(network.narrow[i](inside), LATENT_HIGH)
        inputs = np.concatenate([np.full(s.context, of_context), units[s.sees(i).start : i].ravel()])
        networks[f"code.{i}."] = [
            _layer(network.hidden[i], inputs, of_hidden, 0, HIGH),
            _layer(network.narrow[i], of_hidden, of_latent, -2 * LATENT_HIGH, 2 * LATENT_HIGH),
            _logits(network.out[i], of_latent),
        ]

    tensors: dict[str, NDArray[Any]] = {"words": words}
    settings = {
        "groups": s.groups,
        "taps": s.taps,
        "averages": list(s.averages),
        "sees": [list(s.sees(i)) for i in range(s.codes)],
    }
    metadata = {METADATA: json.dumps(settings, separators=(",", ":"))}
    for name, layers in networks.items():
        made = IntegerNetwork(layers, PRESENT if name == "frame." else HIGH)
        tensors.update(made.tensors(name))
        metadata.update(made.metadata(name))
    return tensors, metadata
