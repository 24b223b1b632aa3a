"""Finite scalar quantization: every component is squashed and rounded to a few levels; nothing is learned here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from siglum.quantizers import checks
from siglum.quantizers.base import Quantizer
from siglum.quantizers.digits import Mixed, by_thresholds
from siglum.quantizers.names import QUANTIZERS

if TYPE_CHECKING:
    from siglum.quantizers.tables import Tables


@QUANTIZERS.register("finite")
class FiniteScalarQuantizer(Quantizer):
    """FSQ: one code of prod(levels) values, or one code a component (Mentzer et al., 2023).

    A component z with L levels has the level ``round((L tanh z + L - 1) / 2)``, 0 to L - 1, and decodes to L evenly
    spaced values in [-1, 1]. (The symmetric form: all levels are equally wide in tanh z, for odd and even L.) No
    codebook, no losses, no collapse; the gradient is that of tanh, through the rounding.

    Parameters
    ----------
    levels
        Levels of each component, 2 or more; the dimension is their number. [8, 5, 5, 5] makes 1000 codes,
        [8, 8, 8, 5, 5, 5] 64,000.
    separate
        One code a component, for entropy coders with a model for each; else one code of all of them.

    Examples
    --------
    >>> import torch
    >>> quantizer = FiniteScalarQuantizer([8, 5, 5, 5])
    >>> x = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    >>> result = quantizer(x)
    >>> quantizer.sizes, result.usage.fraction[0] > 0.5
    ((1000,), True)
    >>> bool((quantizer.decode(result.codes) == result.values).all())
    True
    """

    name = "finite"

    levels: Tensor

    def __init__(self, levels: Sequence[int] = (8, 5, 5, 5), *, separate: bool = False) -> None:
        for level in levels:
            checks.integer(level, 2, 2**16, "levels")
        self.digits = Mixed(tuple(levels), separate)
        settings = {"levels": list(levels), "separate": separate}
        super().__init__(len(levels), self.digits.sizes, settings)
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.float32), persistent=False)

    def bound(self, x: Tensor) -> Tensor:
        """Components squashed to [-1/2, L - 1/2], whose rounding is the level."""
        return (self.levels * torch.tanh(x) + self.levels - 1) / 2

    def thresholds(self) -> list[Tensor]:
        """Where a component passes from one level to the next, each float32 (L - 1,): ``atanh(2 k / L - 1)``."""
        device = self.levels.device
        edges = [torch.arange(1, int(level), dtype=torch.float64) / level for level in self.levels.tolist()]
        return [torch.atanh(2 * edge - 1).float().to(device) for edge in edges]

    def _levels(self, x: Tensor) -> Tensor:
        # By thresholds: the codes do not depend on how a machine computes tanh.
        return by_thresholds(x, self.thresholds())

    def _values(self, level: Tensor) -> Tensor:
        return 2 * level / (self.levels - 1) - 1

    def _encode(self, x: Tensor, stages: int, beam: int) -> Tensor:
        return self.digits.join(self._levels(x))[:, :stages]

    def _decode(self, codes: Tensor) -> Tensor:
        known = self.digits.split(codes)
        values = self._values(known.float())
        return torch.where(
            torch.arange(self.dim, device=codes.device) < self.digits.known(codes), values, 0.0
        )

    def _train(self, x: Tensor, share: int) -> tuple[Tensor, Tensor, dict[str, Tensor], None]:
        bounded, level = self.bound(x), self._levels(x.detach())
        slope = self._values(bounded)
        values = self._values(level.float()) + (slope - slope.detach())
        return values, self.digits.join(level), {}, None

    def export(self) -> Tables:
        """Thresholds and values of each component."""
        from siglum.quantizers.tables_export import export_levels

        levels = [torch.arange(int(level), dtype=torch.float32) for level in self.levels.tolist()]
        values = [2 * level / (len(level) - 1) - 1 for level in levels]
        return export_levels(self.thresholds(), values, self.digits.separate)


def levels_for(bits: int) -> list[int]:
    """Levels that the paper recommends for about 2^bits codes (its section 4.1 and table), bits from 4 to 16.

    Raises
    ------
    ValueError
        If bits is outside.
    """
    checks.integer(bits, 4, 16, "bits")
    known = {
        4: [5, 3], 5: [6, 5], 6: [8, 8], 7: [5, 5, 5], 8: [8, 6, 5], 9: [8, 8, 8], 10: [8, 5, 5, 5],
        11: [8, 8, 6, 5], 12: [7, 5, 5, 5, 5], 13: [8, 8, 5, 5, 5], 14: [8, 8, 8, 6, 5], 15: [8, 8, 8, 8, 8],
        16: [8, 8, 8, 5, 5, 5],
    }  # fmt: skip
    levels = known[bits]
    assert abs(math.log2(math.prod(levels)) - bits) < 0.6
    return levels
