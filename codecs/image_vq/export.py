"""From trained codebooks and networks to the weights that ship."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from siglum.codecs.image.constants import ANCHORS
from siglum.codecs.image_vq import books as runtime
from siglum.codecs.image_vq import learn
from siglum.codecs.image_vq.constants import GRID, SCALES
from siglum.codecs.image_vq.weights import BOOKS, CONFIG, NETWORK, PRIOR, WORTH, Config
from siglum.entropy.codebook_fit import ENERGY_BITS, bisect, cell_count, scale_numbers
from siglum.entropy.tables import MAX_ENTRIES

RANGES = (8, 24, 56, 104)  # ends of the ranges of channels of the fine stage, the last is all of them
_TAKEN = ("model.", "encoder.model.", "prior.")  # tensors of an image model that this codec uses as they are


@torch.no_grad()
def to_integers(model: learn.Codebooks) -> list[runtime.Book]:
    """The codebooks with codewords on the grid, weights in 2**-12 bit, and numbers of deviations."""
    found = []
    for kind, book in enumerate(model.books):
        assert isinstance(book, learn.Book)
        ratio = runtime.ratio_of(kind)
        step = ratio * GRID
        points = np.rint(book.words.double().numpy() / step)
        logs = book.log_weight.double().numpy() / np.log(2.0)
        bias = np.rint((logs - logs.max()) * 2**ENERGY_BITS).clip(-(2**20), 2**20).astype(np.int32)
        numbers = scale_numbers(np.exp(book.log_deviation.double().numpy()) / step)
        assert numbers.shape == (SCALES,)
        order = (
            np.concatenate(bisect(points, cell_count(len(points))))
            if len(points) > MAX_ENTRIES
            else slice(None)
        )
        found.append(runtime.Book(points[order].astype(np.int16), bias[order], numbers, ratio))
    return found


def collect(
    image_tensors: Mapping[str, NDArray[Any]],
    books: list[runtime.Book],
    order: NDArray[np.integer[Any]],
    conceal: NDArray[np.floating[Any]],
    worth: NDArray[np.floating[Any]],
    lift: NDArray[np.floating[Any]] | None = None,
) -> dict[str, NDArray[Any]]:
    """All tensors of a model by name.

    Parameters
    ----------
    image_tensors
        Those of a model with this transform and hyperprior, and the synthesis that is to ship.
    books
        Codebook of each class.
    order, conceal, worth
        See `weights.VqWeights`.
    lift
        (ANCHORS,) see `weights.VqWeights.lift`; None: none.
    """
    config = json.loads(image_tensors["config"].tobytes())
    latent = config["preset"]["latent"]
    ranges = [end for end in RANGES if end < latent] + [latent]
    tensors = {name: array for name, array in image_tensors.items() if name.startswith(_TAKEN)}
    tensors |= {BOOKS + name: array for name, array in runtime.to_tensors(books).items()}
    own = Config(config["preset"], config["network"], ranges)
    tensors[CONFIG] = np.frombuffer(msgspec.json.encode(own), np.uint8).copy()
    tensors["order"] = np.asarray(order, np.int32)
    tensors["conceal"] = np.asarray(conceal, np.float32)
    tensors["lift"] = np.zeros(ANCHORS, np.float32) if lift is None else np.asarray(lift, np.float32)
    tensors[WORTH] = np.asarray(worth, np.float32)
    assert any(name.startswith(PRIOR) for name in tensors)
    return tensors


@torch.no_grad()
def synthesis_tensors(model: torch.nn.Module, like: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """A synthesis' tensors by their names in a weights file, in the types of those there."""
    state = model.state_dict()
    names = [name for name in state if name.startswith(("synthesis.", "inverse_gain."))]
    return {NETWORK + name: state[name].numpy().astype(like[NETWORK + name].dtype) for name in names}
