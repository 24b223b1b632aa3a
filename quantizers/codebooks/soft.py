"""Codebooks whose words all get gradients from the task, through soft assignments."""

from __future__ import annotations

import torch
from torch import Tensor

from siglum.quantizers.codebook import Spec
from siglum.quantizers.codebooks.wrapper import Wrapper
from siglum.quantizers.estimators import draw, gumbel, ibq
from siglum.quantizers.names import CODEBOOKS


class _Soft(Wrapper):
    def __init__(self, size: int, dim: int, codebook: Spec, temperature: float) -> None:
        super().__init__(size, dim, codebook, temperature=temperature)
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature!r}, wanted above 0")
        self.temperature = temperature


@CODEBOOKS.register("ibq")
class IBQ(_Soft):
    """Index backpropagation (Shi et al., arXiv 2412.02692), see `siglum.quantizers.estimators.ibq`.

    The values keep their gradients only where the structure's estimator is ``"codebook"``.

    Parameters
    ----------
    size, dim
        K and D; N times K must fit in memory.
    codebook
        Learns the codewords: name of a kind, or a mapping of "kind" and settings.
    temperature
        In squared distance, above 0. It may be changed at any time, as an attribute.

    Raises
    ------
    ValueError
        If the temperature is out of range.
    """

    kind = "ibq"

    def __init__(self, size: int, dim: int, codebook: Spec = "gradient", temperature: float = 1.0) -> None:
        super().__init__(size, dim, codebook, temperature)

    def take(self, x: Tensor, indices: Tensor) -> Tensor:
        """The codewords, (N, D), with gradients to x and to all words."""
        return ibq(x, self.vectors(), indices, temperature=self.temperature)


@CODEBOOKS.register("gumbel")
class Gumbel(_Soft):
    """Straight-through Gumbel-softmax (Jang, Gu and Poole, arXiv 1611.01144): in training, words are drawn.

    In training mode every search draws the word with probability ``softmax(-|x - c|^2 / temperature)``; in evaluation
    mode it takes the nearest. The values keep their gradients only where the structure's estimator is
    ``"codebook"``. Draws depend on the seed and the number of draws before.

    Parameters
    ----------
    size, dim
        K and D; N times K must fit in memory.
    codebook
        Learns the codewords: name of a kind, or a mapping of "kind" and settings.
    temperature
        In squared distance, above 0. Lower it during training, as an attribute.
    seed
        Of the draws.

    Raises
    ------
    ValueError
        If the temperature is out of range.
    """

    kind = "gumbel"
    draws: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        codebook: Spec = "gradient",
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(size, dim, codebook, temperature)
        self.settings["seed"] = seed
        self.seed = seed
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    def lookup(self, x: Tensor) -> Tensor:
        """A draw in training, else the nearest word: (N, D) -> int64 (N,)."""
        if not self.training:
            return super().lookup(x)
        self.draws = self.draws + 1
        return draw(x, self.vectors(), temperature=self.temperature, generator=self._generator(x))

    def take(self, x: Tensor, indices: Tensor) -> Tensor:
        """The codewords, (N, D), with the gradients of a soft choice whose noise made it these."""
        return gumbel(
            x, self.vectors(), indices, temperature=self.temperature, generator=self._generator(x, 1)
        )

    def _generator(self, x: Tensor, stream: int = 0) -> torch.Generator:
        seed = (self.seed << 32) + 2 * int(self.draws) + stream
        return torch.Generator(device=x.device).manual_seed(seed)
