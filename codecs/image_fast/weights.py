"""The weights of the image-fast codec: one safetensors file, checked when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from siglum.codecs import models
from siglum.codecs.image_fast import bank
from siglum.codecs.image_fast.coder import Level, PatchCoder
from siglum.codecs.image_fast.constants import ANCHOR_STEP, ANCHORS, CHANNELS, GROUPS, INPUTS, LEVELS
from siglum.codecs.image_fast.context import Contexts
from siglum.entropy.tables import Tables
from siglum.errors import UnknownModel

if TYPE_CHECKING:
    from siglum.codecs.image.native_engine import NativeEngine

CODEC = "image-fast"
CONFIG = "config"  # JSON as bytes, among the tensors, so that the model's id covers it
CONTEXT = "context."
TABLES = "tables."
NETWORK = "model."
PROJECT = models.ENCODER + "project"  # (192, 768) int8, samples ordered (row, column, colour)
PROJECT_SCALE = models.ENCODER + "project_scale"  # (192,) float32
GAIN = models.ENCODER + "gain"  # (anchors, 192) float32: log of 1 / step
THRESHOLDS = models.ENCODER + "thresholds"  # (2, 64) int16
GROUP_LIMITS = models.ENCODER + "groups"  # (256,) uint8: groups that are worth coding at each level
MAX_SIZE = 4096  # of anything that a preset counts
FLAG_UNIT = 2**12
FLAG_FREQUENCY = 256  # of a channel that is zero everywhere in a tile, out of 4096


class Config(msgspec.Struct, frozen=True):
    """What a model says of itself besides its arrays.

    Attributes
    ----------
    preset
        Sizes of the synthesis, the fields of `siglum.codecs.image.transform.Preset`.
    skip
        Coefficients whose table index is below this are not coded.
    networks
        What the integer networks need besides their tensors.
    """

    preset: dict[str, int]
    skip: int
    networks: list[dict[str, str]]


@lru_cache(maxsize=1)
def flag_tables() -> Tables:
    """The table of the flags of channels that are zero everywhere in a tile."""
    return Tables.from_frequencies([[FLAG_UNIT - FLAG_FREQUENCY, FLAG_FREQUENCY]], [0], closed=True)


class FastWeights:
    """Everything that encoding and decoding pictures with one model needs.

    Parameters
    ----------
    tensors
        As `siglum.codecs.image_fast.export.collect` makes them.
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
        self.preset = config.preset
        contexts, metadata = models.below(tensors, CONTEXT), config.networks
        first, means, magnitudes = (contexts.pop(name) for name in ("first_means", "means", "magnitudes"))
        self.contexts = Contexts.from_tensors(contexts, metadata)
        self.offsets = np.ascontiguousarray(tensors["offsets"], np.float32)
        if magnitudes.dtype != np.int16 or magnitudes.min() < 0:
            raise ValueError("the magnitudes are of a wrong type or range")
        for network in self.contexts.networks:
            if int(magnitudes.max()) > network.input_bound:
                raise ValueError("a magnitude is beyond the bound that proves the networks exact")
        self.bank = bank.from_tensors(tensors[f"{TABLES}sizes"], tensors[f"{TABLES}frequencies"])
        self.coder = PatchCoder(
            tensors[PROJECT],
            first,
            means,
            magnitudes,
            self.contexts.networks,
            config.skip,
            self.bank,
            flag_tables(),
        )
        self._check()

    def _check(self) -> None:
        tensors = self._tensors
        fits = (
            tensors[PROJECT].shape == (CHANNELS, INPUTS)
            and tensors[PROJECT_SCALE].shape == (CHANNELS,)
            and tensors[GAIN].shape == tensors[f"{NETWORK}inverse_gain.anchors"].shape == (ANCHORS, CHANNELS)
            and tensors[GROUP_LIMITS].shape == (LEVELS,)
            and int(tensors[GROUP_LIMITS].max()) <= len(GROUPS)
            and self.offsets.shape == (64, 2)
            and self.preset.get("latent") == CHANNELS
            and all(1 <= size <= MAX_SIZE for size in self.preset.values())
        )
        floats = [array for array in tensors.values() if array.dtype.kind == "f"]
        if not fits or not all(np.isfinite(array).all() for array in floats):
            raise ValueError("its parts do not fit each other")

    @lru_cache(maxsize=256)  # noqa: B019 - the weights live as long as the process
    def level(self, level: int) -> Level:
        """What a level sets of the coder."""
        anchors = np.asarray(self._tensors[GAIN], np.float64)
        low, part = divmod(level, ANCHOR_STEP)
        gain = np.exp(anchors[low] + (anchors[low + 1] - anchors[low]) * (part / ANCHOR_STEP))
        scales = np.asarray(self._tensors[PROJECT_SCALE], np.float64) * gain * (32.0 / 510.0)
        return Level(
            scales.astype(np.float32),
            self.contexts.biases(level),
            np.ascontiguousarray(self._tensors[THRESHOLDS], np.int16),
            int(self._tensors[GROUP_LIMITS][level]),
        )

    @cached_property
    def projection(self) -> np.ndarray:
        """(192, 768) float32: the integer projections, for fitting."""
        return np.asarray(self._tensors[PROJECT], np.float32)

    @cached_property
    def engine(self) -> NativeEngine:
        """What runs the synthesis."""
        from siglum.codecs.image.native_engine import NativeEngine

        return NativeEngine(models.below(self._tensors, NETWORK), self.preset)


def make(tensors: Mapping[str, np.ndarray], identifier: bytes) -> FastWeights:
    """Weights from tensors of whatever origin.

    Raises
    ------
    UnknownModel
        If they are no model of this codec.
    """
    try:
        return FastWeights(tensors, identifier)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, msgspec.MsgspecError) as error:
        raise UnknownModel(
            f"the weights are no model of the image-fast codec ({error}); install them again"
        ) from error


@lru_cache(maxsize=4)
def _load(model: models.Model) -> FastWeights:
    return make(models.load(model), bytes.fromhex(model.id))


def load_by_name(name: str) -> FastWeights:
    """The installed weights of that name.

    Raises
    ------
    UnknownModel
        If there are none, or they are damaged.
    """
    return _load(models.named(name, CODEC))


def load_by_id(identifier: bytes) -> FastWeights:
    """The installed weights that a file names by its 8 bytes.

    Raises
    ------
    UnknownModel
        If they are not installed, damaged, or of another codec.
    """
    return _load(models.find_for(identifier, CODEC))
