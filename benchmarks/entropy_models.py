"""Rates and speeds of the probability models: ``python -m siglum.benchmarks.entropy_models``.

Every line is printed only after what was decoded was compared. Speeds are the least thread CPU time of some
repetitions on one thread, through the Python API. *Over* compares the bits with those of the true distribution
(of the exact softmax over codewords for codebooks); *saved* is what correlation is worth, with theory beside it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from time import thread_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.benchmarks.machine import describe
from siglum.entropy import codebook_fit as fitting
from siglum.entropy.adaptive import Adaptive
from siglum.entropy.categorical import Categorical
from siglum.entropy.codebook import CodebookGaussian
from siglum.entropy.gaussian import GAUSSIAN_SCALES
from siglum.entropy.gaussian_model import Gaussian
from siglum.entropy.mixture import GaussianMixture
from siglum.entropy.models import Model
from siglum.entropy.multivariate import MultivariateGaussian
from siglum.errors import SiglumError


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    what: str
    count: int
    encode: float  # seconds
    decode: float
    bits: float  # under the integer form
    size: int  # bytes
    note: str


def least(function: Callable[[], Any], repeats: int) -> float:
    """Least thread CPU time of a call."""
    seconds = []
    for _ in range(repeats):
        start = thread_time()
        function()
        seconds.append(thread_time() - start)
    return max(min(seconds), 1e-9)


def measure(
    what: str, model: Model, symbols: NDArray[Any], context: Any, repeats: int, note: str = ""
) -> Result:
    """Time a model, after a round trip that must be right."""
    data = model.encode(symbols, context)
    decoded = model.decode(data, context, symbols.shape)
    if not np.array_equal(decoded, model.reconstruct(symbols, context)):
        raise SiglumError(f"{what} does not decode to what was encoded")
    return Result(
        what,
        symbols.size,
        least(lambda: model.encode(symbols, context), repeats),
        least(lambda: model.decode(data, context, symbols.shape), repeats),
        model.bits(symbols, context),
        len(data),
        note,
    )


def over(bits: float, true: float) -> str:
    """Excess over the bits of the true distribution."""
    return f"{100 * (bits / true - 1):+.2f} % over"


def zipf(size: int) -> NDArray[np.float64]:
    """Probabilities in proportion to 1 / rank."""
    p = 1 / np.arange(1.0, size + 1)
    return p / p.sum()


def categorical(count: int, repeats: int, size: int) -> Result:
    """A large alphabet, static."""
    p = np.random.default_rng(1).permutation(zipf(size))
    symbols = np.random.default_rng(2).choice(size, count, p=p).astype(np.int32)
    model = Categorical.from_probabilities(p)
    note = over(model.bits(symbols), float(-np.log2(p[symbols]).sum()))
    return measure(f"categorical, {size} symbols", model, symbols, None, repeats, note)


def adaptive(count: int, repeats: int) -> Result:
    """Counts that begin at nothing."""
    p = zipf(256)
    symbols = np.random.default_rng(3).choice(256, count, p=p).astype(np.int32)
    model = Adaptive(np.ones(256, np.int64))
    note = over(model.bits(symbols), float(-np.log2(p[symbols]).sum()))
    return measure("adaptive, 256 symbols", model, symbols, None, repeats, note)


def gaussian(count: int, repeats: int) -> Result:
    """A mean and a scale for every integer."""
    rng = np.random.default_rng(4)
    mean, scale = rng.integers(-2000, 2000, count), rng.integers(20, 60, count)
    symbols = np.rint(rng.normal(mean / 16, GAUSSIAN_SCALES[scale])).astype(np.int32)
    context = (mean.astype(np.int32), scale.astype(np.uint8))
    return measure("gaussian, fractional means", Gaussian(0, 30), symbols, context, repeats)


def multivariate(count: int, repeats: int, d: int, integer: bool) -> Result:
    """Correlated vectors under one Sigma, against independent coding of the components."""
    rng = np.random.default_rng(d)
    covariance = 36 * 0.9 ** np.abs(np.subtract.outer(np.arange(d), np.arange(d)))
    values = rng.multivariate_normal(np.zeros(d), covariance, count // d)
    vectors = np.rint(values).astype(np.int32) if integer else values
    model, alone = (MultivariateGaussian.fit(vectors, correlated=flag) for flag in (True, False))
    saved = (alone.bits(vectors) - model.bits(vectors)) / vectors.size
    theory = 0.5 * (d * np.log2(36) - np.linalg.slogdet(covariance)[1] / np.log(2)) / d
    note = f"{saved:.3f} bit a symbol saved, theory {theory:.3f}"
    return measure(
        f"multivariate, d {d}, {'integer' if integer else 'real'}", model, vectors, None, repeats, note
    )


def predicted(count: int, repeats: int, d: int) -> Result:
    """Mean, factors and scales for every vector."""
    rng = np.random.default_rng(d)
    n = count // d
    mean = rng.integers(-(2**20), 2**20, (d, n), dtype=np.int32).T
    factors = rng.integers(-(2**15), 2**15, (d * (d - 1) // 2, n), dtype=np.int32).T
    scales = rng.integers(10, 60, (d, n)).astype(np.uint8).T
    model = MultivariateGaussian(np.zeros(d, int), np.zeros(d * (d - 1) // 2, int), np.zeros(d, int))
    coded = np.rint(rng.standard_normal((n, d)) * GAUSSIAN_SCALES[scales]).astype(np.int32)
    values = np.asfortranarray(model.values(coded, (mean, factors, scales)))
    return measure(f"multivariate, d {d}, real, predicted", model, values, (mean, factors, scales), repeats)


def codebook(count: int, repeats: int, words: int, d: int, ratio: float, refine: float | None) -> Result:
    """Codewords drawn from a predicted Gaussian, of this share of the codebook's standard deviation."""
    rng = np.random.default_rng(words)
    spread = np.linspace(1, 0.4, d)
    book = rng.normal(size=(words, d)) * spread
    model = CodebookGaussian.fit(book, refine_bits=refine)
    mean = rng.normal(size=(count, d)) * spread * np.sqrt(1 - ratio**2)
    sigma = np.sqrt(model.rotation.T**2 @ spread**2) * ratio
    context = model.quantise_context(mean, sigma)
    points = book @ model.rotation / model.step
    bias = np.zeros(words)
    widths = fitting.UNIT * 2.0 ** (context[1] / 8)
    codes = np.empty(count, np.int32)
    entropy = divergence = 0.0
    checked = min(count, 256)
    for begin in range(0, count, checked):
        part = slice(begin, begin + checked)
        exact = fitting.probabilities(points, bias, context[0][part].astype(float), widths[part])
        draws = rng.random((len(exact), 1))
        codes[part] = np.minimum((np.cumsum(exact, axis=1) < draws).sum(axis=1), words - 1)
        if begin == 0:
            ours = model.probabilities((context[0][part], context[1][part]))
            entropy = float(-(exact * np.log2(exact + 1e-300)).sum())
            divergence = float((exact * np.log2((exact + 1e-300) / ours)).sum())
    note = (
        f"KL {100 * divergence / entropy:.2f} % of {entropy / checked:.2f} bit; {np.log2(words):.0f} nominal"
    )
    kind = "all summed" if refine is None else f"refine {refine:g}"
    return measure(f"codebook, K {words}, d {d}, sigma {ratio}, {kind}", model, codes, context, repeats, note)


