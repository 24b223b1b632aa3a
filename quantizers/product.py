"""Product (parallel) quantization: the vector is split, every part has a codebook of its own."""

from __future__ import annotations

from collections.abc import Sequence

from siglum.quantizers.codebook import Spec
from siglum.quantizers.names import QUANTIZERS
from siglum.quantizers.residual import layer_sizes
from siglum.quantizers.staged import Staged


@QUANTIZERS.register("product")
class ProductQuantizer(Staged):
    """One code for each of G parts of a vector, all searched, sent and predicted independently.

    Jégou et al., Product Quantization for Nearest Neighbor Search, 2011; with ``rotation="opq"`` Optimized Product
    Quantization (Ge et al., 2013). The multi-codebook of McQuic (Zhu et al., Unified Multivariate Gaussian Mixture
    for Efficient Neural Image Compression, 2022) and parallel tokenisers of recommenders are the same structure.

    Parameters
    ----------
    dim
        Components, a multiple of ``groups``.
    groups
        Parts, G: codes a vector. A prefix of codes decodes the first parts; the others are 0 (the mean, if rotated).
    codewords
        Codewords of each part, one number or one a part.
    rotation
        What `start` and `fit` put in front of the split: None, "pca" (principal axes dealt to the parts so that each
        has the same to code), "opq" (optimised from that and from no rotation, the better of both) or "random".
        `fit` goes on improving any of them together with the codebooks.
    learned
        Whether the rotation is then learned with the rest, staying orthogonal.
    codebook, estimator
        As in `VectorQuantizer`.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0)) * 0.5 ** torch.arange(8)
    >>> plain, rotated = ProductQuantizer(8, 2, 64), ProductQuantizer(8, 2, 64, rotation="opq")
    >>> errors = []
    >>> for quantizer in (plain, rotated):
    ...     quantizer.fit(x)
    ...     errors.append(float((quantizer.decode(quantizer.encode(x)).detach() - x).square().mean()))
    >>> errors[1] < 0.8 * errors[0]
    True
    """

    name = "product"

    def __init__(
        self,
        dim: int,
        groups: int = 8,
        codewords: int | Sequence[int] = 256,
        *,
        rotation: str | None = None,
        learned: bool = False,
        codebook: Spec = "gradient",
        estimator: str = "straight-through",
    ) -> None:
        settings = {
            "dim": dim,
            "groups": groups,
            "codewords": codewords if isinstance(codewords, int) else list(codewords),
            "rotation": rotation,
            "learned": learned,
            "codebook": codebook,
            "estimator": estimator,
        }
        super().__init__(
            dim,
            groups,
            layer_sizes(groups, codewords, "groups"),
            codebook=codebook,
            estimator=estimator,
            rotation=rotation,
            learned=learned,
            settings=settings,
        )
