"""The weights of the codec: one safetensors file, checked when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from siglum.codecs import models
from siglum.codecs.image.constants import ANCHOR_STEP, ANCHORS
from siglum.codecs.image_vq import books
from siglum.codecs.image_vq.prior import Prior
from siglum.errors import UnknownModel

if TYPE_CHECKING:
    from siglum.codecs.image.native_engine import NativeEngine

CODEC = "image-vq"
CONFIG = "config"  # JSON as bytes, among the tensors, so that the model's id covers it
PRIOR, BOOKS, NETWORK = "prior.", "books.", "model."
ENCODER_NETWORK = models.ENCODER + NETWORK
WORTH = models.ENCODER + "worth"
MEAN_UNIT = 1024  # integers per deviation in the prior's means
MAX_SIZE = 4096  # of anything that a preset counts


class Config(msgspec.Struct, frozen=True):
    """What a model says of itself besides its arrays.

    Attributes
    ----------
    preset
        Sizes of the networks, the fields of the image codec's `transform.Preset`.
    network
        What the integer network of the prior needs besides its tensors.
    ranges
        Ends of the ranges of channels, by falling importance, that are layers of the finest stage.
    """

    preset: dict[str, int]
    network: dict[str, str]
    ranges: list[int]


class VqWeights:
    """Everything that encoding and decoding with one model needs.

    Parameters
    ----------
    tensors
        As `codecs.image_vq.export` writes them.
    identifier
        The 8 bytes by which files name the model.

    Raises
    ------
    KeyError, ValueError
        If tensors are missing, of wrong shapes, or not provably exact.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]], identifier: bytes) -> None:
        self._tensors, self.id = tensors, identifier
        config = msgspec.json.decode(tensors[CONFIG].tobytes(), type=Config)
        self.preset, self.ranges = config.preset, tuple(config.ranges)
        self.prior = Prior(models.below(tensors, PRIOR), config.network)
        self.books = books.from_tensors(models.below(tensors, BOOKS))
        self.order = np.asarray(tensors["order"]).astype(np.intp)
        """(latent,): channels by falling importance."""
        self.conceal = np.asarray(tensors["conceal"], np.float32)
        """(4, 2 K, K): for each position of a lost block, what the K most important channels take from its
        neighbours in row and column (`blocks.outside`)."""
        self.worth = np.asarray(tensors[WORTH], np.float32)
        """(latent,): bits that one squared step of error is worth to the encoder."""
        self._lift = np.asarray(tensors["lift"], np.float32)
        self._check()

    def _check(self) -> None:
        latent = self.prior.latent
        gains = [self._tensors[f"{NETWORK}{name}.anchors"] for name in ("gain", "inverse_gain")]
        rising = all(a < b for a, b in zip((0, *self.ranges), self.ranges, strict=False))
        fits = (
            self.preset.get("latent") == latent
            and self.preset.get("hyper") == self.prior.hyper
            and self._tensors[f"{NETWORK}deviation"].shape == (latent,)
            and all(gain.shape == (ANCHORS, latent) for gain in gains)
            and self.order.shape == self.worth.shape == (latent,)
            and self.conceal.ndim == 3
            and self.conceal.shape == (4, 2 * self.conceal.shape[2], self.conceal.shape[2])
            and 1 <= self.conceal.shape[2] <= latent
            and np.array_equal(np.sort(self.order), np.arange(latent))
            and self._lift.shape == (ANCHORS,)
            and rising
            and self.ranges[-1:] == (latent,)
            and all(1 <= size <= MAX_SIZE for size in self.preset.values())
        )
        floats = [array for array in self._tensors.values() if array.dtype.kind == "f"]
        if not fits or not all(np.isfinite(array).all() for array in floats):
            raise ValueError("its parts do not fit each other")

    @cached_property
    def engine(self) -> NativeEngine:
        """What runs the float networks."""
        from siglum.codecs.image.native_engine import NativeEngine

        networks = {**models.below(self._tensors, NETWORK), **models.below(self._tensors, ENCODER_NETWORK)}
        return NativeEngine(networks, self.preset)

    def lift(self, level: int) -> float:
        """How far decoded residuals are moved away from zero at a level, in steps."""
        low, part = divmod(level, ANCHOR_STEP)
        return float(self._lift[low] + (self._lift[low + 1] - self._lift[low]) * (part / ANCHOR_STEP))

    @lru_cache(maxsize=8)  # noqa: B019 - the weights live as long as the process
    def mean_unit(self, level: int) -> NDArray[np.float32]:
        """(latent,) float32: what one integer of the prior's mean is in steps."""
        anchors = np.asarray(self._tensors[f"{NETWORK}gain.anchors"], np.float64)
        low, part = divmod(level, ANCHOR_STEP)
        gain = anchors[low] + (anchors[low + 1] - anchors[low]) * (part / ANCHOR_STEP)
        deviation = np.asarray(self._tensors[f"{NETWORK}deviation"], np.float64)
        return (deviation * np.exp(gain) / MEAN_UNIT).astype(np.float32)


def make(tensors: Mapping[str, NDArray[Any]], identifier: bytes) -> VqWeights:
    """Weights from tensors of whatever origin.

    Raises
    ------
    UnknownModel
        If they are no model of this codec.
    """
    try:
        return VqWeights(tensors, identifier)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, msgspec.MsgspecError) as error:
        raise UnknownModel(f"the weights are no model of {CODEC} ({error}); install them again") from error


@lru_cache(maxsize=4)
def _load(model: models.Model) -> VqWeights:
    return make(models.load(model), bytes.fromhex(model.id))


def load_by_name(name: str) -> VqWeights:
    """The installed weights of that name.

    Raises
    ------
    UnknownModel
        If there are none, or they are damaged.
    """
    return _load(models.named(name, CODEC))


def load_by_id(identifier: bytes) -> VqWeights:
    """The installed weights that a file names by its 8 bytes.

    Raises
    ------
    UnknownModel
        If they are not installed, damaged, or of another codec.
    """
    return _load(models.find_for(identifier, CODEC))
