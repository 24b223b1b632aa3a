"""Codeword numbers under a Gaussian that is predicted for their vectors.

``P(k) ~ w_k exp(-(c_k - mu)^T Sigma^-1 (c_k - mu) / 2)`` over codewords c_k, with Sigma diagonal after a fixed
rotation. Everything after `CodebookGaussian.fit` is integers; docs/entropy-models.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.entropy import codebook_fit as fitting
from siglum.entropy.models import (
    MODELS,
    DirectStep,
    Example,
    Model,
    Shape,
    as_finite,
    as_integers,
    as_shape,
)
from siglum.entropy.tables import MAX_ENTRIES
from siglum.errors import BitstreamError, UsageError
from siglum.kernels.dispatch import isa, threads

PRECISION = 15
BLOCK = 2048
"""Vectors whose cells, and then whose members, are one step of the coder."""

MAX_CODEWORDS = 2**16
MAX_DIMENSION = 64

Context = tuple[ArrayLike, ArrayLike]

_TENSORS = {
    "order": np.int32,
    "points": np.int16,
    "bias": np.int32,
    "counts": np.int32,
    "centres": np.int16,
    "centre_bias": np.int32,
    "centre_rates": np.int16,
    "norms": np.int32,
    "mean": np.int16,
    "scale": np.uint8,
}


@MODELS.register("codebook")
class CodebookGaussian(Model):
    """Gaussian over the codewords of a vector quantizer: 1 to 65,536 words of up to 64 dimensions.

    Codewords are grouped into at most 256 cells of at most 256; above 256 words a symbol is coded as its cell
    and its member. The probability of a cell is the sum over its members where its centre is among the likely
    ones (within ``refine`` of the likeliest), and else that of a Gaussian widened by the members' spread.

    Symbols are codeword numbers, any shape (...). The context is ``(mean, scale)`` from `quantise_context` or
    an integer network: int16 grid coordinates in the rotated frame and numbers of scales, both (..., d) or
    (d,). Without a context the model's own are used.

    Build with `fit`, or with `restore` from stored tensors.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> codebook = rng.normal(size=(1024, 4))
    >>> model = CodebookGaussian.fit(codebook)
    >>> codes = rng.integers(0, 1024, 500)
    >>> predicted = codebook[codes] + rng.normal(size=(500, 4)) * 0.2
    >>> context = model.quantise_context(predicted, np.full(4, 0.2))
    >>> data = model.encode(codes, context)
    >>> bool((model.decode(data, context) == codes).all())
    True
    >>> len(data) < 500 * 3 / 8
    True
    """

    name = "codebook"

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
        try:
            self.refine = int(config["refine"])
            self.step = float(config["step"])
            self._tensors = {
                key: np.ascontiguousarray(tensors[key]).astype(dtype) for key, dtype in _TENSORS.items()
            }
            self.rotation = np.asarray(tensors["rotation"], dtype=np.float64)
        except KeyError as error:
            raise UsageError(f"a codebook model needs {error}") from None
        words, self.dimension = self._tensors["points"].shape
        order, counts = self._tensors["order"], self._tensors["counts"]
        if not np.array_equal(np.sort(order), np.arange(words)) or counts.sum() != words or counts.min() < 1:
            raise UsageError("the cells do not hold every codeword once")
        if counts.max() > MAX_ENTRIES or len(counts) > MAX_ENTRIES:
            raise UsageError(f"at most {MAX_ENTRIES} cells of at most {MAX_ENTRIES} codewords")
        self._first = np.cumsum(counts, dtype=np.int32) - counts
        self._position = np.argsort(order).astype(np.int32)
        self._cell_of = np.repeat(np.arange(len(counts), dtype=np.int32), counts)

    @classmethod
    def fit(
        cls,
        data: Any,
        *,
        codes: ArrayLike | None = None,
        context: tuple[ArrayLike, ArrayLike] | None = None,
        weights: ArrayLike | None = None,
        refine_bits: float | None = None,
        **options: Any,
    ) -> CodebookGaussian:
        """Prepare a codebook.

        Parameters
        ----------
        data : float array, shape (K, d), K up to 65,536, d up to 64
            The codewords.
        codes : int array, shape (N,), optional
            Codewords of training vectors, from which the weights w_k are fitted: they stand for the sizes of
            the codewords' regions.
        context : pair of float arrays, shape (N, d) or (d,), optional
            Means and standard deviations that were predicted for ``codes``.
        weights : float array, shape (K,), optional
            w_k, positive, instead of fitting them; by default all are equal.
        refine_bits : float, optional
            Cells whose centres are less likely than the likeliest by this factor (2**-bits) are not summed
            member by member: 0 is fastest and bad at sharp predictions, 10 saves time above 4,096 words or
            so. By default all are summed.
        """
        if options:
            raise UsageError(f"CodebookGaussian.fit takes no {', '.join(options)}")
        words = as_finite(data, "codewords")
        if (
            words.ndim != 2
            or not 1 <= len(words) <= MAX_CODEWORDS
            or not 1 <= words.shape[1] <= MAX_DIMENSION
        ):
            raise UsageError(f"codewords must be of shape (K, d), K to {MAX_CODEWORDS}, d to {MAX_DIMENSION}")
        if refine_bits is not None and not 0 <= refine_bits <= 1000:
            raise UsageError(f"refine_bits must be 0 to 1000, or None, not {refine_bits}")
        used = None if codes is None else as_integers(codes, "codes", 0, len(words) - 1, np.int64).ravel()
        if used is not None and not used.size:
            raise UsageError("codes must not be empty")
        centred = words - words.mean(axis=0)
        rotation = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
        rotated = words @ rotation
        step = max(float(np.abs(rotated).max()), 1e-30) / fitting.REACH
        points = np.rint(rotated / step)
        sample = points if used is None else points[used]
        mean = np.rint(sample.mean(axis=0))
        scale = fitting.scale_numbers(sample.std(axis=0))
        if weights is not None:
            mass = as_finite(weights, "weights")
            if mass.shape != (len(words),) or not np.all(mass > 0):
                raise UsageError("weights must be positive, one a codeword")
        elif used is not None:
            middle, spread = (mean, sample.std(axis=0) + 1e-9)
            if context is not None:
                middle = as_finite(context[0], "means") @ rotation / step
                spread = as_finite(context[1], "standard deviations") / step
            shape = (len(used), words.shape[1])
            mass = fitting.matching_weights(
                points, used, np.broadcast_to(middle, shape), np.broadcast_to(spread, shape)
            )
        else:
            mass = np.ones(len(words))
        mass = mass / mass.max()
        cells = fitting.bisect(points, fitting.cell_count(len(words)))
        order = np.concatenate(cells)
        centres = np.array([np.average(points[cell], axis=0, weights=mass[cell]) for cell in cells])
        away = points[order] - np.repeat(centres, [len(cell) for cell in cells], axis=0)
        centre_rates, norms = fitting.spreads(np.average(away**2, axis=0, weights=mass[order]))
        refine = -1 if refine_bits is None else round(refine_bits * 2**fitting.ENERGY_BITS)
        tensors = {
            "order": order,
            "points": points[order],
            "bias": fitting.biases(mass[order]),
            "counts": np.array([len(cell) for cell in cells]),
            "centres": np.rint(centres),
            "centre_bias": fitting.biases(np.array([mass[cell].sum() for cell in cells])),
            "centre_rates": centre_rates,
            "norms": norms,
            "mean": mean,
            "scale": scale,
            "rotation": rotation,
        }
        return cls({"refine": refine, "step": step}, tensors)

    def quantise_context(
        self, mean: ArrayLike, sigma: ArrayLike
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Turn float predictions into a context, for encoding; the decoder needs the same integers.

        Parameters
        ----------
        mean : float array, shape (..., d)
            In the codebook's own frame.
        sigma : float array, shape (..., d)
            Standard deviations along the axes of the rotated frame, `rotation`.
        """
        middle = as_finite(mean, "means") @ self.rotation / self.step
        spread = as_finite(sigma, "standard deviations") / self.step
        grid = np.clip(np.rint(middle), -(2**15), 2**15 - 1).astype(np.int16)
        return grid, np.broadcast_to(fitting.scale_numbers(spread), grid.shape)

    def steps(self, symbols: Any, context: Any = None) -> Iterator[DirectStep]:
        """Cells, then members, of 2048 vectors at a time."""
        numbers = as_integers(symbols, "symbols", 0, len(self._position) - 1)
        position = self._position[numbers.ravel()]
        mean, scale = self._context(context, numbers.shape)
        cells = self._cell_of[position]
        members = position - self._first[cells]
        team = threads()
        pairs = np.empty((4, len(cells)), np.uint16)
        if len(self._first) > 1:
            self._native.cell_entries(mean, scale, cells, pairs[0], pairs[1], team)
        self._native.member_entries(mean, scale, cells, members, pairs[2], pairs[3], team)
        for begin in range(0, len(cells), BLOCK):
            block = pairs[:, begin : begin + BLOCK]
            if len(self._first) > 1:
                yield DirectStep(block[0], block[1], PRECISION)
            yield DirectStep(block[2], block[3], PRECISION)

    def pull(self, decoder: Any, shape: Shape | None = None, context: Any = None) -> NDArray[np.int32]:
        """Decode codeword numbers; without a shape there is one for each vector of the context."""
        default = None if context is None else np.broadcast_shapes(*(np.shape(part)[:-1] for part in context))
        full = as_shape(shape, default)
        mean, scale = self._context(context, full)
        result = np.empty(len(mean), np.int32)
        counts, team = self._tensors["counts"], threads()
        cells = np.zeros(min(BLOCK, len(mean)), np.int32)
        for begin in range(0, len(mean), BLOCK):
            part = slice(begin, begin + BLOCK)
            size = len(mean[part])
            if len(counts) > 1:
                rows = np.empty((size, len(counts) + 1), np.uint16)
                self._native.cell_rows(mean[part], scale[part], rows, team)
                cells = decoder.decode_direct(rows, PRECISION)
            cells = cells[:size]
            rows = np.empty((size, int(counts.max()) + 1), np.uint16)
            self._native.member_rows(mean[part], scale[part], cells, rows, team)
            members = decoder.decode_direct(rows, PRECISION)
            if np.any(members >= counts[cells]):
                raise BitstreamError("a codeword does not exist: the file is damaged")
            result[part] = self._tensors["order"][self._first[cells] + members]
        return result.reshape(full)

    def probabilities(self, context: Any) -> NDArray[np.float64]:
        """What the integer form gives each codeword: float64 (n, K) for a context of shape (n, d)."""
        shape = np.broadcast_shapes(*(np.shape(part)[:-1] for part in context))
        mean, scale = self._context(context, shape)
        counts = self._tensors["counts"]
        cell_rows = np.zeros((len(mean), len(counts) + 1), np.uint16)
        self._native.cell_rows(mean, scale, cell_rows, threads())
        cells = np.diff(cell_rows.astype(np.float64)) / 2.0**PRECISION
        result = np.empty((len(mean), len(self._position)))
        for c, (first, count) in enumerate(zip(self._first, counts, strict=True)):
            rows = np.empty((len(mean), int(counts.max()) + 1), np.uint16)
            self._native.member_rows(mean, scale, np.full(len(mean), c, np.int32), rows, threads())
            members = np.diff(rows.astype(np.float64))[:, :count] / 2.0**PRECISION
            result[:, self._tensors["order"][first : first + count]] = cells[:, c : c + 1] * members
        return result

    def config(self) -> dict[str, Any]:
        """``refine`` in units of 2**-12 bit (-1: all) and ``step``, the grid's unit."""
        return {"refine": self.refine, "step": self.step}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The integer arrays, and ``rotation`` (float64, for `quantise_context` alone)."""
        return {**self._tensors, "rotation": self.rotation}

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> CodebookGaussian:
        """Make the model again."""
        return cls(config, tensors)

    @classmethod
    def example(cls, seed: int, count: int) -> Example:
        """600 codewords of 3 dimensions, some far from what is predicted for them."""
        rng = np.random.default_rng(seed)
        words = rng.standard_normal((600, 3))
        symbols = rng.integers(0, 600, count).astype(np.int32)
        sigma = rng.uniform(0.02, 1.0, (count, 3))
        model = cls.fit(words)
        return Example(
            model,
            symbols,
            model.quantise_context(words[symbols] + rng.standard_t(3, (count, 3)) * sigma, sigma),
        )

    @cached_property
    def _native(self) -> Any:
        from siglum.kernels import _native

        t = self._tensors
        arrays = [t["points"], t["bias"], t["counts"], t["centres"], t["centre_bias"], t["centre_rates"]]
        try:
            return _native.Codebook(
                isa(), *arrays, t["norms"], fitting.rates(), fitting.exponentials(), self.refine
            )
        except ValueError as error:
            raise UsageError(str(error)) from None

    def _context(
        self, context: Context | None, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        given = (self._tensors["mean"], self._tensors["scale"]) if context is None else tuple(context)
        if len(given) != 2:
            raise UsageError("the context is (mean, scale)")
        mean = as_integers(given[0], "means", -(2**15), 2**15 - 1, np.int16)
        scale = as_integers(given[1], "scales", 0, fitting.SCALES - 1).astype(np.uint8)
        full = (*shape, self.dimension)
        try:
            mean, scale = np.broadcast_to(mean, full), np.broadcast_to(scale, full)
        except ValueError:
            raise UsageError(
                f"a context of shapes {mean.shape} and {scale.shape} does not fit symbols of {shape}"
            ) from None
        flat = (-1, self.dimension)
        return np.ascontiguousarray(mean).reshape(flat), np.ascontiguousarray(scale).reshape(flat)
