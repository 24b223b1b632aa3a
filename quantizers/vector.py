"""Vector quantization: one codebook over the whole vector."""

from __future__ import annotations

from siglum.quantizers.codebook import Codebook, Spec
from siglum.quantizers.names import QUANTIZERS
from siglum.quantizers.staged import Staged


@QUANTIZERS.register("vector")
class VectorQuantizer(Staged):
    """One code a vector, the nearest of K codewords (Gersho and Gray, 1992; van den Oord et al., VQ-VAE, 2017).

    Parameters
    ----------
    dim
        Components.
    codewords
        K.
    codebook
        Kind of the codebook: a name in `siglum.quantizers.CODEBOOKS`, or a mapping of "kind" and settings.
    estimator
        Name in `siglum.quantizers.ESTIMATORS`.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0))
    >>> quantizer = VectorQuantizer(dim=4, codewords=64)
    >>> quantizer.start(x)
    >>> codes = quantizer.encode(x)
    >>> codes.shape, float(quantizer.rate(codes[0]))
    (torch.Size([2000, 1]), 6.0)
    >>> bool((quantizer.decode(codes).detach() - x).square().mean() < 0.2)
    True
    """

    name = "vector"

    def __init__(
        self,
        dim: int,
        codewords: int = 1024,
        *,
        codebook: Spec = "gradient",
        estimator: str = "straight-through",
    ) -> None:
        settings = {"dim": dim, "codewords": codewords, "codebook": codebook, "estimator": estimator}
        super().__init__(dim, 1, [codewords], codebook=codebook, estimator=estimator, settings=settings)

    @property
    def codebook(self) -> Codebook:
        """The codebook."""
        return self.codebooks[0]
