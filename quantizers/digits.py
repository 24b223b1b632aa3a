"""Levels of components as codes: one code a component, or all in one number (mixed radix, the first one fastest)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Mixed:
    """Digits of given sizes <-> codes.

    Parameters
    ----------
    sizes
        Levels of each component.
    separate
        One code a component instead of one of all.

    Attributes
    ----------
    sizes
        Sizes of the codes.
    """

    def __init__(self, sizes: tuple[int, ...], separate: bool) -> None:
        total = math.prod(sizes)
        if not separate and total > 2**62:
            raise ValueError(f"levels make {total} codes, wanted at most 2^62: use separate codes")
        self.radix, self.separate = sizes, separate
        self.sizes = sizes if separate else (total,)

    def join(self, digits: Tensor) -> Tensor:
        """Codes (N, S) of digits (N, D)."""
        if self.separate:
            return digits
        return (digits * self._weights(digits)).sum(1, keepdim=True)

    def split(self, codes: Tensor) -> Tensor:
        """Digits (N, D) of codes (N, S'); components without a code are 0."""
        if self.separate:
            missing = len(self.radix) - codes.shape[1]
            return torch.nn.functional.pad(codes, (0, missing))
        radix = torch.tensor(self.radix, device=codes.device)
        return codes.div(self._weights(codes), rounding_mode="floor") % radix

    def known(self, codes: Tensor) -> int:
        """Components that codes (N, S') tell."""
        return codes.shape[1] if self.separate else len(self.radix)

    def _weights(self, like: Tensor) -> Tensor:
        weights = [math.prod(self.radix[:i]) for i in range(len(self.radix))]
        return torch.tensor(weights, device=like.device)


def by_thresholds(x: Tensor, thresholds: list[Tensor]) -> Tensor:
    """Levels of components: how many of a component's thresholds are at most its value, (N, D) -> int64 (N, D)."""
    levels = [
        torch.searchsorted(edges, x[:, i].contiguous(), right=True) for i, edges in enumerate(thresholds)
    ]
    return torch.stack(levels, 1)
