"""Assignment by distance and rate: the nearest codeword, unless a cheaper one is nearly as near."""

from __future__ import annotations

import torch
from torch import Tensor

from siglum.quantizers.codebook import Spec
from siglum.quantizers.codebooks.wrapper import Wrapper
from siglum.quantizers.names import CODEBOOKS


@CODEBOOKS.register("entropy-constrained")
class EntropyConstrained(Wrapper):
    """Entropy-constrained vector quantization (Chou, Lookabaugh and Gray, IEEE Trans. ASSP 37, 1989).

    A vector goes to the word with the least ``|x - c|^2 + multiplier * bits``; the bits of a word are those of its
    frequency, a moving average over training. Words that do not pay for themselves fall out of use: that is how the
    rate falls, so the codebook inside should not restart dead words. Decoders know nothing of it.

    Parameters
    ----------
    size, dim
        K and D.
    codebook
        Learns the codewords: name of a kind, or a mapping of "kind" and settings.
    multiplier
        Squared distance that one bit is worth, at least 0. It may be changed at any time, as an attribute.
    decay
        Of the moving average of frequencies, 0 to 1.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    kind = "entropy-constrained"
    frequencies: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        codebook: Spec = "gradient",
        multiplier: float = 0.0,
        decay: float = 0.99,
    ) -> None:
        super().__init__(size, dim, codebook, multiplier=multiplier, decay=decay)
        if not multiplier >= 0:
            raise ValueError(f"multiplier is {multiplier!r}, wanted 0 or more")
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay!r}, wanted 0 to below 1")
        self.multiplier, self.decay = multiplier, decay
        self.register_buffer("frequencies", torch.full((size,), 1 / size))

    def bits(self) -> Tensor:
        """Bits of each word by its frequency, (K,); a word out of use costs log2 K + 10."""
        floor = 2.0**-10 / self.size
        return -(self.frequencies.clamp_min(floor)).log2()

    def bias(self) -> Tensor | None:
        """Multiplier times bits, (K,)."""
        inner, own = self.inner.bias(), self.multiplier * self.bits()
        return own if inner is None else own + inner

    def learn(self, x: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """The losses of the codebook inside; in training mode the frequencies move."""
        losses = self.inner.learn(x, indices)
        if self.training and len(indices):
            counts = torch.bincount(indices, minlength=self.size).to(self.frequencies.dtype)
            self.frequencies = self.frequencies * self.decay + counts * ((1 - self.decay) / len(indices))
        return losses

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Start the codebook inside, and take the frequencies of the nearest words."""
        self.inner.start(x)
        counts = torch.bincount(self.inner.lookup(x), minlength=self.size)
        self.frequencies = counts.to(self.frequencies.dtype) / len(x)
