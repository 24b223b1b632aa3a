"""The linear transform of a group of layers: mean, weighting, decorrelation; exact scales of its components."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Transform:
    """What turns the keys, or the values, of a token in a group of layers into independent components.

    The distortion that matters is that of ``weight @ x``: errors of keys as queries see them, errors of values as the
    next layers do. There the basis is orthonormal but for its quantization, so that one step suits all components
    (reverse water-filling; Goyal, "Theoretical foundations of transform coding", 2001).

    Attributes
    ----------
    mean
        (width,) float32.
    basis
        (width, rank) float32: columns in the weighted domain, strongest first.
    scale
        (rank,) int32: logarithms of the components' standard deviations in units, see `siglum.codecs.kv.scales`.
    weight
        (blocks, size, size) float32, symmetric and positive: of each stretch of channels; or (width,) of each
        channel; or None.
    """

    mean: Floats
    basis: Floats
    scale: NDArray[np.int32]
    weight: Floats | None = None

    @property
    def rank(self) -> int:
        """How many components there are."""
        return int(self.basis.shape[1])

    @cached_property
    def synthesis(self) -> Floats:
        """(rank, width): a token is ``mean + components @ synthesis``."""
        return np.ascontiguousarray(self._weighted(self.basis, inverse=True).T)

    @cached_property
    def analysis(self) -> Floats:
        """(width, rank): components are ``(token - mean) @ analysis``, the nearest in the weighted domain."""
        # The dual of the basis as it was rounded: rounding then costs decorrelation, but never fidelity. The products
        # of its columns are nearly those of an orthonormal one, so single precision suffices.
        dual: Floats = self.basis @ np.linalg.inv(self.basis.T @ self.basis)
        return np.ascontiguousarray(self._weighted(dual, inverse=False))

    def weighted(self, rows: Floats) -> Floats:
        """Rows (n, width) of channels in the weighted domain."""
        return np.ascontiguousarray(self._weighted(rows.T, inverse=False).T)

    def unweighted(self, row: Floats) -> Floats:
        """The channels (width,) of a row in the weighted domain."""
        if self.weight is None or self.weight.ndim == 1:
            return np.ascontiguousarray(self._weighted(row[:, None], inverse=True)[:, 0])
        blocks, size, _ = self.weight.shape
        parts = np.linalg.solve(self.weight, row.reshape(blocks, size, 1))
        return parts.reshape(row.shape).astype(np.float32)

    def _weighted(self, columns: Floats, *, inverse: bool) -> Floats:
        if self.weight is None:
            return columns
        if self.weight.ndim == 1:
            factor: Floats = (1 / self.weight if inverse else self.weight).astype(np.float32)
            return columns * factor[:, None]
        blocks, size, _ = self.weight.shape
        matrix = np.linalg.inv(self.weight.astype(np.float64)) if inverse else self.weight
        parts: Floats = matrix.astype(np.float32) @ columns.reshape(blocks, size, -1)
        return parts.reshape(columns.shape)
