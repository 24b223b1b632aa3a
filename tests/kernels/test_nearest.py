"""The search for the nearest codeword: against brute force in float64, and the same on every instruction set."""

import re
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.kernels import dispatch, nearest

SHAPES = st.tuples(st.integers(1, 150), st.integers(1, 40), st.integers(1, 70))
CASES = st.tuples(SHAPES, st.integers(0, 2**32 - 1), st.booleans())


def integers(shape, rng):
    return rng.integers(-3, 4, shape).astype(np.float32)


def normal(shape, rng):
    return rng.normal(size=shape).astype(np.float32)


def drawn(case, kind):
    """Vectors, codewords and perhaps biases of a case."""
    (count, dimension, codewords), seed, biased = case
    rng = np.random.default_rng(seed)
    bias = kind((codewords,), rng) if biased else None
    return kind((count, dimension), rng), kind((codewords, dimension), rng), bias


def squares(x, codewords, bias=None):
    """All distances in float64, (N, K)."""
    differences = x[:, None].astype(np.float64) - codewords[None]
    return np.square(differences).sum(-1) + (0.0 if bias is None else bias.astype(np.float64))


@pytest.fixture(params=dispatch.available_isas())
def isa(request, monkeypatch):
    monkeypatch.setenv("SIGLUM_ISA", request.param)
    return request.param


def on_every_isa(call):
    """Results of all instruction sets, slowest first."""
    with pytest.MonkeyPatch.context() as patch:
        for name in dispatch.available_isas():
            patch.setenv("SIGLUM_ISA", name)
            yield call()


@settings(deadline=None, max_examples=60)
@given(CASES)
def test_integers_are_exact_and_the_first_of_equals_wins(case):
    x, codewords, bias = drawn(case, integers)
    expected = squares(x, codewords, bias)
    for indices, distances in on_every_isa(lambda: nearest.search(x, codewords, bias=bias, scores=True)):
        assert np.array_equal(indices, expected.argmin(1))
        assert np.array_equal(distances, expected.min(1))


@settings(deadline=None, max_examples=60)
@given(CASES)
def test_reals_are_nearest_to_rounding_and_the_same_everywhere(case):
    x, codewords, bias = drawn(case, normal)
    expected = squares(x, codewords, bias)
    results = list(on_every_isa(lambda: nearest.search(x, codewords, bias=bias, scores=True)))
    for indices, distances in results:
        found = np.take_along_axis(expected, indices[:, None].astype(int), 1)[:, 0]
        scale = np.square(x).sum(1) + np.square(codewords).sum(1).max() + 3
        assert np.all(found <= expected.min(1) + 1e-6 * scale)
        assert np.allclose(distances, found, rtol=1e-5, atol=1e-6)
        assert np.array_equal(indices, results[0][0])
        assert np.array_equal(distances, results[0][1])


@settings(deadline=None, max_examples=40)
@given(CASES, st.integers(1, 9))
def test_top_lists_the_nearest_in_order(case, wanted):
    x, codewords, bias = drawn(case, integers)
    wanted = min(wanted, len(codewords))
    expected = squares(x, codewords, bias)
    order = np.argsort(expected, 1, kind="stable")[:, :wanted]
    for indices, distances in on_every_isa(lambda: nearest.top(x, codewords, wanted, bias=bias)):
        assert np.array_equal(indices, order)
        assert np.array_equal(distances, np.take_along_axis(expected, order, 1))


@settings(deadline=None, max_examples=30)
@given(CASES, st.integers(1, 9))
def test_top_of_reals_starts_with_the_result_of_search(case, wanted):
    x, codewords, bias = drawn(case, normal)
    results = list(on_every_isa(lambda: nearest.top(x, codewords, min(wanted, len(codewords)), bias=bias)))
    for indices, distances in results:
        assert np.array_equal(indices[:, 0], nearest.search(x, codewords, bias=bias))
        assert np.all(np.diff(distances, axis=1) >= 0)
        assert all(len(set(row)) == len(row) for row in indices.tolist())
        assert np.array_equal(indices, results[0][0])
        assert np.array_equal(distances, results[0][1])


