"""Scalar quantization: uniform steps, with a dead zone or against a table of rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siglum.quantizers import checks
from siglum.quantizers.base import Quantizer
from siglum.quantizers.digits import by_thresholds
from siglum.quantizers.names import QUANTIZERS

if TYPE_CHECKING:
    from siglum.quantizers.tables import Tables


@QUANTIZERS.register("scalar")
class ScalarQuantizer(Quantizer):
    """One code a component, which decodes to ``(code - limit) * step``.

    ``code - limit = sign(x) floor(|x| / step + rounding)``: with rounding 1/2 the nearest multiple, with less a dead
    zone around 0 (1/3 and 1/6 are what video encoders use). `optimise` replaces that by what is best for a rate:
    rate-distortion optimised quantization, as a choice of thresholds, so that it costs no time.

    Parameters
    ----------
    dim
        Components.
    step
        Difference of neighbouring values.
    limit
        Largest code's multiple: 2 limit + 1 codes.
    rounding
        0 to 1/2, what is added before rounding down.
    noise
        Whether values in training are x plus uniform noise of one step (Ballé et al., 2017) instead of rounded
        with a straight-through gradient. Codes, and values in evaluation, are not changed by it.

    Examples
    --------
    >>> import torch
    >>> quantizer = ScalarQuantizer(dim=3, step=0.5, limit=7, rounding=1 / 3)
    >>> codes = quantizer.encode(torch.tensor([0.3, -1.4, 0.9]))
    >>> codes.tolist(), quantizer.decode(codes).tolist()
    ([7, 4, 9], [0.0, -1.5, 1.0])
    """

    name = "scalar"

    edges: Tensor

    def __init__(
        self,
        dim: int,
        step: float = 1.0,
        limit: int = 127,
        *,
        rounding: float = 0.5,
        noise: bool = False,
    ) -> None:
        checks.integer(limit, 1, 2**15 - 1, "limit")
        checks.integer(dim, 1, None, "dim")
        if not 0 < step < float("inf"):
            raise ValueError(f"step is {step!r}, wanted a positive number")
        if not 0 <= rounding <= 0.5:
            raise ValueError(f"rounding is {rounding!r}, wanted 0 to 1/2")
        settings = {"dim": dim, "step": step, "limit": limit, "rounding": rounding, "noise": noise}
        super().__init__(dim, (2 * limit + 1,) * dim, settings)
        self.step_size, self.limit, self.noise = float(step), limit, noise
        ends = (torch.arange(1, limit + 1, dtype=torch.float64) - rounding) * step
        edges = torch.cat([-ends.flip(0), ends]).float()
        self.register_buffer("edges", edges.expand(dim, -1).clone())

    def optimise(self, bits: Tensor, trade: float) -> None:
        """Encode from now on with the least ``(x - value)^2 + trade * bits[code]``, exactly.

        Of several levels' costs as functions of x, less x^2, each is a line: the least of them changes at
        thresholds, which are computed here once. Codes and decoding stay what they are.

        Parameters
        ----------
        bits : float (2 limit + 1,) or (dim, 2 limit + 1)
            Bits of each code; infinity forbids one.
        trade
            Squared units that a bit is worth, 0 or more. At high rate 2 ln 2 / 12 step^2 = 0.1155 step^2 suits it.

        Raises
        ------
        ValueError
            If ``bits`` has another shape, NaN, or forbids all codes of a component.
        """
        count = 2 * self.limit + 1
        table = np.asarray(bits.detach().cpu(), np.float64)
        if table.shape not in ((count,), (self.dim, count)):
            raise ValueError(f"bits has shape {table.shape}, wanted ({count},) or ({self.dim}, {count})")
        if np.isnan(table).any() or (table < 0).any() or not np.isfinite(table).any(-1).all():
            raise ValueError(f"bits of shape {table.shape} has NaN, negative values or no finite one")
        if not 0 <= trade < float("inf"):
            raise ValueError(f"trade is {trade!r}, wanted 0 or more")
        values = (np.arange(count) - self.limit) * self.step_size
        rows = [_envelope(values, values**2 + trade * row) for row in np.atleast_2d(table)]
        self.edges.copy_(torch.from_numpy(np.array(rows, np.float32)).expand(self.dim, -1))

    def _encode(self, x: Tensor, stages: int, beam: int) -> Tensor:
        return by_thresholds(x[:, :stages], list(self.edges[:stages]))

    def _decode(self, codes: Tensor) -> Tensor:
        known = (codes - self.limit) * self.step_size
        return torch.nn.functional.pad(known.float(), (0, self.dim - codes.shape[1]))

    def _train(self, x: Tensor, share: int) -> tuple[Tensor, Tensor, dict[str, Tensor], None]:
        codes = self._encode(x.detach(), self.dim, 1)
        if self.training and self.noise:
            return x + self.step_size * (torch.rand_like(x) - 0.5), codes, {}, None
        return self._decode(codes) + (x - x.detach()), codes, {}, None

    def export(self) -> Tables:
        """Thresholds and values of each component."""
        from siglum.quantizers.tables_export import export_levels

        values = ((torch.arange(2 * self.limit + 1) - self.limit) * self.step_size).float()
        return export_levels(list(self.edges.cpu()), [values] * self.dim, separate=True)


def _envelope(values: NDArray[Any], costs: NDArray[Any]) -> NDArray[np.float64]:
    """Thresholds (L - 1,) between the levels with the least ``cost - 2 x value``; a level without x has none."""
    best: list[int] = []  # levels on the lower envelope, from left to right
    ends: list[float] = []  # where each of them begins
    for level in np.flatnonzero(np.isfinite(costs)).tolist():
        begin = -np.inf
        while best:
            last = best[-1]
            begin = float((costs[level] - costs[last]) / (2 * (values[level] - values[last])))
            if begin > ends[-1]:
                break
            best.pop(), ends.pop()
            begin = -np.inf
        best.append(level)
        ends.append(begin)
    edges = np.full(len(values) - 1, np.inf)
    for level, begin in zip(reversed(best), reversed(ends), strict=True):
        edges[:level] = np.minimum(edges[:level], begin)
    return edges
