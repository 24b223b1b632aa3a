"""What every probability model must do; a model joins by being registered."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.entropy import rans
from siglum.entropy.gaussian import gaussian_tables
from siglum.entropy.models import MODELS, DirectStep, Model, TableStep
from siglum.errors import BitstreamError, UsageError
from siglum.kernels import dispatch

NAMES = MODELS.names()


def model_class(name: str) -> type[Model]:
    found: Any = MODELS.find(name)
    return found


def test_the_models_are_there() -> None:
    assert {"adaptive", "categorical", "codebook", "gaussian", "mixture", "multivariate"} <= set(NAMES)
    for name in NAMES:
        assert model_class(name).name == name


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 2**31), count=st.integers(0, 400))
def test_round_trip(name: str, seed: int, count: int) -> None:
    model, symbols, context = model_class(name).example(seed, count)
    expected = model.reconstruct(symbols, context)
    data = model.encode(symbols, context)
    decoded = model.decode(data, context, symbols.shape)
    assert decoded.dtype == expected.dtype
    assert np.array_equal(decoded, expected)
    assert model.encode(expected, context) == data
    if context is not None and count > 1:
        assert np.array_equal(model.decode(data, context), expected)


@pytest.mark.parametrize("name", NAMES)
def test_bits_are_the_real_size(name: str) -> None:
    model, symbols, context = model_class(name).example(1, 8000)
    bits = model.bits(symbols, context)
    size = 8 * len(model.encode(symbols, context))
    assert abs(size - bits) <= 0.005 * bits + 31 * 32 + 64
    assert bits == pytest.approx(sum(step.bits() for step in model.steps(symbols, context)))


@pytest.mark.parametrize("name", NAMES)
def test_config_and_tensors_make_the_model_again(name: str) -> None:
    model, symbols, context = model_class(name).example(2, 300)
    tensors = model.tensors()
    assert all(array.dtype.kind in "iu" for key, array in tensors.items() if key != "rotation")
    again = type(model).restore(json.loads(json.dumps(model.config())), tensors)
    assert again.encode(symbols, context) == model.encode(symbols, context)
    assert again.config() == model.config()
    for key, array in again.tensors().items():
        assert array.dtype == tensors[key].dtype
        assert np.array_equal(array, tensors[key])


@pytest.mark.parametrize("name", NAMES)
def test_same_bytes_on_every_instruction_set_and_thread_count(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = model_class(name)
    _, symbols, context = cls.example(3, 30000 if name in ("multivariate", "gaussian") else 5000)
    payloads = set()
    for isa in dispatch.available_isas():
        for threads in ("1", "2"):
            monkeypatch.setenv("SIGLUM_ISA", isa)
            monkeypatch.setenv("SIGLUM_THREADS", threads)
            model = cls.example(3, 1).model  # compiled forms are made anew
            data = model.encode(symbols, context)
            payloads.add(data)
            decoded = model.decode(data, context, symbols.shape)
            assert np.array_equal(decoded, model.reconstruct(symbols, context))
    assert len(payloads) == 1


def test_models_share_one_stream() -> None:
    examples = [model_class(name).example(4, 200) for name in NAMES]
    encoder = rans.Encoder()
    for model, symbols, context in examples:
        model.push(encoder, symbols, context)
        encoder.push(np.array([3, -1], np.int32), gaussian_tables(), 40)
    decoder = rans.Decoder(encoder.finish())
    for model, symbols, context in examples:
        decoded = model.pull(decoder, symbols.shape, context)
        assert np.array_equal(decoded, model.reconstruct(symbols, context))
        assert decoder.decode(gaussian_tables(), 40, shape=2).tolist() == [3, -1]
    decoder.finish()


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_valid_tables(name: str) -> None:
    model, symbols, context = model_class(name).example(5, 300)
    for step in model.steps(symbols, context):
        if isinstance(step, TableStep):
            for frequencies in step.tables.frequencies:
                assert frequencies.min() >= 1
                assert frequencies.sum() == 1 << step.tables.precision
        else:
            assert isinstance(step, DirectStep)
            end = step.starts.astype(int) + step.frequencies
            assert step.frequencies.min() >= 1
            assert end.max() <= 1 << step.precision


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_damage_is_an_error_or_wrong_symbols(name: str, data: st.DataObject) -> None:
    model, symbols, context = model_class(name).example(6, 150)
    payload = bytearray(model.encode(symbols, context))
    kind = data.draw(st.sampled_from(["cut", "flip", "random"]))
    if kind == "cut":
        payload = payload[: data.draw(st.integers(0, len(payload) - 1))]
    elif kind == "flip":
        for _ in range(data.draw(st.integers(1, 4))):
            payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        payload = bytearray(data.draw(st.binary(max_size=300)))
    try:
        decoded = model.decode(bytes(payload), context, symbols.shape)
    except BitstreamError:
        return
    assert kind != "cut"
    assert decoded.shape == symbols.shape


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_symbol_is_refused(name: str) -> None:
    model, symbols, context = model_class(name).example(7, 20)
    for bad in (np.full(symbols.shape, np.nan), np.full(symbols.shape, "x"), np.full(symbols.shape, 2**40)):
        with pytest.raises(UsageError):
            model.encode(bad, context)
    with pytest.raises(UsageError):
        model.encode(symbols, (context, context, context, context))
    with pytest.raises(UsageError):
        model_class(name).example(7, 1).model.decode(b"\0")
    with pytest.raises(UsageError):
        model.decode(b"\0", context, (-1, *symbols.shape[1:]))
    with pytest.raises(UsageError):
        model_class(name).fit(symbols, nonsense=1)


def test_models_are_found_in_the_package() -> None:
    import siglum.entropy

    for name in NAMES:
        cls = model_class(name)
        assert getattr(siglum.entropy, cls.__name__) is cls
    with pytest.raises(AttributeError, match="no attribute"):
        siglum.entropy.Nonsense  # noqa: B018
