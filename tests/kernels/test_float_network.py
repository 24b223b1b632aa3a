"""Compiled float networks against NumPy in float64: every instruction set, thread count, odd size and layer."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.kernels import dispatch
from siglum.kernels.float_network import (
    PATCH_CHANNELS,
    Block,
    Depthwise,
    FloatNetwork,
    Layer,
    Pointwise,
    rounds,
)
from siglum.kernels.reference import float_network as reference

ISAS = dispatch.available_isas()


def random_floats(random: np.random.Generator, *shape: int) -> np.ndarray:
    scale = 1 / np.sqrt(shape[-1]) if len(shape) > 1 else 0.5
    return (random.standard_normal(shape) * scale).astype(np.float32)


def pointwise(random: np.random.Generator, inputs: int, outputs: int, **settings: object) -> Pointwise:
    return Pointwise(random_floats(random, outputs, inputs), random_floats(random, outputs), **settings)


def depthwise(random: np.random.Generator, channels: int) -> Depthwise:
    return Depthwise(
        random.standard_normal((3, 3, channels)).astype(np.float32) / 3, random_floats(random, channels)
    )


def block(random: np.random.Generator, channels: int, wide: int) -> Block:
    def matrix(inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
        return random_floats(random, outputs, inputs), random_floats(random, outputs)

    mix = depthwise(random, channels)
    return Block(
        *matrix(channels, channels),
        mix.weight,
        mix.bias,
        *matrix(channels, channels),
        *matrix(channels, wide),
        *matrix(wide, channels),
    )


def check(network: FloatNetwork, x: np.ndarray, gains: list[np.ndarray], tolerance: float = 2e-5) -> None:
    expected = network.reference(x, gains)
    for isa in ISAS:
        for threads in (1, 2, 3):
            out = network(x, gains, threads=threads, isa=isa)
            assert out.shape == expected.shape and out.dtype == expected.dtype
            if out.dtype == np.uint8:
                assert int(np.max(np.abs(out.astype(int) - expected))) <= 1
            else:
                assert np.allclose(
                    out, expected, rtol=tolerance, atol=tolerance * max(1.0, np.abs(expected).max())
                )
            assert np.array_equal(out, network(x, gains, threads=1, isa=isa))  # no effect of the threads


@given(
    st.integers(1, 19),
    st.integers(1, 40),
    st.integers(1, 70),
    st.integers(1, 100),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
@settings(deadline=None, max_examples=25)
def test_pointwise(
    height: int, width: int, inputs: int, outputs: int, activation: bool, gained: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    network = FloatNetwork([pointwise(random, inputs, outputs, activation=activation, gained=gained)], inputs)
    gains = [random_floats(random, outputs)] if gained else []
    check(network, random_floats(random, height, width, inputs), gains)


@given(st.integers(1, 9), st.integers(1, 20), st.integers(1, 50), st.integers(1, 90), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_blocks_and_3x3_layers(height: int, width: int, channels: int, wide: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    layers: list[Layer] = [
        depthwise(random, channels),
        block(random, channels, wide),
        block(random, channels, wide),
    ]
    check(FloatNetwork(layers, channels), random_floats(random, height, width, channels), [])


def test_blocks_in_several_bands() -> None:
    random = np.random.default_rng(1)
    check(FloatNetwork([block(random, 40, 80)], 40), random_floats(random, 37, 61, 40), [])


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 40), st.integers(1, 20), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_cells_down_and_up_with_a_branch(
    rows: int, columns: int, channels: int, inner: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    layers = [
        pointwise(random, channels, 7, branch="aside"),
        pointwise(random, 4 * channels, inner, grid="down", gained=True),
        pointwise(random, inner, 28, grid="up", branch="add", gained=True),
    ]
    gains = [random_floats(random, inner), random_floats(random, 28)]
    x = random_floats(random, 2 * rows, 2 * columns, channels)
    check(FloatNetwork(layers, channels), x, gains)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.integers(0, 99))
@settings(deadline=None, max_examples=15)
def test_edges_are_continued(height: int, width: int, multiple: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    samples = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    layer = pointwise(random, PATCH_CHANNELS, 9)
    check(FloatNetwork([layer], PATCH_CHANNELS, input="samples", multiple=multiple), samples, [])
    y = random_floats(random, height, width, 5) * 30
    for kind, gains in (("asinh", []), ("scaled", [random_floats(random, 5)]), ("floats", [])):
        check(FloatNetwork([pointwise(random, 5, 3)], 5, input=kind, multiple=multiple), y, gains)


@given(st.integers(1, 9), st.integers(1, 30), st.integers(1, 70), st.integers(1, 90), st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_layers_that_may_round(height: int, width: int, channels: int, wide: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    layers: list[Layer] = [
        replace(block(random, channels, wide), may_round=True),
        pointwise(random, 4 * channels, wide, grid="down", gained=True, may_round=True),
        pointwise(random, wide, 4 * channels, grid="up", activation=True, may_round=True),
    ]
    network, gains = FloatNetwork(layers, channels, multiple=2), [random_floats(random, wide)]
    x = random_floats(random, height, width, channels)
    expected = network.reference(x, gains)
    for isa in ISAS:
        out = network(x, gains, threads=2, isa=isa)
        limit = 2e-2 if rounds(isa) else 2e-5
        assert np.max(np.abs(out - expected)) <= limit * max(1.0, float(np.abs(expected).max()))
        assert np.array_equal(out, network(x, gains, isa=isa))


def test_rounded_products_of_integers_are_exact() -> None:
    random = np.random.default_rng(5)
    for inputs in (1, 17, 768, 5000):
        weight = random.integers(-8, 9, (33, inputs)).astype(np.float32)
        bias = random.integers(-50, 50, 33).astype(np.float32)
        x = random.integers(-128, 129, (3, 101, inputs)).astype(np.float32)
        network = FloatNetwork([Pointwise(weight, bias, may_round=True)], inputs)
        for isa in ISAS:
            assert np.array_equal(network(x, isa=isa), network.reference(x))


def test_samples_are_rounded_and_clamped() -> None:
    layer = Pointwise(np.ones((PATCH_CHANNELS, 1), np.float32), np.zeros(PATCH_CHANNELS, np.float32))
    network = FloatNetwork([layer], 1, output="samples")
    for isa in ISAS:
        for level in (0, 1, 2, 100, 254, 255):
            for part in (-0.49, 0.0, 0.49):
                value = np.full((1, 1, 1), (level + part) / 255 - 0.5, np.float32)
                assert np.all(network(value, isa=isa) == level)
        for value, level in ((-1e30, 0), (1e30, 255), (-np.inf, 0), (np.inf, 255), (np.nan, 0)):
            assert np.all(network(np.full((1, 1, 1), value, np.float32), isa=isa) == level)


def test_samples_there_and_back() -> None:
    # sample / 128 - 1 -> sample / 255 - 1/2
    weight = np.eye(PATCH_CHANNELS, dtype=np.float32) * np.float32(128 / 255)
    layer = Pointwise(weight, np.full(PATCH_CHANNELS, 128 / 255 - 0.5, np.float32))
    network = FloatNetwork([layer], input="samples", output="samples")
    picture = np.random.default_rng(0).integers(0, 256, (37, 45, 3), dtype=np.uint8)
    for isa in ISAS:
        assert np.array_equal(network(picture, isa=isa)[:37, :45], picture)
        out = np.zeros((20, 30, 3), np.uint8)
        network(picture[:, ::-1].copy()[:, ::-1], out=out, top=11, left=5, isa=isa)
        assert np.array_equal(out, picture[11:31, 5:35])


def test_a_part_of_the_result_goes_into_a_part_of_an_array() -> None:
    random = np.random.default_rng(2)
    network = FloatNetwork([block(random, 6, 9), pointwise(random, 6, 4)], 6)
    x = random_floats(random, 20, 30, 6)[3:17, 2:25]
    whole = network(x)
    out = np.zeros((40, 50, 4), np.float32)
    network(x, out=out[7:12, 8:18], top=4, left=6, threads=2)
    assert np.array_equal(out[7:12, 8:18], whole[4:9, 6:16])
    out[7:12, 8:18] = 0
    assert not out.any()


@pytest.mark.parametrize("isa", ISAS)
def test_asinh_is_accurate(isa: str) -> None:
    eye = Pointwise(np.eye(1, dtype=np.float32), np.zeros(1, np.float32))
    values = np.concatenate([np.linspace(-50, 50, 5001), np.geomspace(1e-6, 1e6, 5001), [0.0]]).astype(
        np.float32
    )
    out = FloatNetwork([eye], 1, input="asinh")(values[None, :, None], isa=isa)[0, :, 0]
    expected = np.arcsinh(values.astype(np.float64))
    assert np.max(np.abs(out - expected) / np.maximum(1, np.abs(expected))) < 1e-6


def test_what_does_not_fit_is_refused() -> None:
    random = np.random.default_rng(3)
    good = pointwise(random, 4, 8)
    with pytest.raises(ValueError, match="channels"):
        FloatNetwork([good, good], 4)
    with pytest.raises(ValueError, match="float32"):
        FloatNetwork([Pointwise(good.weight.astype(np.float64), good.bias)], 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bias"):
        FloatNetwork([Pointwise(good.weight, good.bias[:3])], 4)
    with pytest.raises(ValueError, match="make no Pointwise"):
        FloatNetwork([Pointwise(good.weight[0], good.bias)], 4)
    with pytest.raises(ValueError, match="aside"):
        FloatNetwork([Pointwise(good.weight, good.bias, branch="add")], 4)
    with pytest.raises(ValueError, match="multiple of 4"):
        FloatNetwork([pointwise(random, 4, 6, grid="up")], 4)
    with pytest.raises(ValueError, match="3x3"):
        FloatNetwork([Depthwise(np.zeros((2, 3, 4), np.float32), np.zeros(4, np.float32))], 4)
    network = FloatNetwork([good], 4)
    x = random_floats(random, 3, 3, 4)
    for wrong in (
        x[..., :3],
        x[0],
        x.astype(np.float64),
        x.transpose(2, 0, 1).copy().transpose(1, 2, 0),
        x[:0],
    ):
        with pytest.raises(ValueError):
            network(wrong)
    with pytest.raises(ValueError, match="gain"):
        network(x, [random_floats(random, 4)])
    for top, left, shape in ((3, 0, (1, 1, 8)), (0, 1, (3, 3, 8)), (0, 0, (3, 3, 7)), (0, 0, (0, 3, 8))):
        with pytest.raises(ValueError):
            network(x, out=np.empty(shape, np.float32), top=top, left=left)
    with pytest.raises(ValueError, match="cut"):
        FloatNetwork([pointwise(random, 16, 8, grid="down")], 4)(x)


@pytest.mark.slow
def test_neon_under_an_emulator(tmp_path: Path) -> None:
    compiler = shutil.which("aarch64-linux-gnu-g++")
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if not compiler or not emulator:
        pytest.skip("needs Debian's g++-aarch64-linux-gnu and qemu-user-static")
    kernels = Path(__file__).parents[2] / "kernels" / "cpu"
    sources = [path for path in kernels.glob("float_network*.cpp") if not path.stem.endswith("bindings")]
    check = Path(__file__).parents[1] / "native" / "float_network_check.cpp"
    command = [compiler, "-static", "-std=c++17", "-O2", f"-I{kernels}", "-pthread", "-o", tmp_path / "check"]
    subprocess.run(
        [*command, *sources, kernels / "isa.cpp", kernels / "parallel.cpp", check], check=True, timeout=300
    )
    done = subprocess.run(
        [emulator, tmp_path / "check"], capture_output=True, text=True, timeout=240, check=True
    )
    assert "scalar neon" in done.stdout


def test_the_oracle_is_torchs_network() -> None:
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(4)
    x = random.standard_normal((6, 7, 5))
    taps, bias = random.standard_normal((3, 3, 5)).astype(np.float32), random_floats(random, 5)
    weight = torch.from_numpy(taps.astype(np.float64)).permute(2, 0, 1)[:, None]
    nchw = torch.from_numpy(x).permute(2, 0, 1)[None]
    theirs = torch.nn.functional.conv2d(
        nchw, weight, torch.from_numpy(bias.astype(np.float64)), padding=1, groups=5
    )
    assert np.allclose(reference.depthwise(x, taps, bias), theirs[0].permute(1, 2, 0).numpy())
    assert np.array_equal(reference.positions_of(reference.cells_of(x[:, :6])), x[:, :6])
