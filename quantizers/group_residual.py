"""Group-residual vector quantization: the vector is split, every part has residual stages of its own."""

from __future__ import annotations

from collections.abc import Sequence

from siglum.quantizers.codebook import Spec
from siglum.quantizers.names import QUANTIZERS
from siglum.quantizers.residual import layer_sizes
from siglum.quantizers.staged import Staged


@QUANTIZERS.register("group-residual")
class GroupResidualQuantizer(Staged):
    """G parts with R residual stages each (Yang et al., HiFi-Codec, 2023), behind an orthogonal mixing.

    Codes stand layer by layer: stage 0 of parts 0 to G-1, then stage 1; G codes more refine all parts. On features
    that were not trained for it, a plain split loses to residual quantization; principal axes dealt evenly to the
    parts, or a rotation optimised for a split, regain most of it, which is why ``rotation`` is "opq" by default.

    Parameters
    ----------
    dim
        Components, a multiple of ``groups``.
    groups
        Parts, G.
    stages
        Residual stages, R: G * R codes a vector.
    codewords
        Codewords of each codebook, one number or one a stage.
    rotation
        What `start` and `fit` put in front of the split, as in `ProductQuantizer`: "opq", "pca", "random" or None.
    learned
        Whether the rotation is then learned with the rest, staying orthogonal.
    codebook, estimator
        As in `VectorQuantizer`.
    dropout
        Probability that a vector uses 1 to R stages of all parts, drawn evenly, in training.
    beam
        Partial solutions of each part in training's search.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0)).cumsum(1)
    >>> quantizer = GroupResidualQuantizer(dim=8, groups=2, stages=3, codewords=32)
    >>> quantizer.fit(x)
    >>> codes = quantizer.encode(x, beam=4)
    >>> errors = [float((quantizer.decode(codes[:, :count]).detach() - x).square().mean()) for count in (2, 4, 6)]
    >>> errors == sorted(errors, reverse=True), errors[-1] < 0.01 * float(x.var())
    (True, True)
    """

    name = "group-residual"

    def __init__(
        self,
        dim: int,
        groups: int = 2,
        stages: int = 4,
        codewords: int | Sequence[int] = 1024,
        *,
        rotation: str | None = "opq",
        learned: bool = False,
        codebook: Spec = "gradient",
        estimator: str = "straight-through",
        dropout: float = 0.0,
        beam: int = 1,
    ) -> None:
        settings = {
            "dim": dim,
            "groups": groups,
            "stages": stages,
            "codewords": codewords if isinstance(codewords, int) else list(codewords),
            "rotation": rotation,
            "learned": learned,
            "codebook": codebook,
            "estimator": estimator,
            "dropout": dropout,
            "beam": beam,
        }
        super().__init__(
            dim,
            groups,
            [size for size in layer_sizes(stages, codewords) for _ in range(groups)],
            codebook=codebook,
            estimator=estimator,
            dropout=dropout,
            beam=beam,
            rotation=rotation,
            learned=learned,
            settings=settings,
        )
