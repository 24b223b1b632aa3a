"""Residual vector quantization: each stage codes what the stages before it left over."""

from __future__ import annotations

from collections.abc import Sequence

from siglum.quantizers import checks
from siglum.quantizers.codebook import Spec
from siglum.quantizers.names import QUANTIZERS
from siglum.quantizers.staged import Staged


@QUANTIZERS.register("residual")
class ResidualQuantizer(Staged):
    """S codes a vector, coarse to fine; any number of them decodes (Juang and Gray, 1982; SoundStream, 2021).

    One straight-through gradient spans the whole stack, and each stage's losses compare its codeword with what was
    left over: a gradient through every stage alone would cancel. `start` is staggered: each stage's k-means sees
    what the stages before it, already set, leave over.

    Parameters
    ----------
    dim
        Components.
    stages
        Codes a vector.
    codewords
        Codewords of each stage, one number or one a stage.
    codebook
        Kind of the codebooks: a name in `siglum.quantizers.CODEBOOKS`, or a mapping of "kind" and settings.
    estimator
        Name in `siglum.quantizers.ESTIMATORS`.
    dropout
        Probability that a vector uses 1 to S stages, drawn evenly, in training.
    beam
        Partial solutions in training's search.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
    >>> quantizer = ResidualQuantizer(dim=8, stages=4, codewords=32)
    >>> quantizer.fit(x)
    >>> codes = quantizer.encode(x, beam=8)
    >>> errors = [float((quantizer.decode(codes[:, :count]).detach() - x).square().mean()) for count in (1, 2, 3, 4)]
    >>> errors == sorted(errors, reverse=True), errors[-1] < 0.15
    (True, True)
    """

    name = "residual"

    def __init__(
        self,
        dim: int,
        stages: int = 8,
        codewords: int | Sequence[int] = 1024,
        *,
        codebook: Spec = "gradient",
        estimator: str = "straight-through",
        dropout: float = 0.0,
        beam: int = 1,
    ) -> None:
        sizes = layer_sizes(stages, codewords)
        settings = {
            "dim": dim,
            "stages": stages,
            "codewords": codewords if isinstance(codewords, int) else list(codewords),
            "codebook": codebook,
            "estimator": estimator,
            "dropout": dropout,
            "beam": beam,
        }
        super().__init__(
            dim,
            1,
            sizes,
            codebook=codebook,
            estimator=estimator,
            dropout=dropout,
            beam=beam,
            settings=settings,
        )


def layer_sizes(count: int, codewords: int | Sequence[int], name: str = "stages") -> list[int]:
    """Codewords of each of a number of stages (or groups).

    Raises
    ------
    ValueError
        If there are none, or a sequence has not one number for each.
    """
    checks.integer(count, 1, None, name)
    sizes = [codewords] * count if isinstance(codewords, int) else list(codewords)
    if len(sizes) != count:
        raise ValueError(f"codewords has {len(sizes)} sizes, wanted one for each of the {count} {name}")
    return sizes
