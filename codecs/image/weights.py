"""The weights of the image codec: one safetensors file, checked when it is loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from siglum.codecs import models
from siglum.codecs.image import prior as integer_prior
from siglum.codecs.image.prior import ANCHOR_STEP, IntegerPrior
from siglum.codecs.image.quantise import OFFSET_CLASSES
from siglum.errors import UnknownModel

if TYPE_CHECKING:
    from siglum.codecs.image.transform import ImageModel

CONFIG = "config"  # JSON as bytes, among the tensors, so that the model's id covers it
PRIOR = "prior."
NETWORK = "model."
DEFAULT_SKIP = 3  # latents of a table below this (a scale under 0.15) are not coded


class Config(msgspec.Struct, frozen=True):
    """What a model says of itself besides its arrays.

    Attributes
    ----------
    preset
        Sizes of the networks, the fields of `transform.Preset`.
    skip
        Latents whose table index is below this are not coded.
    error_factor
        Weight of squared errors against bits in the encoder's rounding.
    network
        What the integer network of the prior needs besides its tensors.
    """

    preset: dict[str, int]
    skip: int
    error_factor: float
    network: dict[str, str]


class ImageWeights:
    """Everything that encoding and decoding pictures with one model needs.

    Parameters
    ----------
    tensors
        As `collect` makes them.
    identifier
        The 8 bytes by which files name the model.

    Raises
    ------
    ValueError
        If tensors are missing, of wrong shapes, or not provably exact.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], identifier: bytes) -> None:
        self._tensors = tensors
        self.id = identifier
        config = msgspec.json.decode(tensors[CONFIG].tobytes(), type=Config)
        self.preset, self.skip, self.error_factor = config.preset, config.skip, config.error_factor
        self.prior = IntegerPrior.from_tensors(_below(tensors, PRIOR), config.network)
        self.offsets = np.asarray(tensors["offsets"], np.float32)
        self.hyper_bound = integer_prior.HYPER_BOUND
        if self.offsets.shape != (self.prior.scales, OFFSET_CLASSES):
            raise ValueError("the reconstruction offsets have a wrong shape")

    @cached_property
    def model(self) -> ImageModel:
        """The float networks, in torch."""
        import torch

        from siglum.codecs.image.transform import ImageModel, Preset

        network = ImageModel(Preset(**self.preset))
        state = {
            name: torch.from_numpy(np.array(array, np.float32))
            for name, array in _below(self._tensors, NETWORK).items()
        }
        network.load_state_dict(state)
        return network.eval()

    def _gain(self, name: str, level: int) -> np.ndarray:
        anchors = np.asarray(self._tensors[f"{NETWORK}{name}.anchors"], np.float64)
        low, part = divmod(level, ANCHOR_STEP)
        return anchors[low] + (anchors[low + 1] - anchors[low]) * (part / ANCHOR_STEP)

    @lru_cache(maxsize=8)  # noqa: B019 - the weights live as long as the process
    def mean_unit(self, level: int) -> np.ndarray:
        """(latent,) float32: what one integer of the prior's mean is in units of the step."""
        deviation = np.asarray(self._tensors[f"{NETWORK}deviation"], np.float64)
        return (deviation * np.exp(self._gain("gain", level)) / integer_prior.ACTIVATION_UNIT).astype(
            np.float32
        )

    @lru_cache(maxsize=8)  # noqa: B019 - the weights live as long as the process
    def error_weight(self, level: int) -> np.ndarray:
        """(latent,) float32: bits that one squared step of error is worth at this level."""
        from siglum.codecs.image.transform import LAMBDA_HIGH, LAMBDA_LOW, LEVELS

        weight = LAMBDA_LOW * math.exp(math.log(LAMBDA_HIGH / LAMBDA_LOW) * level / LEVELS)
        squared_step = np.exp(2 * self._gain("inverse_gain", level))
        return (self.error_factor * weight * 255.0**2 / 3.0 * squared_step).astype(np.float32)


def collect(
    model: ImageModel,
    prior: IntegerPrior,
    offsets: np.ndarray,
    *,
    skip: int = DEFAULT_SKIP,
    error_factor: float = 1.0,
) -> dict[str, np.ndarray]:
    """All tensors of a model by name: networks in float16 where that costs nothing, integers as they are."""
    config = Config(model.preset.to_dict(), skip, error_factor, prior.network.metadata())
    tensors: dict[str, np.ndarray] = {
        CONFIG: np.frombuffer(msgspec.json.encode(config), np.uint8).copy(),
        "offsets": offsets.astype(np.float32),
    }
    for name, tensor in model.state_dict().items():
        half = tensor.ndim >= 2 and ".linear." not in name and not name.endswith("anchors")
        tensors[NETWORK + name] = tensor.float().numpy().astype(np.float16 if half else np.float32)
    tensors.update({PRIOR + name: array for name, array in prior.tensors().items()})
    return tensors


def save(tensors: Mapping[str, np.ndarray], path: Path, card: Mapping[str, Any]) -> bytes:
    """Write weights and their card; returns the id."""
    from safetensors.numpy import save_file

    identifier = models.model_id(tensors)
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)
    text = json.dumps({**card, "id": identifier.hex()}, indent=1, ensure_ascii=False)
    path.with_suffix(".json").write_text(text + "\n")
    return identifier


@lru_cache(maxsize=4)
def _load(path: Path, identifier: str, model: models.Model) -> ImageWeights:
    tensors = models.load(model)
    try:
        return ImageWeights(tensors, bytes.fromhex(identifier))
    except (KeyError, ValueError, TypeError, AttributeError, msgspec.MsgspecError) as error:
        raise UnknownModel(f"{path} is no model of the image codec ({error}); install it again") from error


def load_by_name(name: str) -> ImageWeights:
    """The installed weights of that name.

    Raises
    ------
    UnknownModel
        If there are none, or they are damaged.
    """
    model = models.named(name, "image")
    return _load(model.path, model.id, model)


def load_by_id(identifier: bytes) -> ImageWeights:
    """The installed weights that a file names by its 8 bytes.

    Raises
    ------
    UnknownModel
        If they are not installed, damaged, or of another codec.
    """
    model = models.find(identifier)
    if model.codec != "image":
        raise UnknownModel(
            f"the file names the model {model.name!r}, which is for {model.codec}, not for pictures"
        )
    return _load(model.path, model.id, model)


def _below(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix) :]: array for name, array in tensors.items() if name.startswith(prefix)}
