"""A codebook that changes one thing about another: a way of assigning, a loss, a gradient."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from siglum.quantizers.codebook import Codebook, Spec, make_codebook


class Wrapper(Codebook):
    """Passes everything on to the codebook inside. Kinds override what they change.

    Parameters
    ----------
    size, dim
        K and D.
    codebook
        The codebook inside: the name of a kind, or a mapping of "kind" and settings.
    settings
        Of the wrapper itself.
    """

    def __init__(self, size: int, dim: int, codebook: Spec, **settings: Any) -> None:
        super().__init__(size, dim, **settings)
        self.inner = make_codebook(codebook, size, dim)

    def vectors(self) -> Tensor:
        """The codewords of the codebook inside, (K, D)."""
        return self.inner.vectors()

    def project(self, x: Tensor) -> Tensor:
        """As the codebook inside."""
        return self.inner.project(x)

    def keys(self) -> Tensor:
        """As the codebook inside."""
        return self.inner.keys()

    def bias(self) -> Tensor | None:
        """As the codebook inside."""
        return self.inner.bias()

    def take(self, x: Tensor, indices: Tensor) -> Tensor:
        """As the codebook inside."""
        return self.inner.take(x, indices)

    def learn(self, x: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """As the codebook inside."""
        return self.inner.learn(x, indices)

    def start(self, x: Tensor) -> None:
        """As the codebook inside."""
        self.inner.start(x)

    def assign(self, vectors: Tensor) -> None:
        """As the codebook inside."""
        self.inner.assign(vectors)

    def config(self) -> dict[str, Any]:
        """The wrapper's settings and, as ``codebook``, those of the codebook inside."""
        return {**super().config(), "codebook": self.inner.config()}
