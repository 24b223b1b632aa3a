"""Transforms of caches on a GPU, in Triton's interpreter: the CPU's symbols and samples."""

import importlib.util

import numpy as np
import pytest

from siglum.codecs.kv.rope import Rope

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install siglum[gpu]", allow_module_level=True)

import torch

# The kernels become interpreted or compiled ones when they are imported.
with pytest.MonkeyPatch.context() as patch:
    patch.setenv("TRITON_INTERPRET", "1")
    from siglum.kernels.gpu import kv as gpu


@pytest.fixture(scope="module", autouse=True)
def interpreter():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        yield


def angles_of(rope, start, tokens):
    tables = (np.zeros((tokens, 0), np.float32),) * 2 if rope is None else rope.tables(start, tokens)
    return tuple(torch.from_numpy(np.array(table)) for table in tables)


CASES = [
    (Rope(100.0, 8), 2, 3, 8, 70, 30),
    (Rope(100.0, 4), 1, 2, 8, 5, 3),
    (Rope(100.0, 8, "interleaved"), 2, 1, 12, 20, 17),
    (Rope(100.0, 6), 1, 1, 9, 3, 9),
    (None, 3, 2, 5, 65, 66),
]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("rope", "layers", "heads", "channels", "tokens", "count"), CASES)
def test_both_ways(rope, layers, heads, channels, tokens, count, dtype):
    rng = np.random.default_rng(0)
    width = layers * heads * channels
    wholes = [
        torch.from_numpy(rng.standard_normal((heads, tokens + 4, channels))).to(dtype) for _ in range(layers)
    ]
    parts = [whole[:, 2 : tokens + 2] for whole in wholes]
    analysis = (3 * rng.standard_normal((width, count))).astype(np.float32)
    synthesis = rng.standard_normal((count, width)).astype(np.float32)
    offset, mean, bias = (rng.standard_normal(n).astype(np.float32) for n in (count, width, width))
    turned = (0, False) if rope is None else (rope.dim, rope.layout == "interleaved")
    matrices = gpu.Matrices(
        analysis, offset, synthesis, mean, bias, gpu.Pairs.of(channels, *turned), channels, "cpu"
    )
    angles = angles_of(rope, 7, tokens)

    plain = np.stack([part.float().numpy() for part in parts])
    plain = plain if rope is None else rope.turn(plain, 7, back=True)
    rows = plain.transpose(2, 0, 1, 3).reshape(tokens, width)
    expected = (rows.astype(np.float64) - mean) @ analysis + offset
    values = gpu.analyse(parts, matrices, angles, quantise=False).numpy()
    np.testing.assert_allclose(values, expected, atol=2e-4)
    symbols = gpu.analyse(parts, matrices, angles, quantise=True)
    assert symbols.dtype == torch.int16
    tie = np.abs(np.abs(expected - np.floor(expected)) - 0.5) < 1e-3
    assert np.array_equal(symbols.numpy()[~tie], np.rint(expected)[~tie])
    assert np.abs(symbols.numpy() - expected).max() < 0.501

    back = symbols.numpy().astype(np.float64) @ synthesis + bias
    back = back.reshape(tokens, layers, heads, channels).transpose(1, 2, 0, 3).astype(np.float32)
    back = back if rope is None else rope.turn(back, 7)
    out = [torch.zeros((heads, tokens + 4, channels), dtype=dtype) for _ in range(layers)]
    gpu.synthesise(symbols, matrices, angles, [part[:, 2 : tokens + 2] for part in out])
    fine = {torch.float16: 1e-3, torch.bfloat16: 8e-3, torch.float32: 3e-4}[dtype]
    got = np.stack([part.float().numpy() for part in out])
    np.testing.assert_allclose(got[:, :, 2 : tokens + 2], back, rtol=fine, atol=fine)
    assert not got[:, :, :2].any()
    assert not got[:, :, tokens + 2 :].any()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the interpreter computes in NumPy
def test_what_has_no_symbol():
    one = np.float32([[1]])
    matrices = gpu.Matrices(one, one[0], one, one[0], one[0], gpu.Pairs.of(1), 1, "cpu")
    part = torch.tensor([1.5, 2.5, 32767, 32768, -32767, -4e4, float("nan"), float("inf")]).reshape(1, 8, 1)
    symbols = gpu.analyse([part], matrices, angles_of(None, 0, 8), quantise=True)[:, 0].tolist()
    assert symbols == [2, 2, 32767, gpu.BAD, -32767, gpu.BAD, gpu.BAD, gpu.BAD]
    half = torch.zeros((1, 1, 1), dtype=torch.float16)
    gpu.synthesise(torch.tensor([[1e6]]), matrices, angles_of(None, 0, 1), [half])
    assert half.item() == 65504


def test_wrong_shapes():
    one = np.float32([[1]])
    matrices = gpu.Matrices(one, one[0], one, one[0], one[0], gpu.Pairs.of(1), 1, "cpu")
    none = angles_of(None, 0, 2)
    with pytest.raises(ValueError, match="heads"):
        gpu.analyse([torch.zeros(2, 2, 1)], matrices, none, quantise=True)
    with pytest.raises(ValueError, match="shape"):
        gpu.analyse([torch.zeros(1, 2, 2)], matrices, none, quantise=True)
    with pytest.raises(ValueError, match="layer is"):
        gpu.analyse([torch.zeros(1, 2, 1, dtype=torch.int32)], matrices, none, quantise=True)
    with pytest.raises(ValueError, match="values"):
        gpu.synthesise(torch.zeros(3, 1), matrices, none, [torch.zeros(1, 2, 1)])
    with pytest.raises(ValueError, match="channels"):
        gpu.Matrices(one, one[0], one, one[0], one[0], gpu.Pairs.of(2), 2, "cpu")
