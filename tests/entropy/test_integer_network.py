from __future__ import annotations

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.entropy.integer_network import (
    Depthwise,
    IntegerNetwork,
    PixelShuffle,
    Pointwise,
    quantize_depthwise,
    quantize_pointwise,
)


def pointwise(cin: int, cout: int, weight: int = 1, bias: int = 0, **options: Any) -> Pointwise:
    options = {"shift": 1, "low": -100, "high": 100, **options}
    return Pointwise(
        np.full((cout, cin), weight, np.int8),
        np.full(cout, bias, np.int32),
        np.full(cout, 2, np.int32),
        **options,
    )


def example() -> IntegerNetwork:
    rng = np.random.default_rng(0)
    depthwise = Depthwise(
        rng.integers(-9, 10, (3, 3, 8), dtype=np.int8),
        rng.integers(-9, 10, 8, dtype=np.int32),
        rng.integers(0, 2**20, 8, dtype=np.int32),
        22,
        0,
        127,
    )
    layers = [pointwise(3, 8), depthwise, PixelShuffle(), pointwise(2, 5, weight=-7)]
    return IntegerNetwork(layers, input_bound=255, condition_bounds=[10, 0, 1000])


def test_bounds_are_computed_and_respected() -> None:
    layer = Pointwise(np.int8([[127, -128], [1, 1]]), np.int32([5, -9]), np.int32([1, 1]), 1, -7, 3)
    assert IntegerNetwork([layer], 10).bounds == [255 * 10 + 5]
    assert IntegerNetwork([layer], 10, [1000]).bounds == [255 * 10 + 5 + 1000]
    assert IntegerNetwork([layer, pointwise(2, 2)], 10).bounds == [2555, 14]  # the clamp bounds what follows

    def limit(bias: int, condition: int = 0) -> IntegerNetwork:
        wide = Pointwise(np.full((1, 511), -128, np.int8), np.int32([bias]), np.int32([1]), 1)
        return IntegerNetwork([wide], 32768, [condition])

    room = 2**31 - 1 - 511 * 128 * 32768
    assert limit(-room).bounds == limit(0, room).bounds == [2**31 - 1]
    for bias, condition in [(room + 1, 0), (-room - 1, 0), (room, 1), (-(2**31), 0), (0, 2**31 - 1)]:
        with pytest.raises(ValueError, match="beyond int32"):
            limit(bias, condition)


@pytest.mark.parametrize(
    "change",
    [
        {"weight": np.zeros((2, 3), np.int16)},
        {"weight": np.zeros(3, np.int8)},
        {"weight": np.zeros((0, 3), np.int8)},
        {"weight": [[1, 2, 3], [4, 5, 6]]},
        {"bias": np.zeros(3, np.int32)},
        {"bias": np.zeros(2, np.int64)},
        {"multiplier": np.array([1, -1], np.int32)},
        {"multiplier": np.zeros(1, np.int32)},
        {"shift": 0},
        {"shift": 47},
        {"shift": 1.0},
        {"shift": True},
        {"low": -32769},
        {"high": 32768},
        {"low": 2, "high": 1},
    ],
)
def test_bad_layers(change: dict[str, Any]) -> None:
    good = {
        "weight": np.zeros((2, 3), np.int8),
        "bias": np.zeros(2, np.int32),
        "multiplier": np.zeros(2, np.int32),
        "shift": 1,
        "low": 0,
        "high": 1,
    }
    Pointwise(**good)
    with pytest.raises(ValueError):
        Pointwise(**{**good, **change})


def test_bad_networks() -> None:
    with pytest.raises(ValueError, match="at least one"):
        IntegerNetwork([], 1)
    with pytest.raises(ValueError, match="at least one"):
        IntegerNetwork([PixelShuffle()], 1)
    with pytest.raises(ValueError, match="channels"):
        IntegerNetwork([pointwise(2, 3), pointwise(2, 3)], 1)
    with pytest.raises(ValueError, match="multiple of 4"):
        IntegerNetwork([pointwise(2, 6), PixelShuffle()], 1)
    with pytest.raises(ValueError, match="pixel shuffles"):
        IntegerNetwork([PixelShuffle()] * 9 + [pointwise(1, 1)], 1)
    with pytest.raises(ValueError, match="layers must be"):
        IntegerNetwork([pointwise(1, 1), "relu"], 1)  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"\(3, 3, C\)"):
        Depthwise(np.zeros((3, 2, 1), np.int8), np.zeros(1, np.int32), np.zeros(1, np.int32), 1)
    for bound in (-1, 32769, 1.0, True):
        with pytest.raises(ValueError, match="bound"):
            IntegerNetwork([pointwise(1, 1)], bound)  # type: ignore[arg-type]
    for bounds in ([], [1, 2], [-1], [2**31], [0.5]):
        with pytest.raises(ValueError, match="bound"):
            IntegerNetwork([pointwise(1, 1)], 1, bounds)  # type: ignore[arg-type]


