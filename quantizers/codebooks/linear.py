"""Codebooks that are a frozen matrix times one learned linear layer: every step moves every codeword."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from siglum.quantizers import checks
from siglum.quantizers.codebook import Codebook
from siglum.quantizers.kmeans import kmeans
from siglum.quantizers.names import CODEBOOKS


class LinearCodebook(Codebook):
    """Codewords ``basis @ W + b``, of which only W and b are learned. Kinds say what the basis is.

    Losses: ``codebook = |sg(x) - c|^2`` and ``commitment = weight |x - sg(c)|^2``, means over vectors and components.
    """

    basis: Tensor

    def __init__(self, size: int, dim: int, width: int, commitment: float, **settings: object) -> None:
        super().__init__(size, dim, commitment=commitment, **settings)
        self.commitment = commitment
        self.features = checks.integer(width, 1, None, "features")
        self.weight = nn.Parameter(torch.zeros(width, dim))
        self.offset = nn.Parameter(torch.zeros(dim))

    def vectors(self) -> Tensor:
        """The basis through the layer, (K, D): what is searched, decoded and exported."""
        return torch.addmm(self.offset, self.basis, self.weight)

    def learn(self, x: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """The codebook's loss, whose gradient moves the layer, and the commitment's."""
        values = torch.addmm(self.offset, self.basis[indices], self.weight)
        return {
            "codebook": functional.mse_loss(values, x.detach()),
            "commitment": self.commitment * functional.mse_loss(x, values.detach()),
        }


@CODEBOOKS.register("simvq")
class SimVQ(LinearCodebook):
    """A frozen Gaussian basis and one linear layer (Zhu et al., SimVQ, arXiv 2411.02038).

    The basis is K x D with entries N(0, 1 / D); the layer begins as the identity. All words move together, so none
    dies for want of gradients; but their shape stays that of a Gaussian under a linear map, and it is the encoder
    that has to fill it. `start` gives the words the mean and the covariance of the data.

    Parameters
    ----------
    size, dim
        K and D.
    commitment
        Weight of the commitment loss.
    seed
        Of the basis, which is stored in the state as well.
    """

    kind = "simvq"

    def __init__(self, size: int, dim: int, commitment: float = 0.25, seed: int = 0) -> None:
        super().__init__(size, dim, dim, commitment, seed=seed)
        generator = torch.Generator().manual_seed(checks.integer(seed, 0, 2**31, "seed"))
        self.register_buffer("basis", torch.randn(size, dim, generator=generator) * dim**-0.5)
        with torch.no_grad():
            self.weight.copy_(torch.eye(dim))

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Choose the layer so that the codewords have the mean and covariance of vectors (N, D)."""
        checks.enough(x, 2)
        weight = _power(_covariance(self.basis), -0.5) @ _power(_covariance(x), 0.5)
        self.weight.copy_(weight)
        self.offset.copy_(x.mean(0) - self.basis.mean(0) @ self.weight)


@CODEBOOKS.register("frozen")
class FrozenCodebook(LinearCodebook):
    """Features of data, frozen, and a learned projector (Zhu et al., VQGAN-LC, arXiv 2406.11837).

    The features are those of a trained encoder (`set_features`), such as cluster centres over a training set; with
    `start` they are k-means centres of the vectors themselves. Unlike a Gaussian basis they have the shape of the
    data.

    Parameters
    ----------
    size, dim
        K and D.
    features
        Components of a feature; None: as many as those of a codeword.
    commitment
        Weight of the commitment loss.
    seed
        Of the features until they are set, and of k-means.
    iterations
        Of k-means.
    """

    kind = "frozen"

    def __init__(
        self,
        size: int,
        dim: int,
        features: int | None = None,
        commitment: float = 0.33,
        seed: int = 0,
        iterations: int = 10,
    ) -> None:
        width = dim if features is None else features
        super().__init__(size, dim, width, commitment, features=features, seed=seed, iterations=iterations)
        self.seed = checks.integer(seed, 0, 2**31, "seed")
        self.iterations = checks.integer(iterations, 0, None, "iterations")
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("basis", torch.randn(size, width, generator=generator))
        with torch.no_grad():
            self.weight.copy_(torch.randn(width, dim, generator=generator) * width**-0.5)

    @torch.no_grad()
    def set_features(self, features: Tensor) -> None:
        """Set what is frozen to a matrix (K, features).

        Raises
        ------
        ValueError
            If it has another shape, NaN or infinities.
        """
        self.basis.copy_(checks.matrix(features, self.size, self.features, "features"))

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Freeze k-means centres of vectors (N, D), and begin with the identity.

        Raises
        ------
        ValueError
            If features have another dimension than vectors, or if there are fewer vectors than codewords.
        """
        if self.features != self.dim:
            raise ValueError(
                f"features of dimension {self.features} do not come from vectors of dimension {self.dim}"
            )
        self.set_features(kmeans(x, self.size, iterations=self.iterations, seed=self.seed))
        self.weight.copy_(torch.eye(self.dim))
        self.offset.zero_()


def _covariance(x: Tensor) -> Tensor:
    centred = (x - x.mean(0)).double()
    return centred.T @ centred / len(x)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp_min(1e-12 * values.max().clamp_min(1e-30))
    return (vectors * values**exponent @ vectors.T).float()
