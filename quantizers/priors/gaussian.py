"""The float twin of `siglum.entropy.codebook.CodebookGaussian`: bits with gradients."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from siglum.entropy.codebook import CodebookGaussian
from siglum.entropy.codebook_fit import SCALES, UNIT
from siglum.quantizers import checks

OCTAVE = 8
"""Scale numbers in a factor of two."""

_LIMIT = 2**15 - 1
_SCORES = 2**21


class CodewordGaussian(nn.Module):
    """P(k) in proportion to ``w_k exp(-|(c_k - mean) / sigma|^2 / 2)``, sigma along the codebook's principal axes.

    Means and scales are rounded to the integer model's grids on the way forward, and the rounding has the gradient of
    the identity, so that training sees the rates that coding will have.

    Parameters
    ----------
    vectors : float (K, D)
        The codewords, K to 65,536, D to 64. They are taken as fixed: make a new twin when they have changed.

    Attributes
    ----------
    logs : parameter (K,)
        Natural logarithms of w.
    points : float64 (K, D)
        Codewords in grid units, in the rotated frame: whole numbers.

    Raises
    ------
    ValueError
        If the codewords are no finite matrix of those sizes.
    """

    points: Tensor
    rotation: Tensor

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        words = torch.as_tensor(vectors).detach()
        if words.ndim != 2:
            raise ValueError(f"vectors has shape {checks.shape_of(words)}, wanted (K, D)")
        checks.vectors(words, words.shape[1], "vectors")
        self._words = words.double().cpu().numpy()
        model = CodebookGaussian.fit(self._words)
        stored = model.tensors()
        points = np.empty(self._words.shape)
        points[stored["order"]] = stored["points"]
        self.step = model.step
        self.register_buffer("points", torch.from_numpy(points))
        self.register_buffer("rotation", torch.from_numpy(model.rotation.copy()))
        self.logs = nn.Parameter(torch.zeros(len(points), dtype=torch.float64))

    def frame(self, mean: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Grid units of a mean (..., D) in the codebook's own frame and deviations (..., D) in the rotated one.

        Returns
        -------
        mean : float64 (..., D)
        scale : float64 (..., D)
            Scale numbers, not rounded yet.
        """
        middle = mean.double() @ self.rotation / self.step
        return middle, OCTAVE * torch.log2((sigma.double() / self.step).clamp_min(1e-9) / UNIT)

    def bits(self, indices: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """Bits (N,) of codewords, differentiable in the context and in ``logs``.

        Parameters
        ----------
        indices : int64 (N,)
        mean : float (N, D)
            In grid units, rotated: see `frame`.
        scale : float (N, D)
            Scale numbers.
        """
        rows = max(1, _SCORES // len(self.points))
        parts = zip(indices.split(rows), mean.split(rows), scale.split(rows), strict=True)
        return torch.cat([checkpoint(self._bits, *part, use_reentrant=False) for part in parts])

    def _bits(self, indices: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        middle = through_round(mean.double().clamp(-_LIMIT - 1, _LIMIT))
        number = through_round(scale.double().clamp(0, SCALES - 1))
        inverse = (UNIT * torch.exp2(number / OCTAVE)) ** -2
        squares = inverse @ self.points.square().T - 2 * (middle * inverse) @ self.points.T
        logs = (self.logs - squares / 2).log_softmax(-1)
        return -logs.gather(-1, indices[:, None])[:, 0] / np.log(2.0)

    def integer(self) -> CodebookGaussian:
        """The model that codes, with these weights; it needs no torch."""
        logs = self.logs.detach().cpu().numpy()
        model = CodebookGaussian.fit(self._words, weights=np.exp(logs - logs.max()).clip(1e-80))
        assert np.array_equal(model.rotation, self.rotation.cpu().numpy())
        return model


def through_round(x: Tensor) -> Tensor:
    """Round to integers, with the gradient of the identity."""
    return x + (x.round() - x).detach()
