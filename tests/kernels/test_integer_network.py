"""The compiled layers against the NumPy oracle, and the oracle against torch and plain Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import siglum.kernels._native as _native
from siglum.entropy.integer_network import Depthwise, IntegerNetwork, Layer, PixelShuffle, Pointwise
from siglum.kernels import dispatch
from siglum.kernels.reference import integer_network as reference

ISAS = dispatch.available_isas()
SIZES = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 12, 13])
CHANNELS = st.sampled_from([1, 2, 3, 4, 7, 8, 15, 16, 17, 24, 31, 32, 33, 48, 64, 65, 80])


def random_layer(rng: np.random.Generator, kind: str, cin: int, cout: int) -> Layer:
    """A layer whose outputs use much of their range, and sometimes saturate."""
    shape = (cout, cin) if kind == "pointwise" else (3, 3, cin)
    channels = shape[0] if kind == "pointwise" else cin
    fan_in = cin if kind == "pointwise" else 9
    shift = int(rng.integers(1, 47))
    # The typical sum, about 70 * 600 * sqrt(fan_in), should come out near 1000.
    ideal = 2.0**shift * 1000 / (42000 * fan_in**0.5)
    multiplier = np.clip(ideal * rng.uniform(0, 4, channels), 0, 2**31 - 1).astype(np.int32)
    low, high = sorted(int(v) for v in rng.integers(-3000, 3000, 2))
    return (Pointwise if kind == "pointwise" else Depthwise)(
        rng.integers(-128, 128, shape, dtype=np.int8),
        rng.integers(-(2**20), 2**20, channels, dtype=np.int32),
        multiplier,
        shift,
        low,
        high,
    )


def random_network(seed: int, kinds: list[str], channels: list[int]) -> IntegerNetwork:
    rng = np.random.default_rng(seed)
    layers: list[Layer] = []
    width = channels[0]
    for kind, cout in zip(kinds, channels[1:], strict=True):
        if kind == "shuffle":
            layers.append(random_layer(rng, "pointwise", width, 4 * cout))
            layers.append(PixelShuffle())
            width = cout
        else:
            layers.append(random_layer(rng, kind, width, cout))
            width = cout if kind == "pointwise" else width
    return IntegerNetwork(layers, input_bound=1000, condition_bounds=[50000] * len(kinds))


@st.composite
def networks(draw: st.DrawFn) -> IntegerNetwork:
    kinds = draw(st.lists(st.sampled_from(["pointwise", "depthwise", "shuffle"]), min_size=1, max_size=4))
    if kinds.count("shuffle") > 2:
        kinds = ["pointwise" if kind == "shuffle" else kind for kind in kinds]
    channels = [draw(CHANNELS) for _ in range(len(kinds) + 1)]
    return random_network(draw(st.integers(0, 2**32)), kinds, channels)


@settings(deadline=None, max_examples=150)
@given(networks(), st.integers(1, 3), SIZES, SIZES, st.integers(0, 2**32), st.booleans())
def test_every_variant_equals_the_reference(
    network: IntegerNetwork, n: int, height: int, width: int, seed: int, conditioned: bool
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-1000, 1001, (n, height, width, network.in_channels), dtype=np.int16)
    condition = None
    if conditioned:
        counts = [len(layer.bias) for layer in network.layers if not isinstance(layer, PixelShuffle)]
        condition = [
            rng.integers(-50000, 50001, c, dtype=np.int32) if rng.random() < 0.7 else None for c in counts
        ]
    expected = network.reference(x, condition)
    assert expected.dtype == np.int16
    assert expected.shape == (
        n,
        height * network.upsampling,
        width * network.upsampling,
        network.out_channels,
    )
    for isa in ISAS:
        for threads in (1, 2, 3):
            np.testing.assert_array_equal(network(x, condition, threads=threads, isa=isa), expected)
        np.testing.assert_array_equal(network(x[-1], condition, isa=isa), expected[-1])  # alone as in company


@pytest.mark.parametrize("isa", ISAS)
def test_threads_that_really_run(isa: str) -> None:
    # Large enough for the kernel to wake several threads.
    network = random_network(7, ["pointwise", "depthwise", "shuffle", "depthwise"], [40, 96, 96, 24, 24])
    rng = np.random.default_rng(1)
    x = rng.integers(-1000, 1001, (2, 37, 41, 40), dtype=np.int16)
    expected = network(x, threads=1, isa="scalar")
    np.testing.assert_array_equal(expected, network.reference(x))
    for threads in (1, 2, 5):
        for _ in range(3):
            np.testing.assert_array_equal(network(x, threads=threads, isa=isa), expected)


@pytest.mark.parametrize("isa", ISAS)
def test_accumulators_at_the_bound(isa: str) -> None:
    # 511 products of 128 * 32768 leave room for this bias below 2**31.
    room = 2**31 - 1 - 511 * 128 * 32768
    multiplier = np.array([2**31 - 1, 2**30, 1, 0], np.int32)
    for bias, value in [(room, -32768), (-room, 32767)]:
        layer = Pointwise(np.full((4, 511), -128, np.int8), np.full(4, bias, np.int32), multiplier, 46)
        network = IntegerNetwork([layer], 32768)
        assert network.bounds == [2**31 - 1]
        total = bias + 511 * -128 * value
        expected = [max(-32768, min(32767, (total * int(m) + (1 << 45)) >> 46)) for m in multiplier]
        x = np.full((1, 13, 511), value, np.int16)
        np.testing.assert_array_equal(network(x, isa=isa)[0], [expected] * 13)
        np.testing.assert_array_equal(network.reference(x)[0], [expected] * 13)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=20),
    st.sampled_from([0, 1, 2, 3, 2**15, 2**30 - 1, 2**30, 2**31 - 1]) | st.integers(0, 2**31 - 1),
    st.integers(1, 46),
    st.tuples(st.integers(-32768, 32767), st.integers(-32768, 32767)),
)
def test_requantisation_is_the_formula(
    sums: list[int], multiplier: int, shift: int, interval: tuple[int, int]
) -> None:
    low, high = sorted(interval)
    expected = [max(low, min(high, (s * multiplier + (1 << (shift - 1))) >> shift)) for s in sums]
    c = len(sums)
    multipliers = np.full(c, multiplier, np.int32)
    np.testing.assert_array_equal(
        reference.requantise(np.array(sums, np.int64), multipliers, shift, low, high), expected
    )
    # Zero weights: the bias is the accumulator.
    bias = np.array(sums, np.int32)
    for layer in (
        Pointwise(np.zeros((c, 1), np.int8), bias, multipliers, shift, low, high),
        Depthwise(np.zeros((3, 3, c), np.int8), bias, multipliers, shift, low, high),
    ):
        network = IntegerNetwork([layer], 32768)
        x = np.ones((1, 1, network.in_channels), np.int16)
        for isa in ISAS:
            np.testing.assert_array_equal(network(x, isa=isa)[0, 0], expected)


def test_halves_round_up() -> None:
    bias = np.array([-3, -2, -1, 0, 1, 2, 3], np.int32)
    layer = Pointwise(np.zeros((7, 1), np.int8), bias, np.ones(7, np.int32), 1)
    for isa in ISAS:
        y = IntegerNetwork([layer], 1)(np.zeros((1, 1, 1), np.int16), isa=isa)
        np.testing.assert_array_equal(y[0, 0], [-1, -1, 0, 0, 1, 1, 2])


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (2, 2), (5, 9)])
def test_the_sums_equal_torch_in_float64(size: tuple[int, int]) -> None:
    import torch

    rng = np.random.default_rng(3)
    x = rng.integers(-32768, 32768, (2, *size, 12), dtype=np.int16)
    pointwise = rng.integers(-128, 128, (20, 12), dtype=np.int8)
    depthwise = rng.integers(-128, 128, (3, 3, 12), dtype=np.int8)
    bias = rng.integers(-(2**20), 2**20, 20).astype(np.int64)
    nchw = torch.from_numpy(x.astype(np.float64)).permute(0, 3, 1, 2)

    def check(ours: np.ndarray, theirs: torch.Tensor) -> None:
        np.testing.assert_array_equal(ours, theirs.permute(0, 2, 3, 1).numpy().astype(np.int64))

    weight = torch.from_numpy(pointwise.astype(np.float64))[:, :, None, None]
    check(
        reference.pointwise_sums(x, pointwise, bias),
        torch.nn.functional.conv2d(nchw, weight, torch.from_numpy(bias.astype(np.float64))),
    )
    weight = torch.from_numpy(depthwise.astype(np.float64)).permute(2, 0, 1)[:, None]
    check(
        reference.depthwise_sums(x, depthwise, bias[:12]),
        torch.nn.functional.conv2d(
            nchw, weight, torch.from_numpy(bias[:12].astype(np.float64)), padding=1, groups=12
        ),
    )
    check(reference.pixel_shuffle(x), torch.nn.functional.pixel_shuffle(nchw, 2))


def test_the_native_side_checks_for_itself() -> None:
    one, ones = np.ones((1, 1), np.int8), np.ones(1, np.int32)
    with pytest.raises(ValueError, match="has no"):
        _native.IntegerNetwork("mmx")
    network = _native.IntegerNetwork("scalar")
    for shift, low, high in [(0, 0, 1), (47, 0, 1), (1, 1, 0), (1, -32769, 0), (1, 0, 32768)]:
        with pytest.raises(ValueError):
            network.add_pointwise(one, ones, shift, low, high)
    with pytest.raises(ValueError, match="negative"):
        network.add_pointwise(one, -ones, 1, 0, 1)
    with pytest.raises(ValueError, match="multiplier"):
        network.add_pointwise(one, np.ones(2, np.int32), 1, 0, 1)
    with pytest.raises(ValueError, match="depthwise"):
        network.add_depthwise(np.ones((2, 3, 1), np.int8), ones, 1, 0, 1)
    network.add_pointwise(one, ones, 1, 0, 1)
    x, out = np.zeros((1, 2, 2, 1), np.int16), np.zeros((1, 2, 2, 1), np.int16)
    network.run(x, ones, out, 1)
    for bad_x, bad_bias, bad_out, threads in [
        (x[:, :0], ones, out[:, :0], 1),
        (np.zeros((1, 2, 2, 3), np.int16), ones, out, 1),
        (x, np.ones(2, np.int32), out, 1),
        (x, ones, np.zeros((1, 2, 1, 1), np.int16), 1),
        (x, ones, out, 0),
    ]:
        with pytest.raises(ValueError):
            network.run(np.ascontiguousarray(bad_x), bad_bias, np.ascontiguousarray(bad_out), threads)
    with pytest.raises(TypeError):
        network.run(x.astype(np.int32), ones, out, 1)
