"""Training of the prior of codes: what it learns, and that the integers keep it."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from siglum.codecs.audio import prior_data, prior_train  # noqa: E402
from siglum.codecs.audio.prior import Prior  # noqa: E402
from siglum.codecs.audio.prior_export import to_integers  # noqa: E402
from siglum.codecs.audio.prior_network import PriorNetwork, PriorShape  # noqa: E402

SHAPE = PriorShape(4, 2, 32, embedding=6, frame=16, taps=2, wide=24, context=16, hidden=24, rank=8)


def recordings(seed: int, count: int = 6, frames: int = 400) -> list[prior_data.Coded]:
    """Codes that follow from the frame before and from the code before, one time in ten anything."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        codes = rng.integers(0, 32, (frames, 4))
        for t in range(1, frames):
            known = rng.random(4) < 0.9
            codes[t, 0] = (codes[t - 1, 0] * 5 + 1) % 32 if known[0] else codes[t, 0]
            for i in range(1, 4):
                codes[t, i] = (codes[t, i - 1] + 7 * i) % 32 if known[i] else codes[t, i]
        errors = np.cumprod(
            np.concatenate([rng.random((frames, 1)), rng.uniform(0.2, 0.6, (frames, 2))], 1), 1
        )
        made.append(prior_data.Coded(codes.astype(np.int16), errors.astype(np.float32)))
    return made


def test_it_learns_and_the_integers_keep_it() -> None:
    torch.set_num_threads(1)
    lines: list[str] = []
    network = prior_train.train_prior(
        recordings(0, 20), SHAPE, minutes=4 / 60, frames=40, learning_rate=1e-2, log=lines.append
    )
    assert lines[-1].endswith("bits a code")
    batches = prior_data.Batches(recordings(1), 2, 50)
    codes, counts = batches.draw(16)
    floats = network.bits(codes, counts)
    prior = Prior(*to_integers(network, *prior_data.Batches(recordings(2), 2, 50).draw(16)))
    exact = [prior.bits(c, n) for c, n in zip(codes.numpy(), counts.numpy(), strict=True)]
    of_counts = [prior.count_bits(c, n)[1:] for c, n in zip(codes.numpy(), counts.numpy(), strict=True)]
    total, many = np.sum(exact), int(floats[1].sum())
    assert total / many < 3.5  # 5 without a prior
    assert total == pytest.approx(float(floats[0].sum()), rel=0.02)
    varying = [own for own, n in zip(of_counts, counts.numpy(), strict=True) if len(set(n.tolist())) > 1]
    assert np.mean(varying) < math.log2(3) + 0.3
    for line in prior_train.report(prior, recordings(1), frames=100):
        assert "bits a code" in line


def test_a_window_limits_what_codes_see_and_books_begin() -> None:
    shape = PriorShape(4, 2, 32, embedding=3, frame=8, wide=8, context=8, hidden=8, rank=4, window=1)
    books = torch.randn(4, 32, 2, generator=torch.Generator().manual_seed(0))
    network = PriorNetwork(shape, books)
    assert [list(shape.sees(i)) for i in range(4)] == [[], [0], [1], [2]]
    codes = torch.randint(0, 32, (2, 20, 4), generator=torch.Generator().manual_seed(1))
    counts = torch.full((2, 20), 2)
    tensors, metadata = to_integers(network, codes, counts)
    prior = Prior(tensors, metadata)
    assert prior.sees == [[], [0], [1], [2]]
    floats = float(network.bits(codes, counts)[0].sum())
    assert sum(
        prior.bits(c, n).sum() for c, n in zip(codes.numpy(), counts.numpy(), strict=True)
    ) == pytest.approx(floats, rel=0.02)


def test_counts_of_batches_are_what_encoders_choose() -> None:
    batches = prior_data.Batches(recordings(3), 2, 50)
    codes, counts = batches.draw(40)
    assert codes.shape == (40, 50, 4) and counts.shape == (40, 50)
    constant = sum(len(set(row)) == 1 for row in counts.tolist())
    assert 8 <= constant < 40
    rows = np.arange(50)
    assert batches.allocated(rows, 1.0).mean() == pytest.approx(1.0, abs=0.1)