def mixture(count: int, repeats: int) -> Result:
    """Three predicted components for every integer."""
    rng = np.random.default_rng(5)
    weights = rng.integers(1, 1000, (count, 3)).astype(np.int32)
    means = rng.integers(-200, 200, (count, 3)).astype(np.int32)
    scales = rng.integers(20, 40, (count, 3)).astype(np.uint8)
    which = rng.integers(0, 3, (count, 1))
    centre, spread = (
        np.take_along_axis(part, which, 1)[:, 0] for part in (means / 16, GAUSSIAN_SCALES[scales])
    )
    symbols = np.rint(rng.normal(centre, spread)).astype(np.int32)
    return measure(
        "mixture of 3", GaussianMixture([1], [0], [30]), symbols, (weights, means, scales), repeats
    )


def results(count: int, repeats: int) -> list[Result]:
    """Every line; ``count`` symbols of the fast models and fewer of the slow ones."""
    few = max(64, count // 64)
    lines = [categorical(count, repeats, size) for size in (1024, 65536)]
    lines += [adaptive(count, repeats), gaussian(count, repeats)]
    for d in (2, 4, 8, 16):
        lines += [multivariate(count, repeats, d, integer) for integer in (False, True)]
    lines += [predicted(count, repeats, d) for d in (4, 8)]
    lines.append(mixture(few, repeats))
    for words, d in ((256, 4), (1024, 8), (4096, 8)):
        for ratio in (1.0, 0.5):
            for refine in (None, 10.0, 0.0) if words > 256 else (None,):
                lines.append(codebook(few, repeats, words, d, ratio, refine))
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=2**20, help="of the fast models")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    os.environ["SIGLUM_THREADS"] = "1"
    print(describe())
    print(f"{'model':44}{'bits':>8}{'size':>9}{'encode':>9}{'decode':>9}  Msym/s (vectors for codebooks)")
    for line in results(arguments.symbols, arguments.repeats):
        excess = 100 * (8 * line.size / line.bits - 1)
        speeds = [line.count / seconds / 1e6 for seconds in (line.encode, line.decode)]
        print(
            f"{line.what:44}{line.bits / line.count:8.3f}{excess:+8.2f}%{speeds[0]:9.2f}{speeds[1]:9.2f}"
            f"  {line.note}"
        )


if __name__ == "__main__":
    main()
