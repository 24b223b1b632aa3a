"""Transforms from moments: of many documents for a calibration, of one cache for the mode without."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.calibration import pack_weight, unpack_weight
from siglum.codecs.kv.packing import column_steps
from siglum.codecs.kv.scales import UNITS_A_TABLE, units_of, value_of
from siglum.codecs.kv.transform import Transform

Doubles = NDArray[np.float64]

METRIC_SHRINKAGE = 0.1  # towards equal weights in a head: what few gradients say of small directions is noise
COVARIANCE_SHRINKAGE = (
    0.001  # of the mean variance, on all directions: other domains use what these documents do not
)
WEIGHT = 16.0  # brings steps of usual quality into the range of levels


def weight_of(metric: Doubles) -> NDArray[np.float32]:
    """Square roots (blocks, size, size) of metrics, shrunk and rounded as a calibration's file holds them.

    Parameters
    ----------
    metric
        (blocks, size, size): the second moment of the gradients of log probabilities, summed over the tokens of a
        context and averaged over the tokens that look back at it. Half the trace of its product with the errors'
        covariance is the divergence that they cause.
    """
    blocks, size, _ = metric.shape
    energy = np.trace(metric, axis1=1, axis2=2)[:, None, None] / size
    energy = np.maximum(energy, energy.mean() * 1e-3 + 1e-30)
    shrunk = (1 - METRIC_SHRINKAGE) * metric + METRIC_SHRINKAGE * energy * np.eye(size)
    values, vectors = np.linalg.eigh(shrunk)
    root = (vectors * np.sqrt(values)[:, None, :]) @ vectors.transpose(0, 2, 1) * WEIGHT
    return unpack_weight(*pack_weight(root.astype(np.float32)), blocks, size)


def weighted(weight: NDArray[np.float32] | None, covariance: Doubles) -> Doubles:
    """A covariance (width, width) in the weighted domain."""
    if weight is None:
        return covariance
    if weight.ndim == 1:
        return covariance * weight[:, None] * weight
    blocks, size, _ = weight.shape
    rows = (weight.astype(np.float64) @ covariance.reshape(blocks, size, -1)).reshape(covariance.shape)
    return (weight.astype(np.float64) @ rows.T.reshape(blocks, size, -1)).reshape(covariance.shape)


def fit_transform(
    mean: Doubles,
    covariance: Doubles,
    weight: NDArray[np.float32] | None,
    *,
    floor: int,
    fineness: int,
    shrinkage: float = COVARIANCE_SHRINKAGE,
    whole: bool = False,
) -> Transform:
    """The Karhunen-Loève transform of a mean and a covariance, its basis rounded as it will be stored.

    Parameters
    ----------
    mean, covariance
        (width,) and (width, width).
    weight
        As in `Transform`.
    floor
        Logarithm in units of the deviation below which components are left out.
    fineness
        How finely the basis is rounded, see `siglum.codecs.kv.packing.column_steps`.
    shrinkage
        Share of the mean variance that is added to all directions.
    whole
        Round scales to whole tables.
    """
    matrix = weighted(weight, covariance)
    width = len(mean)
    ridge = shrinkage * np.trace(matrix) / width
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = np.maximum(values[::-1], 0) + ridge, vectors[:, ::-1]
    scale = units_of(np.sqrt(values))
    if whole:
        scale = (scale + UNITS_A_TABLE // 2) // UNITS_A_TABLE * UNITS_A_TABLE
    rank = int(np.count_nonzero((scale >= floor) & (values > 1e-12 * values[0])))
    scale, vectors = scale[:rank], vectors[:, :rank]
    steps = value_of(column_steps(scale, width, fineness))
    rounded = np.rint(vectors / steps) * steps
    # Columns that rounding has emptied, or turned into others, carry nothing of their own.
    alive = np.square(rounded).sum(axis=0) > 0.25
    basis = np.ascontiguousarray(rounded[:, alive], np.float32)
    return Transform(mean.astype(np.float32), basis, scale[alive].astype(np.int32), weight)
