"""A codebook that is searched in a few dimensions: x is projected down, codewords are projected up."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from siglum.quantizers import checks
from siglum.quantizers.codebook import Codebook
from siglum.quantizers.kmeans import kmeans
from siglum.quantizers.names import CODEBOOKS


@CODEBOOKS.register("projected")
class ProjectedCodebook(Codebook):
    """Low-dimensional lookup, by cosine if asked for (Yu et al., ViT-VQGAN, 2022; Kumar et al., DAC, 2023).

    ``z = x A`` is compared with K codes c of ``inner`` components; the codewords are ``c B``, which is what is
    decoded, subtracted in residual stages, and exported. Losses: ``codebook = |sg(x) - c B|^2`` moves codes and B,
    ``lookup = |sg(z) - c|^2`` keeps codes where they are searched for, ``projection = |sg(x) - z B|^2`` makes A
    and B keep what matters, ``commitment = weight |x - sg(c B)|^2``.

    Parameters
    ----------
    size, dim
        K and D.
    inner
        Components that are searched, at most D.
    cosine
        Compare directions instead of distances.
    commitment
        Weight of the commitment loss.

    Raises
    ------
    ValueError
        If ``inner`` is out of range.
    """

    kind = "projected"

    def __init__(
        self, size: int, dim: int, inner: int = 8, cosine: bool = False, commitment: float = 0.25
    ) -> None:
        inner = min(inner, dim) if isinstance(inner, int) else inner
        super().__init__(size, dim, inner=inner, cosine=cosine, commitment=commitment)
        checks.integer(inner, 1, dim, "inner")
        self.cosine, self.commitment = cosine, commitment
        axes = torch.linalg.qr(torch.randn(dim, inner)).Q
        self.down, self.up = nn.Parameter(axes.clone()), nn.Parameter(axes.T.clone())
        self.codes = nn.Parameter(torch.randn(size, inner) * dim**-0.5)

    def vectors(self) -> Tensor:
        """Codes projected up, (K, D)."""
        return self.codes @ self.up

    def project(self, x: Tensor) -> Tensor:
        """X projected down, (N, inner)."""
        # In double precision and rounded, so that a vector's code depends on no other vector.
        return (x.double() @ self.down.double()).float()

    def keys(self) -> Tensor:
        """Codes, of length 1 if directions are compared: then the length of z changes nothing."""
        return functional.normalize(self.codes, dim=1) if self.cosine else self.codes

    def learn(self, x: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """Losses of codes and projections."""
        chosen = functional.embedding(indices, self.codes)
        values, z = chosen @ self.up, self.project(x.detach())
        return {
            "codebook": functional.mse_loss(values, x.detach()),
            "lookup": functional.mse_loss(chosen, z.detach()),
            "projection": functional.mse_loss(z @ self.up, x.detach()),
            "commitment": self.commitment * functional.mse_loss(x, values.detach()),
        }

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Principal axes of x (N, D), and k-means of what they project to."""
        axes = torch.linalg.eigh(x.double().T @ x.double())[1].flip(1)[:, : self.codes.shape[1]].float()
        self.down.copy_(axes)
        self.up.copy_(axes.T)
        self.codes.copy_(kmeans(self.project(x), self.size))
