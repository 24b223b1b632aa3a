"""Searches of tensors: the kernel's and the plain one, which serves devices without a kernel, agree."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from siglum.quantizers import lookup  # noqa: E402
from siglum.quantizers.kmeans import kmeans, progressive  # noqa: E402


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), rows=st.integers(1, 40), words=st.integers(1, 30), biased=st.booleans())
def test_kernel_and_products_agree_ties_included(seed: int, rows: int, words: int, biased: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-3, 4, (rows, 3), generator=generator).float()
    codewords = torch.randint(-3, 4, (words, 3), generator=generator).float()
    bias = torch.randint(0, 4, (words,), generator=generator).float() if biased else None
    count = 1 + seed % words
    index, distance = lookup.top(x, codewords, count, bias)
    plain_index, plain_distance = lookup.chunked(x, codewords, count, bias)
    assert torch.equal(index, plain_index) and torch.equal(distance, plain_distance)
    assert torch.equal(lookup.search(x, codewords, bias), index[:, 0])


def test_sums_of_vectors() -> None:
    x = torch.arange(12.0).reshape(6, 2)
    counts, sums = lookup.accumulate(x, torch.tensor([0, 2, 2, 0, 0, 2]), 4)
    assert counts.tolist() == [3, 0, 3, 0] and sums.tolist() == [[14, 17], [0, 0], [16, 19], [0, 0]]


def test_kmeans_finds_clusters_and_fills_empty_ones() -> None:
    centres = torch.tensor([[0.0, 0], [10, 0], [0, 10], [10, 10], [5, 30]])
    generator = torch.Generator().manual_seed(0)
    x = (centres[:, None] + 0.1 * torch.randn(5, 200, 2, generator=generator)).reshape(-1, 2)
    for seed in range(10):
        assert float(torch.cdist(centres, kmeans(x, 5, seed=seed)).min(1).values.max()) < 0.05
    for found in (progressive(x, 5), kmeans(x, 5, centroids=torch.full((5, 2), 100.0))):
        assert len(lookup.search(x, found).unique()) == 5
    assert torch.equal(kmeans(x, 5, seed=3), kmeans(x, 5, seed=3))
    same = torch.ones(20, 2)
    assert torch.equal(kmeans(same, 4), same[:4])
