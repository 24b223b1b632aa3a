"""The GPU's search in Triton's interpreter: the CPU's indices, and the first of equals."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.kernels import nearest

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install siglum[gpu]", allow_module_level=True)

import torch

# The kernels become interpreted or compiled ones when they are imported.
with pytest.MonkeyPatch.context() as patch:
    patch.setenv("TRITON_INTERPRET", "1")
    from siglum.kernels.gpu import nearest as gpu

CASES = st.tuples(st.integers(1, 150), st.integers(1, 70), st.integers(1, 150), st.integers(0, 2**32 - 1))


@pytest.fixture(scope="module", autouse=True)
def interpreter():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        yield


def integers(shape, rng):
    return rng.integers(-3, 4, shape).astype(np.float32)


def tensors(*arrays):
    return [torch.from_numpy(array) for array in arrays]


@settings(deadline=None, max_examples=10)
@given(CASES, st.booleans())
def test_integers_give_the_indices_and_distances_of_the_cpu(case, biased):
    count, dimension, codewords, seed = case
    rng = np.random.default_rng(seed)
    x, c, b = (
        integers((count, dimension), rng),
        integers((codewords, dimension), rng),
        integers(codewords, rng),
    )
    tx, tc, tb = tensors(x, c, b)
    expected = nearest.search(x, c, bias=b if biased else None, scores=True)
    found = gpu.search(tx, tc, bias=tb if biased else None, scores=True)
    for a, e in zip(found, expected, strict=True):
        assert a.numpy().dtype == e.dtype
        assert np.array_equal(a.numpy(), e)


@settings(deadline=None, max_examples=10)
@given(CASES)
def test_reals_are_as_near(case):
    count, dimension, codewords, seed = case
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, dimension)).astype(np.float32)
    c = rng.normal(size=(codewords, dimension)).astype(np.float32)
    found = gpu.search(*tensors(x, c)).numpy()
    distances = np.square(x[:, None].astype(np.float64) - c[None]).sum(-1)
    scale = np.square(x).sum(1) + np.square(c).sum(1).max()
    chosen = np.take_along_axis(distances, found[:, None].astype(int), 1)[:, 0]
    assert np.all(chosen <= distances.min(1) + 1e-6 * scale)


@settings(deadline=None, max_examples=6)
@given(CASES, st.integers(1, 5))
def test_top_is_in_order(case, wanted):
    count, dimension, codewords, seed = case
    rng = np.random.default_rng(seed)
    x, c = integers((count, dimension), rng), integers((codewords, dimension), rng)
    wanted = min(wanted, codewords)
    for a, e in zip(gpu.top(*tensors(x, c), wanted), nearest.top(x, c, wanted), strict=True):
        assert np.array_equal(a.numpy(), e)


@pytest.mark.parametrize("dimension", [5, 64, 130])
def test_residual_stages(dimension):
    rng = np.random.default_rng(dimension)
    x = integers((70, dimension), rng)
    books = [integers((k, dimension), rng) for k in (65, 3, 128)]
    expected = nearest.residual(x, books, remainder=True)
    found = gpu.residual(torch.from_numpy(x), [gpu.Packed(book) for book in tensors(*books)], remainder=True)
    for a, e in zip(found, expected, strict=True):
        assert np.array_equal(a.numpy(), e)
    assert torch.equal(gpu.residual(torch.from_numpy(x), tensors(*books)), found[0])


@settings(deadline=None, max_examples=6)
@given(CASES)
def test_sums_of_assigned_vectors(case):
    count, dimension, codewords, seed = case
    rng = np.random.default_rng(seed)
    x, indices = integers((count, dimension), rng), rng.integers(0, codewords, count)
    expected = nearest.accumulate(x, indices, codewords)
    for a, e in zip(gpu.accumulate(*tensors(x, indices), codewords), expected, strict=True):
        assert np.array_equal(a.numpy(), e)


def test_half_precision_is_widened():
    rng = np.random.default_rng(1)
    x, c = tensors(integers((20, 6), rng), integers((9, 6), rng))
    assert torch.equal(gpu.search(x.bfloat16(), c.half()), gpu.search(x, c))


ONE = torch.ones(3, 4)
BAD = torch.tensor([[1.0, float("nan"), 1, 1]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gpu.search(ONE[0], ONE), r"x has the shape \(4,\), not \(N, 4\)"),
        (lambda: gpu.search(ONE[:0], ONE), r"x has the shape \(0, 4\), not \(N, 4\)"),
        (lambda: gpu.search(ONE[:, :3], ONE), r"x has the shape \(3, 3\), not \(N, 4\)"),
        (lambda: gpu.search(ONE, ONE[:0]), r"codewords has the shape \(0, 4\), not \(K, D\)"),
        (lambda: gpu.search(ONE.double(), ONE), "x must be a tensor of float32, .* not torch.float64"),
        (lambda: gpu.search(ONE.numpy(), ONE), "x must be a tensor of float32, .* not ndarray"),
        (lambda: gpu.search(BAD, ONE), r"x of the shape \(1, 4\) must hold finite"),
        (lambda: gpu.search(ONE, BAD), r"codewords of the shape \(1, 4\) must hold finite"),
        (lambda: gpu.search(ONE, ONE, bias=BAD[0, :3]), r"bias of the shape \(3,\).* finite"),
        (lambda: gpu.search(ONE, ONE, bias=ONE), r"bias must be float32 of the shape \(3,\), .* \(3, 4\)"),
        (lambda: gpu.search(ONE, gpu.Packed(ONE), bias=ONE[:, 0]), "give it to Packed"),
        (lambda: gpu.top(ONE, ONE, 4), "count must be an integer from 1 to the 3 codewords, not 4"),
        (lambda: gpu.residual(ONE, []), "stages is empty"),
        (lambda: gpu.residual(ONE, [ONE, ONE[:, :2]]), r"stages\[1\] has the shape \(3, 2\), not \(K, 4\)"),
        (lambda: gpu.accumulate(ONE, torch.zeros(2, dtype=torch.int64), 3), r"shape \(3,\), not torch.int64 of \(2,\)"),
        (lambda: gpu.accumulate(ONE, torch.tensor([0, 3, 1]), 3), "indices must be 0 to 2, not 3"),
        (lambda: gpu.accumulate(ONE, torch.tensor([0, 1, 1]), 0), "count must be an integer"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_compiled_kernels_refuse_tensors_of_the_cpu():
    code = (
        "import torch; from siglum.kernels.gpu import nearest\n"
        "try: nearest.search(torch.zeros(3, 2), torch.zeros(3, 2))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("UsageError the GPU search takes tensors on a GPU")
