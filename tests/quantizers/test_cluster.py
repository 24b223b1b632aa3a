"""Smaller codebooks from a learned one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from siglum import quantizers  # noqa: E402
from siglum.quantizers.cluster import cluster, smaller  # noqa: E402
from siglum.quantizers.staged import Staged  # noqa: E402

sys.path.append(str(Path(__file__).parent))
from quantizer_cases import started, vectors  # noqa: E402


def test_rates_of_one_codebook() -> None:
    """Mao et al., 2023: rate falls by a bit with every halving, and the error grows slowly."""
    x = vectors(4000)
    large = quantizers.get("vector", dim=8, codewords=256)
    large.start(x)
    codes = large.encode(x)
    counts = large(x).usage.counts(0)
    errors = [float((large.decode(codes) - x).square().mean().detach())]
    for count in (128, 64, 32):
        small, (replaced,) = smaller(large, count, [counts])
        thinned = float((small.decode(replaced[codes]) - x).square().mean().detach())
        anew = float((small.decode(small.encode(x)) - x).square().mean().detach())
        fresh = quantizers.get("vector", dim=8, codewords=count)
        fresh.start(x)
        best = float((fresh.decode(fresh.encode(x)) - x).square().mean().detach())
        assert errors[-1] < anew <= thinned and anew < 1.12 * best
        errors.append(anew)


@pytest.mark.parametrize("name", ["vector", "residual", "group-residual", "product", "additive"])
def test_structures(name: str) -> None:
    quantizer = started(name)
    assert isinstance(quantizer, Staged)
    small, maps = smaller(quantizer, 8)
    assert small.sizes == tuple(min(size, 8) for size in quantizer.sizes)
    codes = quantizer.encode(vectors(50))
    thinned = torch.stack([each[codes[:, stage]] for stage, each in enumerate(maps)], 1)
    assert bool(torch.isfinite(small.decode(thinned)).all())


def test_use_decides_what_stays() -> None:
    codewords = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0]])
    counts = torch.tensor([0, 0, 0, 1000, 1000])
    found = cluster(codewords, 3, counts)
    assert len(found.replaced_by.unique()) == 3
    everything = cluster(codewords, 5)
    assert torch.equal(everything.codewords[everything.replaced_by], codewords)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="count is 6, wanted an integer from 1 to 5"):
        cluster(torch.zeros(5, 2), 6)
    with pytest.raises(ValueError, match=r"counts has shape \(4,\), wanted \(5,\)"):
        cluster(torch.zeros(5, 2), 2, torch.ones(4))