@settings(deadline=None, max_examples=30)
@given(CASES, st.integers(1, 4), st.data())
def test_residual_stages_equal_searches_in_turns(case, stages, data):
    x, codewords, _ = drawn(case, normal)
    rng = np.random.default_rng(case[1])
    books = [codewords] + [
        normal((data.draw(st.integers(1, 30)), x.shape[1]), rng) / 3 for _ in range(stages - 1)
    ]
    left, expected = x.copy(), []
    for book in books:
        expected.append(nearest.search(left, book))
        left = left - book[expected[-1]]
    packed = [nearest.Packed(book) for book in books]
    for codes, remainder in on_every_isa(lambda: nearest.residual(x, packed, remainder=True)):
        assert np.array_equal(codes, np.stack(expected, 1))
        assert np.array_equal(remainder, left)
    assert np.array_equal(nearest.residual(x, books), codes)


def beam_of(vector, books, width):
    """Codes of one vector, by sorting everything there is."""
    partials = [(vector.astype(np.float64), 0.0, ())]
    for book, bias in books:
        grown = []
        for rest, paid, path in partials:
            for k in range(len(book)):
                left, more = rest - book[k], paid + (0.0 if bias is None else float(bias[k]))
                grown.append((left, more, (*path, k)))
        partials = sorted(grown, key=lambda one: np.square(one[0]).sum() + one[1])[:width]
    return partials[0][2]


@settings(deadline=None, max_examples=25)
@given(CASES, st.integers(1, 3), st.sampled_from([1, 2, 5, 8, 33, 64]))
def test_a_beam_keeps_the_best(case, stages, width):
    (_, dimension, _), seed, biased = case
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 20))
    x, books = integers((count, dimension), rng), []
    for _ in range(stages):
        size = int(rng.integers(1, 9))
        books.append((integers((size, dimension), rng), integers((size,), rng) if biased else None))
    packed = [nearest.Packed(*book) for book in books]
    expected = [beam_of(vector, books, width) for vector in x]
    for codes in on_every_isa(lambda: nearest.beam(x, packed, width)):
        assert np.array_equal(codes, expected)


def test_a_beam_of_reals_is_better_than_none_and_the_same_everywhere():
    rng = np.random.default_rng(6)
    x, books = normal((300, 16), rng), [normal((64, 16), rng) / 2**s for s in range(4)]
    results = list(on_every_isa(lambda: nearest.beam(x, books, 8)))
    assert all(np.array_equal(codes, results[0]) for codes in results)
    assert np.array_equal(nearest.beam(x, books, 8, threads=3), results[0])
    assert np.array_equal(nearest.beam(x[37:38], books, 8), results[0][37:38])

    def error(codes):
        return np.square(x - sum(book[codes[:, s]] for s, book in enumerate(books))).sum()

    assert error(results[0]) < 0.95 * error(nearest.residual(x, books))
    assert np.array_equal(nearest.beam(x, books, 1), nearest.residual(x, books))


@settings(deadline=None, max_examples=30)
@given(CASES, st.data())
def test_a_vector_alone_is_as_in_company(case, data):
    x, codewords, bias = drawn(case, normal)
    whole = nearest.search(x, codewords, bias=bias)
    order = np.random.default_rng(case[1]).permutation(len(x))
    assert np.array_equal(nearest.search(x[order], codewords, bias=bias), whole[order])
    cut = data.draw(st.integers(0, len(x)))
    parts = [nearest.search(part, codewords, bias=bias) for part in (x[:cut], x[cut:]) if len(part)]
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads(threads):
    rng = np.random.default_rng(1)
    x, codewords = normal((3001, 32), rng), normal((512, 32), rng)
    one = nearest.search(x, codewords, threads=1, scores=True)
    many = nearest.search(x, codewords, threads=threads, scores=True)
    assert all(map(np.array_equal, one, many))
    one, many = (nearest.top(x, codewords, 3, threads=n) for n in (1, threads))
    assert all(map(np.array_equal, one, many))
    assert np.array_equal(
        nearest.residual(x, [codewords] * 2, threads=1), nearest.residual(x, [codewords] * 2, threads=threads)
    )
    big = normal((40_000, 32), rng)
    indices = rng.integers(0, 512, len(big))
    sums = [nearest.accumulate(big, indices, 512, threads=n) for n in (1, threads)]
    assert all(map(np.array_equal, *sums))


