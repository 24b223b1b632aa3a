"""Codebooks: the part of a structure that knows codewords, finds the nearest and learns them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from siglum.quantizers import checks, lookup
from siglum.quantizers.kmeans import kmeans
from siglum.quantizers.names import CODEBOOKS


class Codebook(nn.Module):
    """K codewords of D components. Kinds override `vectors` and `learn`, and what else they do otherwise.

    Parameters
    ----------
    size
        Codewords, K.
    dim
        Components of a codeword, D.
    **settings
        Settings of the kind, plain JSON values; kept for `config`.
    """

    kind: str = ""

    def __init__(self, size: int, dim: int, **settings: Any) -> None:
        super().__init__()
        self.size = checks.integer(size, 1, None, "codewords")
        self.dim = checks.integer(dim, 1, None, "dim")
        self.settings = settings

    def vectors(self) -> Tensor:
        """The codewords that are decoded, (K, D), differentiable in what is learned."""
        raise TypeError(f"{type(self).__name__} has no codewords")

    def project(self, x: Tensor) -> Tensor:
        """What is searched for x: (N, D) -> (N, D'). The same as x, unless the kind searches a smaller space."""
        return x

    def keys(self) -> Tensor:
        """What is searched among: (K, D'), the codewords unless the kind searches a smaller space."""
        return self.vectors()

    def bias(self) -> Tensor | None:
        """What is added to the squared distances in assignment, (K,), such as lambda times bits; or None."""
        return None

    def plain(self) -> bool:
        """Whether `lookup` is the search for the nearest of `vectors`, so that stages may be fused."""
        kind = type(self)
        changed = (kind.project, kind.keys, kind.lookup) != (Codebook.project, Codebook.keys, Codebook.lookup)
        return not changed and self.bias() is None

    @torch.no_grad()
    def lookup(self, x: Tensor) -> Tensor:
        """Index of the nearest codeword by ``|project(x) - keys|^2 + bias``: (N, D) -> int64 (N,)."""
        return lookup.search(self.project(x), self.keys(), self.bias())

    def take(self, x: Tensor, indices: Tensor) -> Tensor:
        """Codewords of indices, (N, D), equal to ``vectors()[indices]``; kinds may give x a gradient."""
        return functional.embedding(indices, self.vectors())

    def learn(self, x: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """Losses (weighted scalars by name) of vectors assigned to codewords; updates the codewords if they are not
        learned by gradient and the module is in training mode. Called after `take`.

        Parameters
        ----------
        x : float32 (N, D)
            Vectors (residuals) with gradients; only those that used this codebook.
        indices : int64 (N,)
            Their codewords.
        """
        return {}

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Set the codewords by k-means on vectors (N, D)."""
        self.assign(kmeans(x, self.size))

    def assign(self, vectors: Tensor) -> None:
        """Set the codewords to a matrix (K, D).

        Raises
        ------
        ValueError
            If it has another shape, NaN or infinities, or if the kind's codewords cannot be chosen freely.
        """
        raise ValueError(f"codewords of the kind {self.kind!r} cannot be set one by one")

    def config(self) -> dict[str, Any]:
        """The kind and its settings as plain JSON values."""
        return {"kind": self.kind, **self.settings}

    def extra_repr(self) -> str:
        """Settings, for `repr`."""
        return f"{self.size}, {self.dim}"


@CODEBOOKS.register("gradient")
class GradientCodebook(Codebook):
    """Codewords that are parameters, pulled to their vectors by a loss; vectors are pulled to their codewords.

    Losses: ``codebook = |sg(x) - c|^2`` and ``commitment = weight |x - sg(c)|^2``, means over vectors and
    components (van den Oord et al., Neural Discrete Representation Learning, 2017).

    Parameters
    ----------
    commitment
        Weight of the commitment loss.
    """

    kind = "gradient"

    def __init__(self, size: int, dim: int, commitment: float = 0.25) -> None:
        super().__init__(size, dim, commitment=commitment)
        self.commitment = commitment
        self.weight = nn.Parameter(torch.randn(size, dim) * dim**-0.5)

    def vectors(self) -> Tensor:
        """The parameters, (K, D)."""
        return self.weight

    def learn(self, x: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """The codebook's loss and the commitment's."""
        values = functional.embedding(indices, self.weight)
        return {
            "codebook": functional.mse_loss(values, x.detach()),
            "commitment": self.commitment * functional.mse_loss(x, values.detach()),
        }

    @torch.no_grad()
    def assign(self, vectors: Tensor) -> None:
        """Set the parameters to a matrix (K, D)."""
        self.weight.copy_(checks.matrix(vectors, self.size, self.dim, "codewords"))


Spec = str | Mapping[str, Any]


def make_codebook(spec: Spec, size: int, dim: int) -> Codebook:
    """A codebook of a kind: its name, or a mapping of "kind" and settings.

    Raises
    ------
    UnknownCodecError
        If there is no such kind.
    ValueError
        If the mapping names none.
    """
    settings = {"kind": spec} if isinstance(spec, str) else dict(spec)
    kind = settings.pop("kind", None)
    if not isinstance(kind, str):
        raise ValueError(f"codebook is {spec!r}, wanted the name of a kind, or a mapping with a 'kind'")
    book = CODEBOOKS.find(kind)(size, dim, **settings)
    if not isinstance(book, Codebook) or (book.size, book.dim) != (size, dim):
        raise ValueError(f"codebook kind {kind!r} made another shape than ({size}, {dim})")
    return book
