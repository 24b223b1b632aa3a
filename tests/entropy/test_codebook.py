from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.entropy import codebook_fit as fitting
from siglum.entropy.codebook import PRECISION, CodebookGaussian
from siglum.errors import UsageError
from siglum.kernels import dispatch
from siglum.kernels.reference import codebook as reference


def random_codebook(rng: np.random.Generator, words: int, d: int) -> np.ndarray:
    return rng.normal(size=(words, d)) * np.linspace(1, 0.4, d)


def random_context(
    rng: np.random.Generator, model: CodebookGaussian, count: int
) -> tuple[np.ndarray, np.ndarray]:
    d = model.dimension
    mean = rng.integers(-20000, 20000, (count, d)).astype(np.int16)
    mean[: count // 4] = rng.integers(-(2**15), 2**15, mean[: count // 4].shape)
    scale = rng.integers(0, 64, (count, d)).astype(np.uint8)
    mean[-1], scale[-1] = -(2**15), 0  # as far away as can be said, from all words
    return mean, scale


def reference_rows(
    model: CodebookGaussian, mean: np.ndarray, scale: np.ndarray, cell: int | None
) -> np.ndarray:
    t: dict[str, Any] = model.tensors()
    ends = np.cumsum(t["counts"])
    cells = [
        (t["points"][end - n : end], t["bias"][end - n : end])
        for n, end in zip(t["counts"], ends, strict=True)
    ]
    d = np.arange(model.dimension)
    rates = fitting.rates()[scale]
    if cell is not None:
        frequencies = reference.member_frequencies(
            *cells[cell], mean, rates, fitting.exponentials(), PRECISION
        )
    else:
        frequencies = reference.cell_frequencies(
            cells,
            (t["centres"], t["centre_bias"]),
            mean,
            (rates, t["centre_rates"][d, scale]),
            int(t["norms"][d, scale].sum()),
            model.refine,
            fitting.exponentials(),
            PRECISION,
        )
    return np.concatenate([[0], np.cumsum(frequencies)])


@settings(deadline=None, max_examples=40)
@given(
    words=st.sampled_from([1, 2, 5, 16, 17, 100, 255, 256, 257, 300, 700, 1024]),
    d=st.sampled_from([1, 2, 3, 4, 7, 8, 33, 64]),
    refine=st.sampled_from([None, 0.0, 3.0, 10.0]),
    isa=st.sampled_from(dispatch.available_isas()),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_equal_the_oracle(words: int, d: int, refine: float | None, isa: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.random(words) ** 4 + 1e-12
    model = CodebookGaussian.fit(random_codebook(rng, words, d), refine_bits=refine, weights=weights)
    mean, scale = random_context(rng, model, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGLUM_ISA", isa)
        native = model._native
    counts = model.tensors()["counts"]
    cells = rng.integers(0, len(counts), 6).astype(np.int32)
    cell_rows = np.empty((6, len(counts) + 1), np.uint16)
    member_rows = np.empty((6, counts.max() + 1), np.uint16)
    native.cell_rows(mean, scale, cell_rows, 2)
    native.member_rows(mean, scale, cells, member_rows, 2)
    for v in range(6):
        assert np.array_equal(cell_rows[v], reference_rows(model, mean[v], scale[v], None))
        row = reference_rows(model, mean[v], scale[v], int(cells[v]))
        assert np.array_equal(member_rows[v][: len(row)], row)
        assert np.all(member_rows[v][len(row) :] == 1 << PRECISION)
        assert np.all(np.diff(row) >= 1)
    starts, frequencies = np.empty((2, 6), np.uint16)
    native.cell_entries(mean, scale, cells, starts, frequencies, 1)
    assert np.array_equal(starts, cell_rows[np.arange(6), cells])
    assert np.array_equal(starts + frequencies, cell_rows[np.arange(6), cells + 1])
    members = rng.integers(0, counts[cells]).astype(np.int32)
    native.member_entries(mean, scale, cells, members, starts, frequencies, 1)
    assert np.array_equal(starts, member_rows[np.arange(6), members])
    assert np.array_equal(starts + frequencies, member_rows[np.arange(6), members + 1])


def test_tables_of_powers_are_exact_integers() -> None:
    assert np.array_equal(fitting.rates(), np.minimum(np.rint(2 ** (15 - np.arange(64) / 8)), 2**15 - 1))
    level, step = fitting.exponentials()
    assert np.array_equal(level, np.rint(2 ** (24 - np.arange(16) / 16)))
    values = np.arange(0, 20 << 12, 7)
    approximate = reference.exponential(values, np.array([level, step])) / 2**16
    exact = 2.0 ** (-values / 4096)
    assert np.abs(approximate - exact).max() < 3e-4
    assert np.all(np.diff(approximate) <= 0)


@pytest.mark.parametrize(
    ("words", "d", "refine", "allowed"),
    [(256, 4, 10.0, 0.004), (1024, 8, None, 0.002), (1024, 8, 10.0, 0.004), (2048, 4, 10.0, 0.002)],
)
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_the_integer_form_costs_less_than_a_percent(
    words: int, d: int, refine: float | None, allowed: float, ratio: float
) -> None:
    """KL divergence from the exact softmax over codewords, against its entropy."""
    rng = np.random.default_rng(words)
    codebook = random_codebook(rng, words, d)
    model = CodebookGaussian.fit(codebook, refine_bits=refine)
    mean = rng.normal(size=(100, d)) * np.linspace(1, 0.4, d) * np.sqrt(1 - ratio**2)
    sigma = np.sqrt(model.rotation.T**2 @ np.linspace(1, 0.4, d) ** 2) * ratio
    context = model.quantise_context(mean, sigma)
    exact = fitting.probabilities(
        codebook @ model.rotation / model.step,
        np.zeros(words),
        context[0].astype(float),
        fitting.UNIT * 2.0 ** (context[1] / 8),
    )
    ours = model.probabilities(context)
    assert np.allclose(ours.sum(axis=1), 1)
    entropy = -(exact * np.log2(exact + 1e-300)).sum(axis=1).mean()
    divergence = (exact * np.log2((exact + 1e-300) / ours)).sum(axis=1).mean()
    assert divergence <= allowed * entropy


def test_weights_are_fitted_and_predictions_pay() -> None:
    rng = np.random.default_rng(5)
    codebook = random_codebook(rng, 300, 2)
    hidden = rng.normal(size=(20000, 2)) * np.linspace(1, 0.4, 2)
    vectors = hidden + rng.normal(size=hidden.shape) * 0.1
    codes = ((vectors[:, None] - codebook) ** 2).sum(-1).argmin(axis=1)
    sigma = np.full(2, 0.15)
    plain = CodebookGaussian.fit(codebook)
    fitted = CodebookGaussian.fit(codebook, codes=codes, context=(hidden, sigma))
    nominal = len(codes) * np.log2(300)
    bits = [model.bits(codes, model.quantise_context(hidden, sigma)) for model in (plain, fitted)]
    assert bits[1] < bits[0] < 0.8 * nominal
    alone = CodebookGaussian.fit(codebook, codes=codes)
    counts = np.bincount(codes, minlength=300)
    order_0 = -(counts * np.log2(np.maximum(counts, 1) / counts.sum())).sum()
    assert alone.bits(codes) == pytest.approx(order_0, rel=0.01)


def test_the_largest_codebook() -> None:
    rng = np.random.default_rng(6)
    model = CodebookGaussian.fit(rng.normal(size=(65536, 4)), refine_bits=0.0)
    codes = rng.integers(0, 65536, 300)
    assert np.array_equal(model.decode(model.encode(codes), shape=300), codes)


@pytest.mark.parametrize(
    "arguments",
    [
        {"data": np.ones(5)},
        {"data": np.ones((0, 3))},
        {"data": np.ones((5, 65))},
        {"data": np.full((5, 2), np.nan)},
        {"data": np.ones((65537, 1))},
        {"data": np.ones((5, 2)), "weights": np.zeros(5)},
        {"data": np.ones((5, 2)), "weights": np.ones(4)},
        {"data": np.ones((5, 2)), "codes": [5]},
        {"data": np.ones((5, 2)), "refine_bits": -1.0},
    ],
    ids=str,
)
def test_bad_arguments(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        CodebookGaussian.fit(**arguments)


def test_equal_codewords_and_bad_contexts() -> None:
    model = CodebookGaussian.fit(np.ones((300, 2)))
    codes = np.arange(300)
    assert np.array_equal(model.decode(model.encode(codes), shape=300), codes)
    for context in (
        (np.zeros((2, 2), int), np.zeros(2, int)),
        (np.zeros(2, int), np.full(2, 64)),
        (np.full(2, 2**15), np.zeros(2, int)),
        (np.zeros(3, int), np.zeros(3, int)),
        (np.zeros(2), np.zeros(2, int)),
    ):
        with pytest.raises(UsageError):
            model.encode(codes, context)
    tensors = model.tensors()
    with pytest.raises(UsageError):
        CodebookGaussian.restore(model.config(), {**tensors, "counts": tensors["counts"][:-1]})
    with pytest.raises(UsageError):
        CodebookGaussian.restore(model.config(), {"points": tensors["points"]})
