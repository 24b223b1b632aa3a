"""Blocks, lanes, layers, the lattice, codebooks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs.image_vq import blocks, books, lattice
from siglum.codecs.image_vq.constants import CLASSES, SKIPPED
from siglum.codecs.image_vq.frame import Plan
from siglum.codecs.image_vq.weights import load_by_name


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(0, 99))
def test_blocks_join_to_what_was_split(rows: int, columns: int, channels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    latents = random.standard_normal((rows, columns, channels)).astype(np.float32)
    order = random.permutation(channels)
    vectors = blocks.split(latents, order)
    assert vectors.shape == (-(-rows // 2) * -(-columns // 2), channels, 4)
    assert np.array_equal(blocks.join(vectors, order, rows, columns), latents)
    assert np.array_equal(vectors[0, :, 0], latents[0, 0, order])


def test_layers_cover_every_channel_at_both_stages() -> None:
    found = blocks.layers((8, 24, 192))
    assert found == [(0, 0, 192), (1, 0, 8), (1, 8, 24), (1, 24, 192)]


@pytest.mark.parametrize("lanes", range(1, blocks.MAX_LANES + 1))
def test_neighbours_are_in_different_lanes(lanes: int) -> None:
    grid = blocks.lanes_of(24, 30, lanes).reshape(12, 15)
    assert set(grid.ravel()) == set(range(lanes))
    if lanes > 1:
        assert (grid[1:] != grid[:-1]).all() and (grid[:, 1:] != grid[:, :-1]).all()


def test_classes_go_by_the_widest_component() -> None:
    index = np.array([[0, 0, 0, least] for least in range(64)], np.uint8)
    kinds = blocks.kinds_of(index)
    for kind, least in enumerate(CLASSES):
        assert kinds[least] == kind
    assert kinds[0] == kinds[CLASSES[-1] - 1] == SKIPPED


def test_outside_is_what_stands_beside_each_position() -> None:
    grid = np.arange(1, 25, dtype=np.float32).reshape(4, 6, 1)  # 2 x 3 blocks
    around = blocks.outside(blocks.split(grid, np.arange(1)), 4, 6).reshape(2, 3, 2, 2, 2)
    assert around[0, 1].tolist() == [[[2, 0], [5, 0]], [[8, 15], [11, 16]]]
    assert around[1, 0].tolist() == [[[0, 7], [15, 8]], [[0, 0], [21, 0]]]


def test_the_nearest_lattice_point_is_nearest() -> None:
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, (200, 4)).astype(np.float32) + random.integers(-9, 9, (200, 4))
    points = lattice.nearest(x.astype(np.float32), np.ones((200, 4), np.float32))
    assert not (points.sum(axis=1) % 2).any()
    around = np.array([p for p in itertools.product(range(-3, 4), repeat=4) if sum(p) % 2 == 0])
    base = np.rint(x).astype(int)
    base[:, 0] += base.sum(axis=1) % 2
    distances = ((base[:, None] + around - x[:, None]) ** 2).sum(axis=2).min(axis=1)
    assert np.allclose(((points - x) ** 2).sum(axis=1), distances, atol=1e-4)


def test_lattice_points_are_a_coarse_one_and_a_codeword() -> None:
    random = np.random.default_rng(1)
    points = random.integers(-50, 50, (500, 4)).astype(np.int32)
    points[:, 3] += points.sum(axis=1) % 2
    coarse, numbers = lattice.split(points)
    words = lattice.representatives()
    assert np.array_equal(4 * coarse + words[numbers], points)
    own, rank = lattice.split(words)
    assert not own.any() and np.array_equal(rank, np.arange(len(words)))


def test_codebooks_search_what_costs_least_and_code_it() -> None:
    random = np.random.default_rng(2)
    for kind, book in enumerate(load_by_name("vq-small").books):
        index = random.integers(3, 40, (300, 4)).astype(np.uint8)
        x = random.standard_normal((300, 4)).astype(np.float32)
        worth = random.uniform(5, 20, 300).astype(np.float32)
        codes = book.search(x, index, worth, 1)
        words = book.steps / 400.0
        bits = (words[None] ** 2 * book.precision[index][:, None]).sum(2) - book.bias / 4096
        cost = bits + worth[:, None] * ((x[:, None] - words) ** 2).sum(2)
        assert np.allclose(cost[np.arange(300), codes], cost.min(axis=1), atol=2e-2), kind
        context = book.context(np.zeros((300, 4), np.int32), index)
        payload = book.model.encode(codes, context)
        assert np.array_equal(book.model.decode(payload, context), codes)


def test_codebooks_go_through_their_tensors() -> None:
    own = load_by_name("vq-small").books
    tensors = books.to_tensors(own)
    again = books.to_tensors(books.from_tensors(tensors))
    assert all(np.array_equal(tensors[name], again[name]) for name in tensors)
    for name, bad in (("0.points", np.zeros((128, 3), np.int16)), ("1.numbers", np.full(64, 64, np.uint8))):
        with pytest.raises(ValueError, match=r"points|range"):
            books.from_tensors({**tensors, name: bad})


def test_plans_number_chunks_in_the_order_of_the_file() -> None:
    plan = Plan(2, (2, 1))
    assert list(plan.spans()) == [range(2), range(2, 3)]
    numbers = [plan.number(g, t, lane, 3) for g in range(2) for t in range(3) for lane in range(2)]
    assert numbers == list(range(3, 15)) and plan.chunks(3) == 15