def test_packed_codewords_are_the_same(isa):
    rng = np.random.default_rng(2)
    x, codewords, bias = normal((100, 12), rng), normal((50, 12), rng), normal((50,), rng)
    packed = nearest.Packed(codewords, bias)
    assert repr(packed) == "Packed(50 codewords of dimension 12)"
    assert np.array_equal(nearest.search(x, packed), nearest.search(x, codewords, bias=bias))
    with pytest.raises(ValueError, match="give it to Packed"):
        nearest.search(x, packed, bias=bias)


def test_arrays_of_any_layout_and_float16():
    rng = np.random.default_rng(3)
    x, codewords = integers((40, 6), rng), integers((9, 6), rng)
    expected = nearest.search(x, codewords)
    assert np.array_equal(nearest.search(np.asfortranarray(x), codewords[::-1][::-1]), expected)
    assert np.array_equal(nearest.search(x.astype(np.float16), codewords.astype(np.float16)), expected)


@settings(deadline=None, max_examples=30)
@given(SHAPES, st.integers(0, 2**32 - 1))
def test_sums_of_assigned_vectors(shape, seed):
    count, dimension, codewords = shape
    rng = np.random.default_rng(seed)
    x, indices = integers((count, dimension), rng), rng.integers(0, codewords, count)
    counts, sums = nearest.accumulate(x, indices, codewords)
    expected = np.zeros((codewords, dimension))
    np.add.at(expected, indices, x.astype(np.float64))
    assert np.array_equal(sums, expected)
    assert np.array_equal(counts, np.bincount(indices, minlength=codewords))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("where", [0, 63, 64, 99])
def test_what_is_not_finite_is_named(isa, bad, where):
    x, codewords = np.ones((100, 4), np.float32), np.ones((7, 4), np.float32)
    x[where, 2] = bad
    for call in (
        lambda: nearest.search(x, codewords),
        lambda: nearest.top(x, codewords, 2),
        lambda: nearest.residual(x, [codewords]),
        lambda: nearest.beam(x, [codewords], 3),
        lambda: nearest.search(np.where(np.arange(100)[:, None] == 99, bad, x).astype(np.float32), codewords),
    ):
        with pytest.raises(ValueError, match=f"x .*finite numbers.* vector {where} "):
            call()
    if not np.isfinite(bad):
        with pytest.raises(ValueError, match=f"vector {where} "):
            nearest.accumulate(x, np.zeros(100, int), 1)
    with pytest.raises(ValueError, match=r"codewords .*\(100, 4\).*finite"):
        nearest.search(codewords, x)
    with pytest.raises(ValueError, match=r"bias .*\(7,\).*finite"):
        nearest.search(codewords, codewords, bias=np.full(7, bad, np.float32))


def test_the_largest_values_do_not_overflow(isa):
    limit = 2.0**62 / 2
    x = np.array([[limit, -limit, limit, limit]], np.float32)
    indices, distances = nearest.search(x, np.concatenate([-x, x]), scores=True)
    assert indices.tolist() == [1]
    assert distances.tolist() == [0]


