"""The prior of codes: round trips, damage, instruction sets, and the NumPy oracle."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from siglum.codecs.audio.prior import Prior
from siglum.entropy import rans
from siglum.entropy.integer_network import IntegerNetwork, quantize_pointwise
from siglum.errors import BitstreamError
from siglum.kernels import dispatch
from siglum.kernels.reference import code_prior as reference

Tensors = dict[str, NDArray[Any]]


def parts(
    seed: int, codes: int, groups: int, words: int, window: int | None = None, sharp: float = 2.0
) -> tuple[Tensors, dict[str, str]]:
    """Tensors and metadata of a prior with random networks, whose predictions are worth some bits."""
    rng = np.random.default_rng(seed)
    embedding, frame, context, hidden = (int(rng.integers(1, 20)) for _ in range(4))
    taps, averages = int(rng.integers(1, 4)), [3, 5][: int(rng.integers(0, 3))]
    sees = [list(range(max(0, i - (window or codes)), i)) for i in range(codes)]
    tensors: Tensors = {"words": rng.integers(-127, 128, (codes, words, embedding), dtype=np.int8)}
    metadata = {
        "code_prior": f'{{"groups": {groups}, "taps": {taps}, "averages": {averages}, "sees": {sees}}}'
    }

    def add(name: str, widths: list[int], low: int, output: float) -> None:
        layers = []
        for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
            weight = rng.normal(size=(outputs, inputs)) / inputs**0.5
            last = i + 2 == len(widths)
            scale = output if last else 1.0
            bounds = (low, 32767) if low < 0 and last else (0, 4095)
            layers.append(quantize_pointwise(weight, rng.normal(size=outputs) * 100, 1.0, scale, *bounds))
        network = IntegerNetwork(layers, 4095)
        tensors.update(network.tensors(name))
        metadata.update(network.metadata(name))

    add("frame.", [codes * embedding + codes // groups + 1, frame], 0, 1.0)
    past, present = frame * (taps + len(averages)), codes // groups + 1
    add("count.", [past, present], -32768, 1.0)
    add("context.", [past + present, hidden, context], 0, 1.0)
    for i in range(codes):
        add(f"code.{i}.", [context + len(sees[i]) * embedding, hidden, words], -32768, 1.0 / sharp)
    return tensors, metadata


SHAPES = st.sampled_from([(1, 1, 16), (2, 2, 64), (4, 2, 512), (6, 2, 544), (4, 1, 1024), (3, 3, 2048)])


@st.composite
def chunks(draw: st.DrawFn) -> tuple[Prior, NDArray[np.int32], NDArray[np.int32]]:
    """A prior, codes and counts."""
    codes, groups, words = draw(SHAPES)
    seed = draw(st.integers(0, 2**16))
    prior = Prior(*parts(seed, codes, groups, words, draw(st.sampled_from([None, 1, 2]))))
    rng = np.random.default_rng(seed + 1)
    frames = draw(st.sampled_from([0, 1, 2, 7, 40]))
    kind = draw(st.sampled_from(["none", "all", "one", "any", "walk"]))
    stages = codes // groups
    counts = {
        "none": np.zeros(frames),
        "all": np.full(frames, stages),
        "one": np.full(frames, rng.integers(0, stages + 1)),
        "any": rng.integers(0, stages + 1, frames),
        "walk": np.clip(np.cumsum(rng.integers(-1, 2, frames)) + stages // 2, 0, stages),
    }[kind].astype(np.int32)
    used = np.arange(codes) // groups < counts[:, None]
    return prior, np.where(used, rng.integers(0, words, (frames, codes)), 0).astype(np.int32), counts


@settings(max_examples=40, deadline=None)
@given(chunks())
def test_round_trip_on_every_isa(chunk: tuple[Prior, NDArray[np.int32], NDArray[np.int32]]) -> None:
    prior, codes, counts = chunk
    payloads = {prior.encode(codes, counts, isa=isa) for isa in dispatch.available_isas()}
    assert len(payloads) == 1
    payload = payloads.pop()
    for isa in dispatch.available_isas():
        found, used = prior.decode(payload, len(codes), isa=isa)
        assert np.array_equal(found, codes) and np.array_equal(used, counts)


@settings(max_examples=40, deadline=None)
@given(chunks())
def test_payload_is_the_oracles(chunk: tuple[Prior, NDArray[np.int32], NDArray[np.int32]]) -> None:
    prior, codes, counts = chunk
    settings_ = prior.groups, prior.taps, prior.averages, prior.sees
    symbols = list(reference.symbols(prior.words, prior.networks, *settings_, codes, counts.tolist()))
    encoder = rans.Encoder(lanes=1)
    starts = [int(table[:entry].sum()) for table, entry in symbols]
    sizes = [int(table[entry]) for table, entry in symbols]
    if symbols:
        encoder.push_direct(starts, sizes, reference.PRECISION)
    payload = prior.encode(codes, counts)
    assert payload == encoder.finish()
    cost = prior.bits(codes, counts).sum() + prior.count_bits(codes, counts).sum()
    assert cost == pytest.approx(sum(reference.PRECISION - np.log2(size) for size in sizes))
    assert abs(8 * len(payload) - cost) < 48


@settings(max_examples=60, deadline=None)
@given(chunks(), st.data())
def test_damage_raises_or_gives_codes(
    chunk: tuple[Prior, NDArray[np.int32], NDArray[np.int32]], data: st.DataObject
) -> None:
    prior, codes, counts = chunk
    payload = bytearray(prior.encode(codes, counts))
    kind = data.draw(st.sampled_from(["cut", "flip", "longer", "other"]))
    if kind == "cut":
        del payload[data.draw(st.integers(0, len(payload))) :]
    elif kind == "flip":
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "longer":
        payload += b"\x00\x01"
    else:
        payload = bytearray(data.draw(st.binary(max_size=40)))
    frames = data.draw(st.sampled_from([len(codes), 3, 30]))
    try:
        found, used = prior.decode(bytes(payload), frames)
    except BitstreamError:
        return
    assert found.shape == (frames, prior.codes)
    assert found.min(initial=0) >= 0 and found.max(initial=0) < prior.codewords
    assert used.min(initial=0) >= 0 and used.max(initial=0) <= prior.stages


def test_a_sure_prediction_is_almost_free_and_a_wrong_one_is_bounded() -> None:
    tensors, metadata = parts(1, 2, 1, 1024, sharp=8.0)
    prior = Prior(tensors, metadata)
    counts = np.full(20, 2)
    best = np.zeros((20, 2), np.int64)
    worst = best.copy()
    for t in range(20):
        for i in range(2):
            best[t, i] = prior.logits(best, counts)[t, i].argmax()
            worst[t, i] = prior.logits(worst, counts)[t, i].argmin()
    assert prior.bits(best, counts).mean() < 5
    assert prior.bits(worst, counts).max() <= 30
    assert np.array_equal(prior.decode(prior.encode(worst, counts), 20)[0], worst)


def test_what_a_frame_does_not_use_is_not_read() -> None:
    prior = Prior(*parts(3, 4, 2, 64))
    rng = np.random.default_rng(0)
    codes, counts = rng.integers(0, 64, (9, 4)), np.array([1, 0, 2, 1, 1, 0, 2, 2, 1])
    junk = np.where(np.arange(4) // 2 < counts[:, None], codes, 10**6)
    assert prior.encode(codes, counts) == prior.encode(junk, counts)
    assert (prior.bits(codes, counts) > 0).tolist() == (junk < 64).tolist()


def test_constant_counts_cost_less_than_a_byte_more() -> None:
    prior = Prior(*parts(4, 4, 2, 64))
    assert len(prior.encode(np.zeros((500, 4), np.int64), np.zeros(500, np.int64))) <= 4
    codes = np.zeros((50, 4), np.int64)
    assert prior.count_bits(codes, np.full(50, 2)).sum() < 3
    assert prior.count_bits(codes, np.arange(50) % 3).sum() < 50 * 2.5


def test_choice_is_the_nearest_at_no_price_and_cheaper_at_some() -> None:
    prior = Prior(*parts(7, 4, 2, 64, sharp=8.0))
    rng = np.random.default_rng(1)
    books = rng.normal(size=(4, 64, 3)).astype(np.float32)
    latents = rng.normal(size=(30, 6)).astype(np.float32) * 2
    counts = rng.integers(0, 3, 30)

    def distances(codes: NDArray[np.int32]) -> NDArray[np.float32]:
        rest = latents.reshape(30, 2, 3).copy()
        for i in range(4):
            used = np.flatnonzero(counts > i // 2)
            rest[used, i % 2] -= books[i][codes[used, i]]
        return np.asarray(np.square(rest).sum((1, 2)))

    turned = np.ascontiguousarray(books.transpose(0, 2, 1))
    nearest = prior.choose(latents, turned, counts, 0.0)
    rest = latents.reshape(30, 2, 3)[counts > 0, 0]
    greedy = np.square(rest[:, None] - books[0]).sum(2).argmin(1)
    assert np.array_equal(nearest[counts > 0, 0], greedy)
    cheap = prior.choose(latents, turned, counts, 0.5)
    assert prior.bits(cheap, counts).sum() < 0.9 * prior.bits(nearest, counts).sum()
    assert distances(nearest).sum() < distances(cheap).sum() < 3 * distances(nearest).sum()
    assert not cheap[np.arange(4) // 2 >= counts[:, None]].any()
    with pytest.raises(ValueError, match="count"):
        prior.choose(latents, turned, counts + 1, 0.1)


@pytest.mark.parametrize(
    ("codes", "counts"),
    [
        (np.zeros((3, 5), int), np.zeros(3, int)),
        (np.zeros((3, 4)), np.zeros(3, int)),
        (np.zeros((3, 4), int), np.zeros(4, int)),
        (np.zeros((3, 4), int), np.full(3, 3)),
        (np.zeros((3, 4), int), np.full(3, -1)),
        (np.full((3, 4), 64), np.full(3, 2)),
        (np.full((3, 4), -1), np.full(3, 1)),
    ],
)
def test_wrong_arrays_are_refused(codes: NDArray[Any], counts: NDArray[Any]) -> None:
    prior = Prior(*parts(5, 4, 2, 64))
    with pytest.raises(ValueError, match=r"codes|counts|range"):
        prior.encode(codes, counts)


def test_parts_that_do_not_fit_are_refused() -> None:
    tensors, metadata = parts(6, 4, 2, 64)
    changes: list[tuple[Tensors, dict[str, str]]] = [
        ({"words": tensors["words"].astype(np.int16)}, {}),
        ({"words": tensors["words"][:2]}, {}),
        ({"words": tensors["words"][:, :32]}, {}),
        ({"words": np.full_like(tensors["words"], -128)}, {}),
        ({"frame.1.weight": tensors["frame.0.weight"]}, {}),
        ({}, {"code_prior": "{}"}),
        ({}, {"code_prior": metadata["code_prior"].replace('"groups": 2', '"groups": 3')}),
        ({}, {"code_prior": metadata["code_prior"].replace('"taps": ', '"taps": 1')}),
        ({}, {"code_prior": metadata["code_prior"].replace("[0, 1]", "[0, 2]")}),
        ({}, {"code_prior": metadata["code_prior"].replace("[0, 1]", '[0, "1"]')}),
    ]
    for own, others in changes:
        with pytest.raises(ValueError):
            Prior({**tensors, **own}, {**metadata, **others})
    Prior(tensors, metadata)
