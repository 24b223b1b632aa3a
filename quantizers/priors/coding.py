"""Integer models of codes, as exported by the trained priors: codes <-> bytes, without torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from siglum.entropy import rans
from siglum.entropy.codebook import CodebookGaussian
from siglum.entropy.codebook_fit import SCALES
from siglum.entropy.models import MODELS, Model
from siglum.errors import UsageError

FRACTION = 8
"""Fraction bits of tables of means and scale numbers."""

Ints = NDArray[np.int64]


class CodeModel(ABC):
    """Codes (..., S') of a prefix of the stages <-> bytes, the same on every machine.

    Attributes
    ----------
    sizes
        Codewords of each stage.
    """

    sizes: tuple[int, ...]

    def bits(self, codes: Any) -> float:
        """Exact cost of codes, without the coder's states."""
        return sum(
            model.bits(symbols, context) for model, symbols, context in self._steps(self._checked(codes))
        )

    def encode(self, codes: Any) -> bytes:
        """One payload of codes.

        Raises
        ------
        ValueError
            If codes are no integers of shape (..., S'), or out of range.
        """
        encoder = rans.Encoder()
        for model, symbols, context in self._steps(self._checked(codes)):
            model.push(encoder, symbols, context)
        return encoder.finish()

    def decode(self, data: Any, shape: Sequence[int]) -> NDArray[np.int32]:
        """Codes of a payload, of the shape that was encoded.

        Raises
        ------
        BitstreamError
            If the payload is damaged in a way that shows.
        ValueError
            If no codes can have that shape.
        """
        full = tuple(int(n) for n in shape)
        codes = np.zeros(full, np.int32)
        self._checked(codes)
        decoder = rans.Decoder(data)
        self._pull(decoder, codes)
        decoder.finish()
        return codes

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Numbers that JSON can hold; with `tensors` all that `restore` needs."""

    @abstractmethod
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Arrays of the model."""

    @staticmethod
    def restore(config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> CodeModel:
        """Make a model again from its `config` and `tensors`.

        Raises
        ------
        UsageError
            If something is missing or does not fit.
        """
        kinds = {"context": ContextCoder._restore, "frequency": FrequencyCoder._restore}
        try:
            return kinds[config["kind"]](config, tensors)
        except (KeyError, IndexError, TypeError) as error:
            raise UsageError(f"a prior of codes cannot be made of these: {error!r}") from None

    def _checked(self, codes: Any) -> NDArray[np.int32]:
        array = np.asarray(codes)
        wanted = f"(..., 1 to {len(self.sizes)})"
        if array.dtype.kind not in "iu" or not array.ndim or not 1 <= array.shape[-1] <= len(self.sizes):
            raise ValueError(f"codes are {array.dtype} of shape {array.shape}, wanted integers {wanted}")
        if not array.size:
            raise ValueError(f"codes has shape {array.shape}: no codes, wanted {wanted} with at least one")
        limits = np.array(self.sizes[: array.shape[-1]])
        if np.any(array < 0) or np.any(array >= limits):
            raise ValueError(f"codes of shape {array.shape} are out of range, wanted 0 to below {limits}")
        return array.astype(np.int32)

    @abstractmethod
    def _steps(self, codes: NDArray[np.int32]) -> Iterator[tuple[Model, NDArray[np.int32], Any]]:
        """(model, symbols, context) in the order of decoding."""

    @abstractmethod
    def _pull(self, decoder: rans.Decoder, codes: NDArray[np.int32]) -> None:
        """Decode into codes."""


@dataclass(frozen=True)
class Source:
    """What a code that is already decoded adds to the context of another.

    Attributes
    ----------
    lag
        Positions back; 0: an earlier stage of the same vector.
    stage
        Whose code it is.
    table : int64 (K, 2 D)
        Mean and scale numbers that each of its values adds, with 8 fraction bits.
    """

    lag: int
    stage: int
    table: Ints


class ContextCoder(CodeModel):
    """Gaussians over codebooks whose means and scales are sums of table entries of decoded codes.

    Codes are (..., T, S'): positions along the last but one axis in order, stages in order at each; all else side by
    side. Without lags any shape (..., S') will do, and all vectors of a stage are one step.

    Parameters
    ----------
    models
        One for each stage.
    bases : sequence of int64 (2 D,)
        What means and scale numbers begin with, 8 fraction bits.
    sources
        For each stage what is added.
    """

    def __init__(
        self,
        models: Sequence[CodebookGaussian],
        bases: Sequence[Ints],
        sources: Sequence[Sequence[Source]],
    ) -> None:
        self.models, self.bases, self.sources = list(models), list(bases), [list(s) for s in sources]
        self.sizes = tuple(len(model.tensors()["order"]) for model in self.models)
        self.lagged = any(source.lag for stage in self.sources for source in stage)

    def config(self) -> dict[str, Any]:
        """The stages' models, and lag and stage of each source."""
        return {
            "kind": "context",
            "models": [model.config() for model in self.models],
            "sources": [[[source.lag, source.stage] for source in stage] for stage in self.sources],
        }

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Those of the models, bases, and tables (int32), by the number of the stage."""
        result: dict[str, NDArray[Any]] = {}
        for s, (model, base, sources) in enumerate(zip(self.models, self.bases, self.sources, strict=True)):
            result |= {f"{s}.model.{name}": array for name, array in model.tensors().items()}
            result[f"{s}.base"] = base.astype(np.int32)
            result |= {f"{s}.table.{i}": source.table.astype(np.int32) for i, source in enumerate(sources)}
        return result

    @classmethod
    def _restore(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> ContextCoder:
        stages = range(len(config["models"]))
        models = [
            CodebookGaussian.restore(config["models"][s], _below(tensors, f"{s}.model.")) for s in stages
        ]
        sources = [
            [
                Source(int(lag), int(stage), tensors[f"{s}.table.{i}"].astype(np.int64))
                for i, (lag, stage) in enumerate(config["sources"][s])
            ]
            for s in stages
        ]
        sizes = [len(model.tensors()["order"]) for model in models]
        bases = [tensors[f"{s}.base"].astype(np.int64) for s in stages]
        for s, (base, places) in enumerate(zip(bases, sources, strict=True)):
            width = 2 * models[s].dimension
            if base.shape != (width,) or any(
                place.table.shape != (sizes[place.stage], width)
                or not 0 <= place.stage < (len(sizes) if place.lag > 0 else s)
                for place in places
            ):
                raise UsageError(f"the tables of stage {s} do not fit the codebooks")
        return cls(models, bases, sources)

    def _checked(self, codes: Any) -> NDArray[np.int32]:
        array = super()._checked(codes)
        if self.lagged and array.ndim < 2:
            raise ValueError(f"codes has shape {array.shape}, wanted (..., positions, stages)")
        return array

    def _steps(self, codes: NDArray[np.int32]) -> Iterator[tuple[Model, NDArray[np.int32], Any]]:
        for view, t, stage in self._order(codes):
            yield self.models[stage], np.ascontiguousarray(view[:, t, stage]), self._context(view, t, stage)

    def _pull(self, decoder: rans.Decoder, codes: NDArray[np.int32]) -> None:
        for view, t, stage in self._order(codes):
            view[:, t, stage] = self.models[stage].pull(decoder, None, self._context(view, t, stage))

    def _order(self, codes: NDArray[np.int32]) -> Iterator[tuple[NDArray[np.int32], int, int]]:
        positions = codes.shape[-2] if self.lagged else 1
        view = codes.reshape(-1, positions, codes.shape[-1])
        for t in range(positions):
            for stage in range(codes.shape[-1]):
                yield view, t, stage

    def _context(
        self, codes: NDArray[np.int32], t: int, stage: int
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        sums = np.tile(self.bases[stage], (len(codes), 1))
        for source in self.sources[stage]:
            if source.lag <= t and source.stage < codes.shape[2]:
                sums += source.table[codes[:, t - source.lag, source.stage]]
        rounded = (sums + (1 << FRACTION - 1)) >> FRACTION
        mean, scale = np.split(rounded, 2, axis=1)
        return (
            np.clip(mean, -(2**15), 2**15 - 1).astype(np.int16),
            np.clip(scale, 0, SCALES - 1).astype(np.uint8),
        )


class FrequencyCoder(CodeModel):
    """Frequencies of codes, by the class of the stage before: stage after stage, all vectors of one at once.

    Parameters
    ----------
    sizes
        Codewords of each stage.
    models
        `siglum.entropy.adaptive.Adaptive` or `siglum.entropy.categorical.Categorical`, one a stage.
    classes : sequence of int (K,), one for each stage but the last
        The class of each code, which is the context of the next stage's model.
    """

    def __init__(
        self, sizes: Sequence[int], models: Sequence[Model], classes: Sequence[NDArray[np.int64]]
    ) -> None:
        self.sizes, self.models, self.classes = tuple(sizes), list(models), list(classes)

    def config(self) -> dict[str, Any]:
        """Sizes, and name and settings of the stages' models."""
        models = [{"name": model.name, **model.config()} for model in self.models]
        return {"kind": "frequency", "sizes": list(self.sizes), "models": models}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Those of the models, and classes (int32), by the number of the stage."""
        result: dict[str, NDArray[Any]] = {}
        for s, model in enumerate(self.models):
            result |= {f"{s}.model.{name}": array for name, array in model.tensors().items()}
        return result | {f"{s}.classes": array.astype(np.int32) for s, array in enumerate(self.classes)}

    @classmethod
    def _restore(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> FrequencyCoder:
        sizes, models = [int(size) for size in config["sizes"]], []
        for s, settings in enumerate(config["models"]):
            kind = cast("type[Model]", MODELS.find(settings["name"]))
            rest = {key: value for key, value in settings.items() if key != "name"}
            models.append(kind.restore(rest, _below(tensors, f"{s}.model.")))
        classes = [tensors[f"{s}.classes"].astype(np.int64) for s in range(len(sizes) - 1)]
        if len(models) != len(sizes) or any(
            array.shape != (size,) for array, size in zip(classes, sizes, strict=False)
        ):
            raise UsageError("the classes do not fit the sizes")
        return cls(sizes, models, classes)

    def _steps(self, codes: NDArray[np.int32]) -> Iterator[tuple[Model, NDArray[np.int32], Any]]:
        view = codes.reshape(-1, codes.shape[-1])
        for stage in range(view.shape[1]):
            yield self.models[stage], np.ascontiguousarray(view[:, stage]), self._context(view, stage)

    def _pull(self, decoder: rans.Decoder, codes: NDArray[np.int32]) -> None:
        view = codes.reshape(-1, codes.shape[-1])
        for stage in range(view.shape[1]):
            context = self._context(view, stage)
            view[:, stage] = self.models[stage].pull(decoder, len(view), context)

    def _context(self, codes: NDArray[np.int32], stage: int) -> NDArray[np.int32]:
        if stage == 0:
            return np.zeros(len(codes), np.int32)
        return self.classes[stage - 1][codes[:, stage - 1]].astype(np.int32)


def _below(tensors: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Arrays whose names begin with a prefix, by the rest of their names."""
    return {name[len(prefix) :]: array for name, array in tensors.items() if name.startswith(prefix)}