ONE = np.ones((3, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nearest.search(ONE[0], ONE), r"x has the shape \(4,\), not \(N, 4\)"),
        (lambda: nearest.search(ONE[:0], ONE), r"x has the shape \(0, 4\), not \(N, 4\)"),
        (lambda: nearest.search(ONE[:, :3], ONE), r"x has the shape \(3, 3\), not \(N, 4\)"),
        (lambda: nearest.search(ONE[None], ONE), r"x has the shape \(1, 3, 4\), not \(N, 4\)"),
        (lambda: nearest.search(ONE, ONE[:0]), r"codewords has the shape \(0, 4\), not \(K, D\)"),
        (lambda: nearest.search(ONE, ONE[:, :0]), r"codewords has the shape \(3, 0\), not \(K, D\)"),
        (lambda: nearest.search(ONE, ONE.astype(int)), r"codewords must be float32 .* not int64 .* \(3, 4\)"),
        (lambda: nearest.search(ONE.astype(float), ONE), r"x must be float32 .* not float64 .* \(3, 4\)"),
        (lambda: nearest.search(ONE, ONE, bias=ONE[0]), r"bias has the shape \(4,\), not \(3,\)"),
        (lambda: nearest.search(ONE, ONE, bias=ONE), r"bias has the shape \(3, 4\), not \(3,\)"),
        (lambda: nearest.top(ONE, ONE, 4), "count must be an integer from 1 to the 3 codewords, not 4"),
        (lambda: nearest.top(ONE, ONE, 0), "count must be an integer from 1 to the 3 codewords, not 0"),
        (lambda: nearest.top(ONE, ONE, True), "count must be an integer"),
        (lambda: nearest.residual(ONE, []), "stages is empty"),
        (lambda: nearest.residual(ONE, [ONE, ONE[:, :2]]), r"stages\[1\] has the shape \(3, 2\), not \(K, 4\)"),
        (lambda: nearest.residual(ONE, [ONE, ONE[:0]]), r"stages\[1\] has the shape \(0, 4\), not \(K, D\)"),
        (lambda: nearest.residual(ONE[:, :2], [ONE]), r"x has the shape \(3, 2\), not \(N, 4\)"),
        (lambda: nearest.beam(ONE, [ONE], 0), "width must be an integer from 1 to 64, not 0"),
        (lambda: nearest.beam(ONE, [ONE], 65), "width must be an integer from 1 to 64, not 65"),
        (lambda: nearest.beam(ONE, [], 2), "stages is empty"),
        (lambda: nearest.accumulate(ONE, [0, 1], 3), r"indices must be integers of the shape \(3,\), .* \(2,\)"),
        (lambda: nearest.accumulate(ONE, [0.0, 1, 1], 3), "indices must be integers"),
        (lambda: nearest.accumulate(ONE, [0, 3, 1], 3), "indices must be 0 to 2, not 3"),
        (lambda: nearest.accumulate(ONE, [0, -1, 1], 3), "indices must be 0 to 2, not -1"),
        (lambda: nearest.accumulate(ONE, [0, 1, 1], 0), "count must be an integer of at least 1"),
        (lambda: nearest.accumulate(ONE[:0], np.zeros(0, int), 3), r"x has the shape \(0, 4\)"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_memory_grows_with_the_vectors_alone():
    rng = np.random.default_rng(4)
    x, codewords = normal((4096, 8), rng), nearest.Packed(normal((8192, 8), rng))
    tracemalloc.start()
    nearest.search(x, codewords)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * len(x) + 65536


def test_the_example_of_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(compile(example, "search.md", "exec"), names)
    assert np.array_equal(names["best"][:, 0], names["indices"])
    assert np.array_equal(names["codes"][:, 0], names["indices"])
    assert names["counts"].sum() == 1000


@pytest.mark.slow
def test_a_million_vectors_and_65536_codewords_stay_below_a_gigabyte(peak_of):
    code = (
        "import numpy as np; from siglum.kernels import nearest\n"
        "rng = np.random.default_rng(0)\n"
        "x, c = (rng.standard_normal((n, 4), np.float32) for n in (1_000_000, 65_536))\n"
        "assert len(nearest.search(x, c, scores=True)[0]) == 1_000_000\n"
    )
    assert peak_of(sys.executable, "-c", code) < 1e9
