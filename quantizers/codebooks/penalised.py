"""Penalties on how a codebook is used: undecided vectors, words used unevenly, words of like directions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from siglum.quantizers import checks
from siglum.quantizers.codebook import Spec
from siglum.quantizers.codebooks.wrapper import Wrapper
from siglum.quantizers.names import CODEBOOKS

_SCORES = 2**24  # entries of the matrix of soft assignments at most


@CODEBOOKS.register("penalised")
class Penalised(Wrapper):
    """Adds penalties of soft assignments ``p = softmax(-|x - c|^2 / temperature)`` to a codebook's losses.

    - ``entropy``: weight times the mean over vectors of H(p), in bits: vectors decide for a word;
    - ``diversity``: weight times log2 K - H(mean of p), in bits: words are used evenly (both: Yu et al., MAGVIT-v2,
      arXiv 2310.05737; Jansen et al., arXiv 1911.05894);
    - ``orthogonality``: weight times the mean squared cosine between two words (Shin et al., arXiv 2112.00384).

    Where N times K is above 2^24 the first two look at fewer vectors, evenly spaced in the batch; the third looks at
    1,024 evenly spaced words at most.

    Parameters
    ----------
    size, dim
        K and D.
    codebook
        Learns the codewords: name of a kind, or a mapping of "kind" and settings.
    entropy, diversity, orthogonality
        Weights, at least 0; 0 leaves the penalty out.
    temperature
        In squared distance, above 0.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    kind = "penalised"

    def __init__(
        self,
        size: int,
        dim: int,
        codebook: Spec = "gradient",
        entropy: float = 0.0,
        diversity: float = 0.0,
        orthogonality: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(
            size,
            dim,
            codebook,
            entropy=entropy,
            diversity=diversity,
            orthogonality=orthogonality,
            temperature=temperature,
        )
        for name, value in (("entropy", entropy), ("diversity", diversity), ("orthogonality", orthogonality)):
            if not value >= 0:
                raise ValueError(f"{name} is {value!r}, wanted 0 or more")
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature!r}, wanted above 0")
        self.entropy, self.diversity, self.orthogonality = entropy, diversity, orthogonality
        self.temperature = temperature

    def learn(self, x: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """The losses of the codebook inside and the penalties."""
        losses = self.inner.learn(x, indices)
        if (self.entropy or self.diversity) and len(x):
            own, mean = soft_entropies(self.project(x), self.keys(), self.temperature)
            if self.entropy:
                losses["entropy"] = self.entropy * own
            if self.diversity:
                most = torch.tensor(float(self.size), device=x.device).log2()
                losses["diversity"] = self.diversity * (most - mean)
        if self.orthogonality:
            losses["orthogonality"] = self.orthogonality * mean_squared_cosine(self.vectors())
        return losses


def soft_entropies(x: Tensor, vectors: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Entropies in bits of ``p = softmax(-|x - c|^2 / temperature)``: mean of each vector's, and that of the mean.

    Parameters
    ----------
    x : float (N, D)
    vectors : float (K, D)
    temperature
        In squared distance.

    Returns
    -------
    Two scalars from 0 to log2 K; the first is never above the second.
    """
    x = checks.vectors(x, vectors.shape[1])[:: -(-len(x) * len(vectors) // _SCORES)]
    logits = (2 * x @ vectors.T - vectors.square().sum(1)) / temperature  # |x|^2 cancels
    logs = logits.log_softmax(-1)
    p = logs.exp()
    mean = p.mean(0)
    log2 = torch.tensor(2.0, device=x.device).log()
    return -(p * logs).sum(-1).mean() / log2, torch.special.entr(mean).sum() / log2


def mean_squared_cosine(vectors: Tensor, most: int = 1024) -> Tensor:
    """Mean squared cosine of the angles between two of at most ``most`` evenly spaced words: 0 to 1."""
    words = functional.normalize(vectors[:: -(-len(vectors) // most)], dim=1)
    if len(words) < 2:
        return words.sum() * 0
    gram = words @ words.T
    return (gram.square().sum() - gram.diagonal().square().sum()) / (len(words) * (len(words) - 1))