def test_bad_inputs() -> None:
    network = example()
    good = np.zeros((2, 3, 3), np.int16)
    for x in (good[:0], good[:, :0], good[..., :2], good[0], good.astype(np.int32), good.tolist()):
        with pytest.raises(ValueError):
            network(x)
    for value in (256, -256, -32768):
        with pytest.raises(ValueError, match="bound"):
            network(np.full((1, 1, 3), value, np.int16))
    zero = np.zeros(8, np.int32)
    for condition in (
        [],
        [None],
        [zero, None, zero],
        [zero.astype(np.int64), None, None],
        [zero + 11, None, None],
    ):
        with pytest.raises(ValueError):
            network(good, condition)
    with pytest.raises(ValueError, match="beyond"):
        network(good, [None, zero - 1, None])  # this layer takes no condition
    with pytest.raises(ValueError):
        network(good, threads=0)
    with pytest.raises(ValueError, match="has no"):
        network(good, isa="mmx")


def test_no_images_give_no_images() -> None:
    assert example()(np.zeros((0, 2, 3, 3), np.int16)).shape == (0, 4, 6, 5)


def test_views_and_layouts_do_not_matter() -> None:
    network = example()
    x = np.random.default_rng(2).integers(-255, 256, (6, 10, 3), dtype=np.int16)
    expected = network(x)
    np.testing.assert_array_equal(network(np.asfortranarray(x)), expected)
    np.testing.assert_array_equal(network(np.repeat(x, 2, axis=1)[:, ::2]), expected)


def test_a_network_is_shared_between_threads() -> None:
    network = example()
    x = np.random.default_rng(4).integers(-255, 256, (8, 20, 30, 3), dtype=np.int16)
    expected = network.reference(x)
    with ThreadPoolExecutor(4) as pool:
        for y, wanted in zip(pool.map(network, x), expected, strict=True):
            np.testing.assert_array_equal(y, wanted)


