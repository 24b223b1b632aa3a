"""Additive quantization: a vector is a sum of codewords that are searched for together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from siglum.quantizers import beam as beams
from siglum.quantizers.codebook import Codebook, Spec
from siglum.quantizers.names import QUANTIZERS
from siglum.quantizers.residual import layer_sizes
from siglum.quantizers.staged import Staged


@QUANTIZERS.register("additive")
class AdditiveQuantizer(Staged):
    """S codebooks over the whole vector, without an order: the error is that of the sum.

    Babenko and Lempitsky, Additive Quantization for Extreme Vector Compression, 2014. Codes come from a beam search,
    then each code in turn is made the best for what the others leave (iterated conditional modes, as in Martinez et
    al., LSQ++, 2018) for some sweeps. `fit` solves for all codebooks by least squares, more often than `residual`
    does; a prefix of codes decodes, but less well than a residual quantizer's.

    Parameters
    ----------
    dim
        Components.
    stages
        Codes a vector, S.
    codewords
        Codewords of each codebook, one number or one a codebook.
    sweeps
        Of iterated conditional modes over all codes.
    codebook, estimator, dropout, beam
        As in `ResidualQuantizer`.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
    >>> quantizer = AdditiveQuantizer(dim=8, stages=4, codewords=16)
    >>> quantizer.fit(x)
    >>> bool((quantizer.decode(quantizer.encode(x, beam=8)).detach() - x).square().mean() < 0.2)
    True
    """

    name = "additive"

    def __init__(
        self,
        dim: int,
        stages: int = 8,
        codewords: int | Sequence[int] = 256,
        *,
        sweeps: int = 3,
        codebook: Spec = "gradient",
        estimator: str = "straight-through",
        dropout: float = 0.0,
        beam: int = 1,
    ) -> None:
        settings = {
            "dim": dim,
            "stages": stages,
            "codewords": codewords if isinstance(codewords, int) else list(codewords),
            "sweeps": sweeps,
            "codebook": codebook,
            "estimator": estimator,
            "dropout": dropout,
            "beam": beam,
        }
        super().__init__(
            dim,
            1,
            layer_sizes(stages, codewords),
            codebook=codebook,
            estimator=estimator,
            dropout=dropout,
            beam=beam,
            settings=settings,
        )
        self.sweeps = sweeps

    def _code_chain(self, y: Tensor, books: Sequence[Codebook], beam: int) -> Tensor:
        return beams.search(y, books, beam, sweeps=self.sweeps)

    @torch.no_grad()
    def _later(self, codes: Tensor, members: list[int], active: Tensor | None) -> list[Tensor]:
        """The codewords of the stages after each: all codebooks learn from the error of the whole sum."""
        later = [torch.zeros((), device=codes.device)]
        for stage in reversed(members[1:]):
            value = self.codebooks[stage].vectors()[codes[:, stage]]
            later.append(later[-1] + (value if active is None else value * active[:, stage, None]))
        return later[::-1]
