"""The weights of the audio codec: one safetensors file a model, checked when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property, lru_cache
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from siglum.codecs import models
from siglum.codecs.audio.books import Books
from siglum.codecs.audio.engine import Engine
from siglum.codecs.audio.plain import PlainCodes
from siglum.codecs.audio.presets import Preset
from siglum.codecs.audio.prior import Prior
from siglum.errors import UnknownModel

CODEC = "audio"
CONFIG = "config"  # JSON as bytes, among the tensors, so that the model's id covers it
BOOKS = "books."
PRIOR = "prior."
SCALES = ".scale"  # of a matrix of 8-bit weights, one a row
UNIT = models.ENCODER + "energy"  # (1,) float32: of the weight of a bit
MAX_SIZE = 65536  # of anything that a preset counts


class Config(msgspec.Struct, frozen=True):
    """What a model says of itself besides its arrays.

    Attributes
    ----------
    preset
        The fields of `siglum.codecs.audio.presets.Preset`.
    prior
        What the prior needs besides its tensors; None: codes have fixed lengths.
    """

    preset: dict[str, int | list[int]]
    prior: dict[str, str] | None = None


class CodeCoder(Protocol):
    """What codes a chunk's symbols."""

    def encode(self, codes: NDArray[np.integer[Any]], counts: NDArray[np.integer[Any]]) -> bytes:
        """Codes (T, S) and counts (T,) to bytes."""
        ...

    def bits(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """About how many bits each code costs, (T, S)."""
        ...

    def decode(self, payload: bytes, frames: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """And back."""
        ...


class AudioWeights:
    """Everything that encoding and decoding with one model needs.

    Raises
    ------
    KeyError, ValueError
        If tensors are missing or of wrong shapes.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]], identifier: bytes, name: str = "") -> None:
        self.id, self.name = identifier, name
        config = msgspec.json.decode(tensors[CONFIG].tobytes(), type=Config)
        sizes = [size for size in config.preset.values() if isinstance(size, int)]
        if not all(0 <= size <= MAX_SIZE for size in sizes):
            raise ValueError("a size of the preset is out of range")
        self.preset = _preset(config)
        floats = [array for array in tensors.values() if array.dtype.kind == "f"]
        if not all(np.isfinite(array).all() for array in floats):
            raise ValueError("weights are not finite")
        self._tensors = tensors
        self.books = Books(models.below(tensors, BOOKS), self.preset)
        own = models.below(tensors, PRIOR)
        self.prior: CodeCoder = PlainCodes(self.preset) if config.prior is None else Prior(own, config.prior)
        self.unit = float(tensors[UNIT][0])

    def cheap(
        self, latents: NDArray[np.float32], counts: NDArray[np.integer[Any]], price: float
    ) -> NDArray[np.int32]:
        """Codes that are near latents (T, D) and cheap under the prior; the nearest where there is none."""
        if isinstance(self.prior, Prior):
            return self.prior.choose(latents, self._turned, counts, price, self.preset.layout)
        return self.books.encode(latents)[0]

    @cached_property
    def _turned(self) -> NDArray[np.float32]:
        """Codewords component by component, (S, D / G, K)."""
        return self.books.turned()

    @cached_property
    def engine(self) -> Engine:
        """What runs the networks.

        Raises
        ------
        UnknownModel
            If the tensors are of other shapes than this version's networks.
        """
        try:
            return Engine(widened(self._tensors), self.preset)
        except (KeyError, IndexError, ValueError) as error:
            raise UnknownModel(
                f"the model {self.name!r} is not one of this version ({error}); install it again"
            ) from error


def _preset(config: Config) -> Preset:
    fields: dict[str, Any] = dict(config.preset)
    return Preset(**fields)


def config_of(preset: Preset, prior: dict[str, str] | None = None) -> NDArray[np.uint8]:
    """The tensor `CONFIG`."""
    return np.frombuffer(
        msgspec.json.encode(Config({**asdict(preset), "layout": list(preset.layout)}, prior)), np.uint8
    )


def narrowed(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Matrices of the networks as 8-bit integers with a scale a row: half the size."""
    made: dict[str, NDArray[Any]] = {}
    for name, array in tensors.items():
        if name.startswith(("encoder.", "decoder.")) and name.endswith(".weight"):
            matrix = array.astype(np.float32)
            scale = np.maximum(np.abs(matrix).max(1) / 127, 1e-12).astype(np.float32)
            made[name] = np.rint(matrix / scale[:, None]).astype(np.int8)
            made[name + SCALES] = scale
        else:
            made[name] = array
    return made


def widened(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Undo `narrowed`."""
    made = {}
    for name, array in tensors.items():
        scale = tensors.get(name + SCALES)
        made[name] = array if scale is None else array.astype(np.float32) * scale[:, None]
    return made


def make(tensors: Mapping[str, NDArray[Any]], identifier: bytes, name: str = "") -> AudioWeights:
    """Weights from tensors of whatever origin.

    Raises
    ------
    UnknownModel
        If they are no model of this codec.
    """
    try:
        return AudioWeights(tensors, identifier, name)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, msgspec.MsgspecError) as error:
        raise UnknownModel(
            f"the weights are no model of the audio codec ({error}); install them again"
        ) from error


@lru_cache(maxsize=4)
def _load(model: models.Model) -> AudioWeights:
    return make(models.load(model), bytes.fromhex(model.id), model.name)


def load_by_name(name: str) -> AudioWeights:
    """The installed weights of that name.

    Raises
    ------
    UnknownModel
        If there are none, or they are damaged.
    """
    return _load(models.named(name, CODEC))


def load_by_id(identifier: bytes) -> AudioWeights:
    """The installed weights that a file names by its 8 bytes.

    Raises
    ------
    UnknownModel
        If they are not installed, damaged, or of another codec.
    """
    return _load(models.find_for(identifier, CODEC))


def stored_preset(model: models.Model) -> Preset:
    """Sizes of an installed model, without reading its weights.

    Raises
    ------
    UnknownModel
        If the file is no model of this codec.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(model.path, "numpy") as file:
            config = msgspec.json.decode(file.get_tensor(CONFIG).tobytes(), type=Config)
        return _preset(config)
    except (OSError, SafetensorError, TypeError, ValueError, msgspec.MsgspecError) as error:
        raise UnknownModel(f"{model.path} is no model of the audio codec: install it again") from error
