"""Binary quantizers: the sign of every component, free (LFQ) or on the unit sphere (BSQ)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from siglum.quantizers import checks
from siglum.quantizers.base import Quantizer
from siglum.quantizers.digits import Mixed
from siglum.quantizers.names import QUANTIZERS

if TYPE_CHECKING:
    from siglum.quantizers.tables import Tables


class _Signs(Quantizer):
    """One bit a component; `_scale` is what a bit decodes to."""

    def __init__(
        self,
        dim: int,
        separate: bool,
        entropy: float,
        diversity: float,
        commitment: float,
        temperature: float,
    ) -> None:
        checks.integer(dim, 1, None if separate else 62, "dim")
        self.digits = Mixed((2,) * dim, separate)
        settings = {
            "dim": dim,
            "separate": separate,
            "entropy": entropy,
            "diversity": diversity,
            "commitment": commitment,
            "temperature": temperature,
        }
        super().__init__(dim, self.digits.sizes, settings)
        self.entropy, self.diversity, self.commitment = entropy, diversity, commitment
        self.temperature, self.scale = temperature, self._scale(dim)

    @staticmethod
    def _scale(dim: int) -> float:
        return 1.0

    def _bound(self, x: Tensor) -> Tensor:
        return x

    def _encode(self, x: Tensor, stages: int, beam: int) -> Tensor:
        return self.digits.join((x > 0).long())[:, :stages]

    def _decode(self, codes: Tensor) -> Tensor:
        values = self.scale * (2.0 * self.digits.split(codes) - 1)
        return torch.where(
            torch.arange(self.dim, device=codes.device) < self.digits.known(codes), values, 0.0
        )

    def _train(self, x: Tensor, share: int) -> tuple[Tensor, Tensor, dict[str, Tensor], None]:
        codes = self._encode(x.detach(), self.stages, 1)
        bounded, values = self._bound(x), self._decode(codes)
        losses = {"commitment": self.commitment * functional.mse_loss(bounded, values)}
        # p(bit | x) from softmax over both values of a bit of temperature * x * value factorises over components.
        each, mean = bit_entropies(2 * self.temperature * self.scale * bounded)
        losses["entropy"] = self.entropy * (each - self.diversity * mean)
        return values + (bounded - bounded.detach()), codes, losses, None

    def export(self) -> Tables:
        """One threshold, 0, and two values a component."""
        from siglum.quantizers.tables_export import export_levels

        values = torch.tensor([-self.scale, self.scale])
        zero = torch.zeros(1, dtype=torch.float64)
        return export_levels([zero] * self.dim, [values] * self.dim, self.digits.separate, upper=False)


@QUANTIZERS.register("lookup-free")
class LookupFreeQuantizer(_Signs):
    """LFQ: a vector becomes its signs, +-1 (Yu et al., Language Model Beats Diffusion, 2023).

    Losses: ``commitment = weight |x - q|^2`` and ``entropy = weight (E H(code | x) - diversity H(E code))``. With
    p(bit | x) = sigmoid(2 temperature x) both are sums over bits: the first exactly, the second as the upper bound
    that takes bits as independent, so that nothing of size 2^dim is held.

    Parameters
    ----------
    dim
        Components, bits of a code; at most 62 unless separate.
    separate
        One binary code a component instead of one of all.
    entropy, diversity, commitment
        Weights of the losses.
    temperature
        Of p(bit | x).

    Examples
    --------
    >>> import torch
    >>> quantizer = LookupFreeQuantizer(dim=3)
    >>> codes = quantizer.encode(torch.tensor([[0.5, -2.0, 1.0]]))
    >>> int(codes), quantizer.decode(codes).tolist()
    (5, [[1.0, -1.0, 1.0]])
    """

    name = "lookup-free"

    def __init__(
        self,
        dim: int = 10,
        *,
        separate: bool = False,
        entropy: float = 0.1,
        diversity: float = 1.0,
        commitment: float = 0.25,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(dim, separate, entropy, diversity, commitment, temperature)


@QUANTIZERS.register("spherical")
class SphericalQuantizer(_Signs):
    """BSQ: a vector is scaled to length 1, and becomes its signs over sqrt(dim) (Zhao et al., 2024).

    The error of a unit vector is bounded by ``sqrt(2 - 2 / sqrt(dim))``. Values have length 1: the length of x
    is not coded. Losses as in `LookupFreeQuantizer`, of the scaled vector.

    Parameters
    ----------
    dim
        Components, bits of a code; at most 62 unless separate.
    separate, entropy, diversity, commitment, temperature
        As in `LookupFreeQuantizer`.

    Examples
    --------
    >>> import torch
    >>> quantizer = SphericalQuantizer(dim=4)
    >>> quantizer(torch.tensor([[3.0, -4.0, 1.0, 0.5]])).values.tolist()
    [[0.5, -0.5, 0.5, 0.5]]
    """

    name = "spherical"

    def __init__(
        self,
        dim: int = 18,
        *,
        separate: bool = False,
        entropy: float = 0.1,
        diversity: float = 1.0,
        commitment: float = 0.0,
        temperature: float = 100.0,
    ) -> None:
        super().__init__(dim, separate, entropy, diversity, commitment, temperature)

    @staticmethod
    def _scale(dim: int) -> float:
        return float(dim**-0.5)

    def _bound(self, x: Tensor) -> Tensor:
        return functional.normalize(x, dim=1)


def bit_entropies(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Of independent bits with logits (N, D): mean entropy of the vectors' bits, entropy of the mean bits; bits."""
    p = torch.sigmoid(logits)
    return _entropy(p).sum(1).mean(), _entropy(p.mean(0)).sum()


def _entropy(p: Tensor) -> Tensor:
    p = p.clamp(1e-7, 1 - 1e-7)
    return -(p * p.log2() + (1 - p) * (1 - p).log2())
