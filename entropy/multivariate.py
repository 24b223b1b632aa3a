"""Vectors under a multivariate Gaussian in Cholesky form: one scalar symbol a component, no search, no network.

With ``Sigma = L D L^T`` (L unit lower triangular) the components of ``y ~ N(mu, Sigma)`` are independent once
each is centred by ``m_i = mu_i + sum_{j<i} L_ij e_j``, where ``e_j = y_j - m_j`` is known from before; see Golub
and Van Loan, Matrix Computations, section 4.1. mu and L are int32 with 16 fraction bits, sums are int64.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.entropy.fractional import fractional_tables
from siglum.entropy.gaussian import gaussian_tables, scale_index
from siglum.entropy.gaussian_bank import LEVELS
from siglum.entropy.models import MODELS, Example, Model, Shape, TableStep, as_finite, as_integers, as_shape
from siglum.errors import UsageError
from siglum.kernels.dispatch import isa, threads

SHIFT = 16
"""Fraction bits of mu and L."""

MAX_DIMENSION = 16

_MAX_FIXED = 2**31 - 1
_MAX_INTEGER = 2**24
_FIT_VECTORS = 2**16

Context = tuple[ArrayLike | None, ArrayLike | None, ArrayLike | None]


@MODELS.register("multivariate")
class MultivariateGaussian(Model):
    """N(mu, L D L^T) over vectors of 1 to 16 components, real or integer.

    *Real* vectors are quantised: ``k_i = floor(y_i - m_i + 1/2)`` with ``e_j = k_j``, so that what is decoded,
    ``mu + L k``, differs from y by at most 1/2 in each component. *Integer* vectors are kept: their residuals
    ``e_j`` have 8 fraction bits and their tables fractional means.

    The context is ``(mean, factors, scales)``, one row a vector, as an integer network predicts them; a part
    that is None, or has a single row, is the same for all vectors. Symbols have shape (..., d) and the context
    (..., d), (..., d (d - 1) / 2), (..., d). Transposed views of component-first arrays are used in place.

    Parameters
    ----------
    mean : int array, shape (d,), 16 fraction bits
    factors : int array, shape (d (d - 1) / 2,), 16 fraction bits
        L below its diagonal: L_10, L_20, L_21, L_30 and so on.
    scales : int array, shape (d,), 0 to 63
        Numbers of the scales of ``sqrt(D_ii)``, see `siglum.entropy.scale_index`.
    integer : bool
        Whether vectors are integer.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.normal(size=(1000, 1)) * 8 + rng.normal(size=(1000, 2))
    >>> model = MultivariateGaussian.fit(y)
    >>> data = model.encode(y)
    >>> decoded = model.decode(data, shape=y.shape)
    >>> float(np.abs(decoded - y).max()) < 0.50002
    True
    >>> alone = MultivariateGaussian.fit(y, correlated=False)
    >>> bool(alone.bits(y) - model.bits(y) > 2000)
    True
    """

    name = "multivariate"

    def __init__(self, mean: ArrayLike, factors: ArrayLike, scales: ArrayLike, integer: bool = False) -> None:
        self.mean = as_integers(mean, "means", -_MAX_FIXED, _MAX_FIXED)
        self.factors = as_integers(factors, "factors", -_MAX_FIXED, _MAX_FIXED)
        self.scales = as_integers(scales, "scales", 0, LEVELS - 1).astype(np.uint8)
        self.integer = bool(integer)
        d = self.mean.size
        if not 1 <= d <= MAX_DIMENSION or self.mean.shape != (d,) or self.scales.shape != (d,):
            raise UsageError(f"mean and scales must have shape (d,) with d from 1 to {MAX_DIMENSION}")
        if self.factors.shape != (d * (d - 1) // 2,):
            raise UsageError(f"{d} components need {d * (d - 1) // 2} factors, not {self.factors.shape}")

    @classmethod
    def fit(cls, data: Any, *, correlated: bool = True, **options: Any) -> MultivariateGaussian:
        """Fit mu, L and D to vectors.

        Parameters
        ----------
        data : float or int array, shape (N, d), N >= 2
            Integer arrays make a model of integer vectors; floats are in quantization steps.
        correlated : bool
            False keeps L the identity: components are coded independently.
        """
        if options:
            raise UsageError(f"MultivariateGaussian.fit takes no {', '.join(options)}")
        raw = np.asarray(data)
        values = as_finite(raw, "data")
        if values.ndim != 2 or len(values) < 2 or not 1 <= values.shape[1] <= MAX_DIMENSION:
            raise UsageError(f"data must be of shape (N, d), N >= 2, d from 1 to {MAX_DIMENSION}")
        integer = raw.dtype.kind in "iu"
        mean = values.mean(axis=0)
        covariance = np.atleast_2d(np.cov(values, rowvar=False))
        factors, variances = _cholesky(covariance)
        if not correlated:
            factors, variances = np.zeros_like(factors), np.diag(covariance)
        spread = np.sqrt(np.maximum(variances - integer / 12, 0))
        model = cls(_fixed(mean), _fixed(factors), scale_index(spread), integer)
        model.scales = model._cheapest_scales(raw[:_FIT_VECTORS])
        return model

    def _cheapest_scales(self, data: NDArray[Any]) -> NDArray[np.uint8]:
        """Scales near the present ones that cost fewest bits: rounding widens what was estimated."""
        scales = self.scales.copy()
        unit = 16 if self.integer else 1
        for i, step in enumerate(self.steps(data)):
            costs, own = {}, int(self.scales[i])
            for scale in range(max(0, own - 4), min(LEVELS, own + 5)):
                indexes = np.asarray(step.indexes, dtype=np.int32) + unit * (scale - own)
                costs[scale] = step.tables.bits(step.symbols, indexes)
            scales[i] = min(costs, key=lambda scale: costs[scale])
        return scales

    @property
    def dimension(self) -> int:
        """Components of a vector."""
        return len(self.mean)

    def residuals(self, values: ArrayLike, context: Context | None = None) -> NDArray[np.int32]:
        """The coded integers k of real vectors; shape (..., d)."""
        y = self._rows(as_finite(values, "values"))
        mean, factors, _ = self._prior(context, y.shape[1])
        return self._residuals(y, mean, factors).T.reshape(np.shape(values))

    def values(self, coded: ArrayLike, context: Context | None = None) -> NDArray[np.float64]:
        """Real vectors ``mu + L k`` of coded integers; exact, since they have 16 fraction bits."""
        k = self._rows(as_integers(coded, "coded residuals", -(2**31), _MAX_FIXED))
        mean, factors, _ = self._prior(context, k.shape[1])
        return self._values(k, mean, factors).reshape(np.shape(coded))

    def reconstruct(self, symbols: Any, context: Any = None) -> NDArray[Any]:
        """What decoding gives: integers as they are, real vectors quantised."""
        if self.integer:
            return np.asarray(symbols)
        return self.values(self.residuals(symbols, context), context)

    def steps(self, symbols: Any, context: Any = None) -> Iterator[TableStep]:
        """One step a component, all vectors at once."""
        if self.integer:
            y: NDArray[Any] = self._rows(as_integers(symbols, "symbols", -_MAX_INTEGER, _MAX_INTEGER))
        else:
            y = self._rows(as_finite(symbols, "values"))
        mean, factors, scales = self._prior(context, y.shape[1])
        if self.integer:
            coded = np.empty(y.shape, np.int32)
            fractions = np.empty(y.shape, np.int8)
            _kernels().multivariate_residuals_integer(isa(), y, mean, factors, coded, fractions, threads())
            for i in range(len(y)):
                yield TableStep(coded[i], fractional_tables(), _fractional(scales[i], fractions[i]))
        else:
            coded = self._residuals(y, mean, factors)
            for i in range(len(y)):
                yield TableStep(coded[i], gaussian_tables(), _whole(scales[i]))

    def pull(self, decoder: Any, shape: Shape | None = None, context: Any = None) -> NDArray[Any]:
        """Decode vectors: float64 (exact, 16 fraction bits) or int32, shape (..., d)."""
        full = as_shape(shape, self._shape_of(context))
        if not full or full[-1] != self.dimension:
            raise UsageError(f"vectors have {self.dimension} components: shape {full} does not fit")
        count = int(np.prod(full[:-1], dtype=np.int64))
        mean, factors, scales = self._prior(context, count)
        coded = np.empty((self.dimension, count), np.int32)
        if not self.integer:
            for i in range(self.dimension):
                decoder.decode(gaussian_tables(), _whole(scales[i]), out=coded[i])
            return self._values(coded, mean, factors).reshape(full)
        kernels, name, team = _kernels(), isa(), threads()
        residuals, result = np.empty_like(coded), np.empty_like(coded)
        shifts, fractions = np.empty(count, np.int32), np.empty(count, np.int8)
        for i in range(self.dimension):
            kernels.multivariate_predict_integer(name, i, residuals, mean, factors, shifts, fractions, team)
            decoder.decode(fractional_tables(), _fractional(scales[i], fractions), out=coded[i])
            kernels.multivariate_settle_integer(i, residuals, shifts, coded[i], result[i], team)
        return np.ascontiguousarray(result.T).reshape(full)

    def config(self) -> dict[str, Any]:
        """``integer``."""
        return {"integer": self.integer}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """``mean`` and ``factors`` int32, ``scales`` uint8."""
        return {"mean": self.mean, "factors": self.factors, "scales": self.scales}

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> MultivariateGaussian:
        """Make the model again."""
        return cls(tensors["mean"], tensors["factors"], tensors["scales"], bool(config["integer"]))

    @classmethod
    def example(cls, seed: int, count: int) -> Example:
        """Real vectors whose mean, factors and scales are predicted for each."""
        rng = np.random.default_rng(seed)
        mean = rng.integers(-(2**20), 2**20, (count, 4), dtype=np.int32)
        factors = rng.integers(-(2**16), 2**16, (count, 6), dtype=np.int32)
        scales = rng.integers(0, LEVELS, (count, 4)).astype(np.uint8)
        model = cls(np.zeros(4, np.int32), np.zeros(6, np.int32), np.full(4, 30))
        coded = np.rint(rng.standard_normal((count, 4)) * 0.11 * (64 / 0.11) ** (scales / (LEVELS - 1)))
        symbols = model.values(coded.astype(np.int32), (mean, factors, scales))
        return Example(model, symbols + rng.uniform(-0.4, 0.4, symbols.shape), (mean, factors, scales))

    def _rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """Component first: (d, n), without a copy if the array is a transposed view of that."""
        if values.ndim == 0 or values.shape[-1] != self.dimension:
            raise UsageError(f"vectors have {self.dimension} components: shape {values.shape} does not fit")
        return np.ascontiguousarray(values.reshape(-1, self.dimension).T)

    def _shape_of(self, context: Context | None) -> tuple[int, ...] | None:
        shapes = [np.shape(part) for part in context or () if part is not None]
        leading = next((shape[:-1] for shape in shapes if len(shape) > 1), None)
        return None if leading is None else (*leading, self.dimension)

    def _prior(
        self, context: Context | None, count: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8]]:
        """Mean, factors and scales, component first, with one column or one a vector."""
        d = self.dimension
        given = (None, None, None) if context is None else tuple(context)
        if len(given) != 3:
            raise UsageError("the context is (mean, factors, scales)")
        widths, limits = (d, d * (d - 1) // 2, d), ((-_MAX_FIXED, _MAX_FIXED),) * 2 + ((0, LEVELS - 1),)
        rows = []
        for part, own, width, (low, high), what in zip(
            given,
            (self.mean, self.factors, self.scales),
            widths,
            limits,
            ("means", "factors", "scales"),
            strict=True,
        ):
            values = np.asarray(own if part is None else part)
            if not (values.dtype == np.int32 and high == _MAX_FIXED) and part is not None:
                values = as_integers(values, what, low, high)
            if values.ndim == 0 or values.shape[-1] != width:
                raise UsageError(f"{what} of shape {values.shape} do not fit {d} components")
            flat = values.reshape(-1, width) if width else values.reshape(1, 0)
            if len(flat) not in (1, count):
                raise UsageError(f"{what} for {len(flat)} vectors do not fit {count} vectors")
            rows.append(np.ascontiguousarray(flat.T))
        return rows[0], rows[1], rows[2].astype(np.uint8, copy=False)

    def _residuals(
        self, y: NDArray[np.float64], mean: NDArray[np.int32], factors: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        coded = np.empty(y.shape, np.int32)
        if not _kernels().multivariate_residuals(isa(), y, mean, factors, coded, threads()):
            raise UsageError(f"values must be below {_MAX_INTEGER} in magnitude and near their means")
        return coded

    def _values(
        self, coded: NDArray[np.int32], mean: NDArray[np.int32], factors: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        fixed = np.empty(coded.shape, np.int64)
        _kernels().multivariate_reconstruct(isa(), coded, mean, factors, fixed, threads())
        return np.ascontiguousarray((fixed * 2.0**-SHIFT).T)


def _cholesky(covariance: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """L below its diagonal, row by row, and D; directions without variance get no factors."""
    d = len(covariance)
    lower, variances = np.eye(d), np.zeros(d)
    floor = 1e-9 * max(float(np.trace(covariance)), 1e-9)
    for i in range(d):
        for j in range(i):
            rest = covariance[i, j] - (lower[i, :j] * variances[:j] * lower[j, :j]).sum()
            lower[i, j] = rest / variances[j] if variances[j] > floor else 0.0
        variances[i] = covariance[i, i] - (lower[i, :i] ** 2 * variances[:i]).sum()
    return lower[np.tril_indices(d, -1)], np.maximum(variances, 0)


def _fixed(values: NDArray[np.float64]) -> NDArray[np.int64]:
    fixed = np.rint(values * 2.0**SHIFT)
    if fixed.size and np.abs(fixed).max() > _MAX_FIXED:
        raise UsageError(f"means and factors must be below {2 ** (31 - SHIFT)} in magnitude")
    return fixed.astype(np.int64)


def _whole(scales: NDArray[np.uint8]) -> Any:
    return int(scales[0]) if len(scales) == 1 else scales


def _fractional(scales: NDArray[np.uint8], fractions: NDArray[np.int8]) -> NDArray[np.uint16]:
    return (scales.astype(np.int16) * 16 + 8 + fractions).astype(np.uint16)


def _kernels() -> Any:
    from siglum.kernels import _native

    return _native