def test_layers_cannot_be_changed() -> None:
    weight = np.ones((1, 1), np.int8)
    layer = Pointwise(weight, np.zeros(1, np.int32), np.ones(1, np.int32), 1)
    weight[:] = 5
    assert layer.weight[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        layer.weight[0, 0] = 2


def test_round_trip_through_safetensors() -> None:
    from safetensors import deserialize
    from safetensors.numpy import load, save

    network = example()
    data = save(
        {**network.tensors("hyper."), "other": np.zeros(3, np.float32)}, metadata=network.metadata("hyper.")
    )
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert len(deserialize(data)) == 10
    copy = IntegerNetwork.from_tensors(load(data), header["__metadata__"], "hyper.")
    assert copy.bounds == network.bounds
    assert copy.condition_bounds == network.condition_bounds
    assert copy.metadata() == network.metadata()
    x = np.random.default_rng(5).integers(-255, 256, (5, 7, 3), dtype=np.int16)
    np.testing.assert_array_equal(copy(x), network(x))


def test_hostile_tensors() -> None:
    network = example()
    tensors, metadata = network.tensors(), network.metadata()
    IntegerNetwork.from_tensors(tensors, metadata)
    for name in tensors:
        bad: list[Any] = [
            tensors[name].astype(np.float32),
            tensors[name][:-1],
            tensors[name][..., :0],
            tensors[name][None],
        ]
        for tensor in bad:
            with pytest.raises(ValueError):
                IntegerNetwork.from_tensors({**tensors, name: tensor}, metadata)
        with pytest.raises(ValueError, match="lacks"):
            IntegerNetwork.from_tensors({k: v for k, v in tensors.items() if k != name}, metadata)
    with pytest.raises(ValueError, match="unexpected"):
        IntegerNetwork.from_tensors({**tensors, "9.weight": np.zeros(1, np.int8)}, metadata)
    with pytest.raises(ValueError, match="int32"):
        IntegerNetwork.from_tensors({**tensors, "0.bias": np.full(8, -(2**31), np.int32)}, metadata)
    with pytest.raises(ValueError, match="missing"):
        IntegerNetwork.from_tensors(tensors, {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_hostile_metadata(data: st.DataObject) -> None:
    network = example()
    content = json.loads(network.metadata()["integer_network"])
    value = data.draw(JSON)
    place = data.draw(
        st.sampled_from(["all", "layers", "input_bound", "condition_bounds", "entry", "shift", "kind"])
    )
    if place == "all":
        content = value
    elif place == "entry":
        content["layers"][1] = value
    elif place in ("shift", "kind"):
        content["layers"][1][place] = value
    else:
        content[place] = value
    text = json.dumps(content)
    with contextlib.suppress(ValueError):
        IntegerNetwork.from_tensors(network.tensors(), {"integer_network": text})


@pytest.mark.parametrize("text", ["", "{", "[" * 60000, "9" * 5000, "NaN", "x" * 70000, "\ud800"])
def test_metadata_that_are_not_json(text: str) -> None:
    with pytest.raises(ValueError, match="integer network"):
        IntegerNetwork.from_tensors({}, {"integer_network": text})


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 24), st.integers(1, 24), st.floats(-3, 3), st.floats(-2, 2))
def test_quantized_pointwise_is_near_the_float_one(
    seed: int, cin: int, cout: int, log_weight: float, log_scale: float
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(cout, cin)) * 10**log_weight
    bias = rng.normal(size=cout) * 10**log_weight
    x = rng.integers(-500, 501, (4, 4, cin), dtype=np.int16)
    input_scale = 10**log_scale
    real = x * input_scale @ weight.T + bias
    output_scale = np.abs(real).max() / 30000 + 1e-12
    layer = quantize_pointwise(weight, bias, input_scale, output_scale)
    assert layer.multiplier.max() >= 2**30 or layer.shift == 46
    y = IntegerNetwork([layer], 500)(x) * output_scale
    # Weights are off by at most half a step, of 127 to the largest of a row; outputs by half a unit.
    tolerance = 500 * cin * input_scale * np.abs(weight).max(axis=1) / 127 + 2 * output_scale
    assert (np.abs(y - real) <= tolerance + np.abs(bias) * 1e-3).all()


def test_quantized_depthwise_equals_the_pointwise_of_each_tap() -> None:
    rng = np.random.default_rng(9)
    weight, bias = rng.normal(size=(3, 3, 6)), rng.normal(size=6)
    layer = quantize_depthwise(weight, bias, 0.02, 0.01, low=0, high=255, weight_bits=7)
    rows = quantize_pointwise(weight.reshape(9, 6).T, bias, 0.02, 0.01, low=0, high=255, weight_bits=7)
    np.testing.assert_array_equal(layer.weight.reshape(9, 6).T, rows.weight)
    np.testing.assert_array_equal(layer.bias, rows.bias)
    np.testing.assert_array_equal(layer.multiplier, rows.multiplier)
    assert (layer.shift, layer.low, layer.high) == (rows.shift, 0, 255)
    assert np.abs(layer.weight.astype(int)).max() == 63


def test_quantized_rows_without_weights() -> None:
    layer = quantize_pointwise([[0.0, 0.0], [0.0, 0.0], [1.0, -1.0]], [0.0, 12.0, 0.0], 0.1, 0.1)
    y = IntegerNetwork([layer], 100)(np.array([[[50, 20]]], np.int16))
    np.testing.assert_array_equal(y[0, 0], [0, 120, 30])
    nothing = quantize_pointwise([[0.0]], [0.0], 1.0, 1.0)
    assert not nothing.multiplier.any()


@pytest.mark.parametrize(
    "arguments",
    [
        ([[np.nan]], [0.0], 1.0, 1.0),
        ([[1.0]], [np.inf], 1.0, 1.0),
        ([[1.0]], [0.0, 0.0], 1.0, 1.0),
        ([1.0], [0.0], 1.0, 1.0),
        ([[1.0]], [0.0], 0.0, 1.0),
        ([[1.0]], [0.0], 1.0, -1.0),
        ([[1.0]], [0.0], np.nan, 1.0),
        ([[1.0]], [0.0], 1.0, 1e-300),
        ([[1.0]], [0.0], 1e300, 1e-300),
        ([[0.0]], [0.0], 1e300, 1e-300),
        ([[1.0]], [1e300], 1e-300, 1.0),
    ],
)
def test_what_cannot_be_quantized(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError):
        quantize_pointwise(*arguments)
    with pytest.raises(ValueError, match="weight_bits"):
        quantize_pointwise([[1.0]], [0.0], 1.0, 1.0, weight_bits=9)
