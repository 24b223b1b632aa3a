"""What all quantizers share: the interface, its results, usage, the checks of arguments."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from siglum.quantizers import checks

if TYPE_CHECKING:
    from siglum.quantizers.tables import Tables


_MOST_COUNTED = 2**26  # codewords of which every one has a count


class Prior(Protocol):
    """What `Quantizer.rate` asks of probabilities of codes."""

    def bits(self, codes: Tensor) -> Tensor:
        """Bits of each code, (..., S') -> (..., S'), differentiable in the prior's parameters."""
        ...


@dataclass(frozen=True)
class Usage:
    """How often each codeword was used in one call, counted when it is asked for.

    Parameters
    ----------
    codes : int64 (N, S)
        Codes of all vectors.
    sizes
        Codewords of each stage.
    active : bool (N, S), optional
        Which codes count: under stage dropout the others were not used.
    """

    codes: Tensor
    sizes: tuple[int, ...]
    active: Tensor | None = None
    _counts: dict[int, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def counts(self, stage: int) -> Tensor:
        """Uses of every codeword of a stage: int64 (K,).

        Raises
        ------
        ValueError
            If it has more than 2^26 codewords; `fraction`, `entropy` and `perplexity` are known even so.
        """
        if self.sizes[stage] > _MOST_COUNTED:
            raise ValueError(
                f"stage {stage} has {self.sizes[stage]} codewords, wanted at most {_MOST_COUNTED}"
            )
        if stage not in self._counts:
            self._counts[stage] = torch.bincount(self._used(stage), minlength=self.sizes[stage])
        return self._counts[stage]

    def _used(self, stage: int) -> Tensor:
        codes = self.codes[:, stage]
        return codes if self.active is None else codes[self.active[:, stage]]

    def _positive(self, stage: int) -> Tensor:
        """Uses of the codewords that were used."""
        if self.sizes[stage] > _MOST_COUNTED:
            return self._used(stage).unique(return_counts=True)[1]
        counts = self.counts(stage)
        return counts[counts > 0]

    @cached_property
    def fraction(self) -> tuple[float, ...]:
        """Share of each stage's codewords that were used at least once, 0 to 1."""
        return tuple(len(self._positive(stage)) / self.sizes[stage] for stage in range(self.codes.shape[1]))

    @cached_property
    def entropy(self) -> tuple[float, ...]:
        """Empirical entropy of each stage's codes in bits."""
        return tuple(_entropy(self._positive(stage)) for stage in range(self.codes.shape[1]))

    @property
    def perplexity(self) -> tuple[float, ...]:
        """2 to the entropy: how many equally frequent codewords would be as uncertain, 1 to K."""
        return tuple(2.0**bits for bits in self.entropy)


class Quantized(NamedTuple):
    """What a quantizer returns in training.

    Attributes
    ----------
    values : float32 (..., D)
        Reconstructions, with gradients.
    codes : int64 (..., S)
        Their codes.
    losses
        Scalars by name, already weighted: add their sum to the loss.
    usage
        Which codewords this call used.
    """

    values: Tensor
    codes: Tensor
    losses: dict[str, Tensor]
    usage: Usage


class Quantizer(nn.Module, ABC):
    """Vectors (..., dim) <-> codes (..., stages).

    Subclasses implement `_encode`, `_decode` and `_train` on flat batches, and hand their settings to this
    constructor, from which `config` is made.

    Parameters
    ----------
    dim
        Last dimension of what is quantised.
    sizes
        Codewords of each code.
    settings
        Arguments of the constructor, plain JSON values.

    Attributes
    ----------
    step
        Codes of a layer: prefixes of whole layers are what stage dropout trains.
    """

    name: str = ""
    step: int = 1

    def __init__(self, dim: int, sizes: tuple[int, ...], settings: dict[str, Any]) -> None:
        super().__init__()
        self.dim = checks.integer(dim, 1, None, "dim")
        self.sizes = tuple(checks.integer(size, 1, 2**62, "codewords") for size in sizes)
        self._settings = settings

    @property
    def stages(self) -> int:
        """Number of codes of a vector."""
        return len(self.sizes)

    @torch.no_grad()
    def encode(self, x: Tensor, *, stages: int | None = None, beam: int = 1) -> Tensor:
        """Codes of vectors.

        Parameters
        ----------
        x : float (..., D)
            What is quantised.
        stages
            Number of codes, a prefix of all; None: all.
        beam
            Partial solutions kept by the search. Never worse than greedy (1), the same format.

        Returns
        -------
        int64 (..., stages)

        Raises
        ------
        ValueError
            If ``x`` has another last dimension, no vectors, NaN or infinities.
        """
        x = checks.vectors(x, self.dim)
        count = self.stages if stages is None else checks.integer(stages, 1, self.stages, "stages")
        checks.integer(beam, 1, None, "beam")
        with _full_precision(x):
            codes = self._encode(x.reshape(-1, self.dim), count, beam)
        return codes.reshape(*x.shape[:-1], count)

    def decode(self, codes: Tensor) -> Tensor:
        """Vectors (..., D) of codes (..., S'), where S' may be any prefix of the stages; differentiable.

        Raises
        ------
        ValueError
            If codes are out of range or of more stages than there are.
        """
        codes = checks.codes(codes, self.sizes)
        with _full_precision(codes):
            values = self._decode(codes.reshape(-1, codes.shape[-1]))
        return values.reshape(*codes.shape[:-1], self.dim)

    def forward(self, x: Tensor) -> Quantized:
        """Quantise with gradients, and learn if the module is in training mode.

        Parameters
        ----------
        x : float (..., D)
            What is quantised. Under stage dropout the vectors of one entry of the first of three or more
            dimensions share their number of stages.

        Raises
        ------
        ValueError
            As `encode`.
        """
        x = checks.vectors(x, self.dim)
        share = math.prod(x.shape[1:-1]) if x.ndim > 2 else 1
        with _full_precision(x):
            values, codes, losses, active = self._train(x.reshape(-1, self.dim), share)
        usage = Usage(codes, self.sizes, active)
        shape = x.shape[:-1]
        return Quantized(values.reshape(*shape, self.dim), codes.reshape(*shape, self.stages), losses, usage)

    def rate(self, codes: Tensor, prior: Prior | None = None) -> Tensor:
        """Bits (...,) of codes (..., S'): under a prior, or log2 of the sizes without one.

        Raises
        ------
        ValueError
            As `decode`.
        """
        codes = checks.codes(codes, self.sizes)
        if prior is not None:
            return prior.bits(codes).sum(-1)
        bits = math.fsum(math.log2(size) for size in self.sizes[: codes.shape[-1]])
        return torch.full(codes.shape[:-1], bits, device=codes.device)

    def start(self, x: Tensor) -> None:
        """Set what is learned from data (..., D), such as codewords by k-means; some structures have nothing to set.

        Raises
        ------
        ValueError
            As `encode`, and if there are fewer vectors than codewords.
        """
        x = checks.vectors(x, self.dim).detach().reshape(-1, self.dim)
        with torch.no_grad():
            self._start(x)

    def config(self) -> dict[str, Any]:
        """The settings as plain JSON values; `siglum.quantizers.from_config` takes them back."""
        return {"name": self.name, **self._settings}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Quantizer:
        """The quantizer of a config, untrained."""
        from siglum.quantizers import from_config

        quantizer = from_config(config)
        if not isinstance(quantizer, cls):
            raise ValueError(f"config names {config['name']!r}, which is not {cls.name!r}")
        return quantizer

    @abstractmethod
    def export(self) -> Tables:
        """Plain tables for use without torch: projections folded, the same codes and values."""

    @abstractmethod
    def _encode(self, x: Tensor, stages: int, beam: int) -> Tensor:
        """(N, D) -> (N, stages), without gradients."""

    @abstractmethod
    def _decode(self, codes: Tensor) -> Tensor:
        """(N, S') -> (N, D), with gradients to what is learned."""

    @abstractmethod
    def _train(self, x: Tensor, share: int) -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        """(N, D) -> values (N, D), codes (N, S), losses, which codes are active (N, S) or None."""

    def _start(self, x: Tensor) -> None:
        """(N, D), without gradients."""

    def extra_repr(self) -> str:
        """Settings, for `repr`."""
        return ", ".join(f"{key}={value!r}" for key, value in self._settings.items())


def _full_precision(x: Tensor) -> torch.autocast:
    """No automatic casts: distances in half precision would choose other codewords."""
    return torch.autocast(x.device.type, enabled=False)


def _entropy(counts: Tensor) -> float:
    p = counts.double() / counts.sum()
    return float(-(p * p.log2()).sum()) if len(p) > 1 else 0.0
