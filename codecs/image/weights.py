"""The weights of the image codec: one safetensors file, checked when it is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from siglum.codecs import models
from siglum.codecs.image import prior as integer_prior
from siglum.codecs.image.constants import (
    ANCHOR_STEP,
    ANCHORS,
    LAMBDA_HIGH,
    LAMBDA_LOW,
    LEVELS,
    SCALES,
)
from siglum.codecs.image.prior import IntegerPrior
from siglum.codecs.image.quantise import OFFSET_CLASSES
from siglum.errors import UnknownModel, require_torch

if TYPE_CHECKING:
    from siglum.codecs.image.engine import Engine, EngineName
    from siglum.codecs.image.transform import ImageModel

CONFIG = "config"  # JSON as bytes, among the tensors, so that the model's id covers it
PRIOR = "prior."
NETWORK = "model."
ENCODER_NETWORK = models.ENCODER + NETWORK
ERROR_FACTOR = (
    models.ENCODER + "error_factor"
)  # weight of squared errors against bits in the encoder's rounding
TUNE = models.ENCODER + "tune"  # what the model was trained for, as text in bytes; "psnr" where it is missing
ENCODER_PARTS = (
    "analysis.",
    "hyper_analysis.",
    "hyper_synthesis.",
    "hyper_scale.",
    "context.",
)  # decoders run the integer prior
MAX_SIZE = 4096  # of anything that a preset counts
DEFAULT_SKIP = 3  # latents of a table below this (a scale under 0.15) are not coded


class Config(msgspec.Struct, frozen=True):
    """What a model says of itself besides its arrays.

    Attributes
    ----------
    preset
        Sizes of the networks, the fields of `transform.Preset`.
    skip
        Latents whose table index is below this are not coded.
    network
        What the integer networks of the prior need besides their tensors.
    """

    preset: dict[str, int]
    skip: int
    network: dict[str, str]


class ImageWeights:
    """Everything that encoding and decoding pictures with one model needs; `tensors` are not to be changed.

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
        self.tensors = tensors
        self.id = identifier
        config = msgspec.json.decode(tensors[CONFIG].tobytes(), type=Config)
        self.preset, self.skip = config.preset, config.skip
        self.prior = IntegerPrior.from_tensors(models.below(tensors, PRIOR), config.network)
        self.offsets = np.asarray(tensors["offsets"], np.float32)
        self.error_factor = float(np.asarray(tensors[ERROR_FACTOR]).reshape(()))
        self.hyper_bound = integer_prior.HYPER_BOUND
        self.tune = tensors[TUNE].tobytes().decode() if TUNE in tensors else "psnr"
        self._check()

    def _check(self) -> None:
        latent, hyper = self.preset.get("latent", 0), self.preset.get("hyper", 0)
        gains = [self.tensors[f"{NETWORK}{name}.anchors"] for name in ("gain", "inverse_gain")]
        fits = (
            self.prior.hyper_channels == hyper
            and self.prior.latent == latent
            and self.offsets.shape == (SCALES, OFFSET_CLASSES)
            and self.tensors[f"{NETWORK}deviation"].shape == (latent,)
            and all(gain.shape == (ANCHORS, latent) for gain in gains)
            and 0 <= self.skip < SCALES
            and all(1 <= size <= MAX_SIZE for size in self.preset.values())
        )
        floats = [array for array in self.tensors.values() if array.dtype.kind == "f"]
        if not fits or not all(np.isfinite(array).all() for array in floats):
            raise ValueError("its parts do not fit each other")

    def engine(self, name: EngineName) -> Engine:
        """What runs the float networks.

        Raises
        ------
        UnknownModel
            Here or when it first runs, if the tensors are not those of the preset.
        SiglumError
            If torch is asked for and not installed.
        """
        return self._torch if name == "torch" else self._native

    @cached_property
    def _native(self) -> Engine:
        from siglum.codecs.image.native_engine import NativeEngine

        previews = {name: array for name, array in self.tensors.items() if name.startswith(models.PREVIEW)}
        return NativeEngine({**self.networks, **previews}, self.preset)

    @cached_property
    def _torch(self) -> Engine:
        require_torch("the engine torch")
        from siglum.codecs.image.torch_engine import TorchEngine, make_model

        return TorchEngine(make_model(self.networks, self.preset))

    @property
    def networks(self) -> dict[str, np.ndarray]:
        """Tensors by the names of `transform.ImageModel`."""
        return {**models.below(self.tensors, NETWORK), **models.below(self.tensors, ENCODER_NETWORK)}

    @cached_property
    def model(self) -> ImageModel:
        """The float networks in torch, on the CPU, to train or to look at.

        Raises
        ------
        UnknownModel
            If the tensors are not those of the preset.
        SiglumError
            If torch is not installed.
        """
        require_torch("the model in torch")
        from siglum.codecs.image.torch_engine import make_model

        return make_model(self.networks, self.preset)

    def _gain(self, name: str, level: int) -> np.ndarray:
        anchors = np.asarray(self.tensors[f"{NETWORK}{name}.anchors"], np.float64)
        low, part = divmod(level, ANCHOR_STEP)
        return anchors[low] + (anchors[low + 1] - anchors[low]) * (part / ANCHOR_STEP)

    @lru_cache(maxsize=8)  # noqa: B019 - the weights live as long as the process
    def mean_unit(self, level: int) -> np.ndarray:
        """(latent,) float32: what one integer of the prior's mean is in units of the step."""
        deviation = np.asarray(self.tensors[f"{NETWORK}deviation"], np.float64)
        unit = deviation * np.exp(self._gain("gain", level)) / integer_prior.ACTIVATION_UNIT
        return unit.astype(np.float32)

    @lru_cache(maxsize=8)  # noqa: B019 - the weights live as long as the process
    def error_weight(self, level: int) -> np.ndarray:
        """(latent,) float32: bits that one squared step of error is worth at this level."""
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
    tune: str = "psnr",
) -> dict[str, np.ndarray]:
    """All tensors of a model by name: networks in float16 where that costs nothing, integers as they are."""
    config = Config(model.preset.to_dict(), skip, prior.metadata())
    tensors: dict[str, np.ndarray] = {
        CONFIG: np.frombuffer(msgspec.json.encode(config), np.uint8).copy(),
        "offsets": offsets.astype(np.float32),
        ERROR_FACTOR: np.full(1, error_factor, np.float32),
    }
    if tune != "psnr":
        tensors[TUNE] = np.frombuffer(tune.encode(), np.uint8).copy()
    for name, tensor in model.state_dict().items():
        half = tensor.ndim >= 2 and ".linear." not in name and not name.endswith("anchors")
        prefix = ENCODER_NETWORK if name.startswith(ENCODER_PARTS) else NETWORK
        tensors[prefix + name] = tensor.float().numpy().astype(np.float16 if half else np.float32)
    tensors.update({PRIOR + name: array for name, array in prior.tensors().items()})
    return tensors


def make(tensors: Mapping[str, np.ndarray], identifier: bytes) -> ImageWeights:
    """Weights from tensors of whatever origin.

    Raises
    ------
    UnknownModel
        If they are no model of the image codec.
    """
    try:
        return ImageWeights(tensors, identifier)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, msgspec.MsgspecError) as error:
        raise UnknownModel(
            f"the weights are no model of the image codec ({error}); install them again"
        ) from error


@lru_cache(maxsize=4)
def _load(model: models.Model) -> ImageWeights:
    return make(models.load(model), bytes.fromhex(model.id))


def load_by_name(name: str) -> ImageWeights:
    """The installed weights of that name.

    Raises
    ------
    UnknownModel
        If there are none, or they are damaged.
    """
    model = models.named(name, "image")
    return _load(model)


def load_by_id(identifier: bytes) -> ImageWeights:
    """The installed weights that a file names by its 8 bytes.

    Raises
    ------
    UnknownModel
        If they are not installed, damaged, or of another codec.
    """
    return _load(models.find_for(identifier, "image"))
