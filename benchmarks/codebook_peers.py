"""vector-quantize-pytorch behind the interface that `siglum.benchmarks.codebooks` trains."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from siglum.quantizers.base import Quantized, Usage


class PeerQuantizer(nn.Module):
    """`VectorQuantize` or `SimVQ` of vector-quantize-pytorch.

    Parameters
    ----------
    dim, codewords
        D and K.
    kind
        Name of the class.
    settings
        Its arguments.
    """

    def __init__(self, dim: int, codewords: int, kind: str, **settings: Any) -> None:
        super().__init__()
        library = import_module("vector_quantize_pytorch")
        self.inner = getattr(library, kind)(dim=dim, codebook_size=codewords, **settings)
        self.sizes = (codewords,)

    def forward(self, x: Tensor) -> Quantized:
        """Quantise (N, D) and learn."""
        values, indices, loss = self.inner(x[None])
        codes = indices.reshape(-1, 1)
        return Quantized(values[0], codes, {"all": loss.sum()}, Usage(codes, self.sizes))

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Codes (N, 1) of vectors (N, D), a part at a time."""
        parts = [self.inner(part[None])[1].reshape(-1, 1) for part in x.split(4096)]
        return torch.cat(parts)

    def decode(self, codes: Tensor) -> Tensor:
        """Vectors (N, D) of codes (N, 1)."""
        if hasattr(self.inner, "get_codes_from_indices"):
            values: Tensor = self.inner.get_codes_from_indices(codes[:, 0])
        else:
            values = self.inner.indices_to_codes(codes[None, :, 0])
        return values.reshape(len(codes), -1)
