"""Gradients through the choice of a codeword: functions (x, values) -> values that differ in the gradient alone."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from siglum.quantizers.names import ESTIMATORS

Estimator = Callable[[Tensor, Tensor], Tensor]


@ESTIMATORS.register("straight-through")
def straight_through(x: Tensor, values: Tensor) -> Tensor:
    """The values, with the gradient of the identity in x and none in the values.

    Bengio, Léonard and Courville, 2013. The sum is exact: what is added is 0, not ``values - x`` rounded.
    """
    return values.detach() + (x - x.detach())
