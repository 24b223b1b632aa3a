"""Every structure reproduces a published figure, or a peer's, at small scale."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from siglum import quantizers  # noqa: E402
from siglum.quantizers.lattice_points import DIMENSIONS, basis, nearest  # noqa: E402

sys.path.append(str(Path(__file__).parent))
from quantizer_cases import vectors  # noqa: E402


def normal(count: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def error(quantizer: quantizers.base.Quantizer, x: torch.Tensor, **options: int) -> float:
    values = quantizer.decode(quantizer.encode(x, **options)).detach()
    return float((values - x).square().mean())


@pytest.mark.parametrize(("lattice", "moment"), [("Z", 1 / 12), ("D4", 0.076603), ("E8", 0.071682)])
def test_second_moments_of_lattices(lattice: str, moment: float) -> None:
    """Conway and Sloane, Voronoi Regions of Lattices, 1982, table I: 0.08333, 0.076603, 0.071682."""
    n = DIMENSIONS[lattice]
    x = 4 * torch.rand(400_000 // n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    volume = float(basis(lattice).det().abs())
    measured = float((x - nearest(x, lattice)).square().mean()) / volume ** (2 / n)
    assert abs(measured / moment - 1) < 0.004


@pytest.mark.parametrize(("lattice", "radix"), [("Z", 5), ("D4", 3), ("D4", 4), ("E8", 2), ("E8", 3)])
def test_voronoi_codes_are_a_bijection_and_nearest(lattice: str, radix: int) -> None:
    """radix^n codewords, each its own code's; encoding finds the nearest of all of them."""
    n = DIMENSIONS[lattice]
    quantizer = quantizers.get("lattice", dim=n, lattice=lattice, radix=radix)
    codes = torch.arange(radix**n)[:, None]
    points = quantizer.decode(codes)
    assert len(points.unique(dim=0)) == radix**n
    assert torch.equal(quantizer.encode(points), codes)
    x = normal(500, n) * radix / 2
    best = torch.cdist(x.double(), points.double()).min(1).values
    mine = (x - quantizer.decode(quantizer.encode(x))).double().norm(dim=1)
    torch.testing.assert_close(mine, best, rtol=1e-4, atol=1e-4)


def test_the_best_scalar_codebooks_of_a_gaussian() -> None:
    """Max, Quantizing for Minimum Distortion, 1960: 4 levels leave 0.1175 of a normal variance, 8 0.03454."""
    x = normal(40_000, 1)
    for levels, distortion in ((4, 0.1175), (8, 0.03454)):
        quantizer = quantizers.get("vector", dim=1, codewords=levels)
        quantizer.fit(x, iterations=200)
        assert abs(error(quantizer, x) / distortion - 1) < 0.03


def test_vectors_gain_over_scalars() -> None:
    """2 bits a component of a normal source: the best scalars leave 0.1175, 9.30 dB (Max, 1960); pairs leave less."""
    quantizer = quantizers.get("vector", dim=2, codewords=16)
    quantizer.fit(normal(30_000, 2), iterations=60)
    assert 9.5 < -10 * math.log10(error(quantizer, normal(30_000, 2, 1))) < 9.8


def test_entropy_of_a_uniform_quantizer_at_high_rate() -> None:
    """Gish and Pierce, 1968: rate h(X) - log2 step, error step^2 / 12; 1.53 dB (0.254 bits) from the bound."""
    x = normal(200_000, 1)
    quantizer = quantizers.get("scalar", dim=1, step=0.25, limit=40)
    result = quantizer(x)
    bits = result.usage.entropy[0]
    assert abs(bits - (0.5 * math.log2(2 * math.pi * math.e) + 2)) < 0.01
    distortion = float((result.values - x).square().mean())
    assert abs(distortion / (0.25**2 / 12) - 1) < 0.01
    assert abs(bits - 0.5 * math.log2(1 / distortion) - 0.254) < 0.01


def test_rate_distortion_optimised_quantization() -> None:
    """Farvardin and Modestino, 1984: entropy-coded optimum scalars of a Gaussian source have 4.64 dB at 1 bit.

    (Shannon's bound: 6.02.) Thresholds by rate, with values at the means of their cells, come within 0.1 dB.
    """
    x = normal(200_000, 1)

    def curve(trade: float) -> tuple[float, float]:
        quantizer = quantizers.get("scalar", dim=1, step=1.6, limit=12)
        for _ in range(12):
            counts = quantizer(x).usage.counts(0).double() + 0.01
            quantizer.optimise(-(counts / counts.sum()).log2(), trade)
        result = quantizer(x)
        codes = result.codes[:, 0]
        sums = torch.zeros(25).index_add_(0, codes, x[:, 0])
        means = sums / torch.bincount(codes, minlength=25).clamp(min=1)
        distortion = float((means[codes] - x[:, 0]).square().mean())
        return result.usage.entropy[0], -10 * math.log10(distortion)

    points = sorted(curve(trade) for trade in (0.4, 0.5, 0.6, 0.7, 0.8))
    assert points[0][0] < 1 < points[-1][0]
    (r0, d0), (r1, d1) = next(pair for pair in itertools.pairwise(points) if pair[1][0] >= 1)
    at_one = d0 + (d1 - d0) * (1 - r0) / (r1 - r0)
    assert abs(at_one - 4.64) < 0.1


def test_optimised_thresholds_are_exact() -> None:
    quantizer = quantizers.get("scalar", dim=2, step=0.5, limit=3)
    bits = torch.tensor([[6.0, 4, 2, 0.5, 2.5, 3, torch.inf], [3.0, 3, 9, 3, 0, 3, 3]])
    quantizer.optimise(bits, 0.08)
    x = normal(3000, 2)
    values = (torch.arange(7) - 3) * 0.5
    cost = (x[:, :, None] - values).square() + 0.08 * bits
    found = quantizer.encode(x)
    torch.testing.assert_close(cost.gather(2, found[:, :, None])[:, :, 0], cost.min(2).values)
    assert bool((found[:, 0] < 6).all())


def test_finite_scalar_quantization_uses_all_codes() -> None:
    """Mentzer et al., 2023, figure 3: usage stays near 100 % where codes are learned end to end; 2^10 codes here.

    Inputs that a network would make uniform after tanh give every code of [8, 5, 5, 5] the same share.
    """
    quantizer = quantizers.get("finite", levels=[8, 5, 5, 5])
    uniform = torch.rand(50_000, 4, generator=torch.Generator().manual_seed(0))
    usage = quantizer(torch.atanh(2 * uniform.clamp(1e-6, 1 - 1e-6) - 1)).usage
    assert usage.fraction[0] == 1.0
    assert usage.perplexity[0] > 980
    normal_usage = quantizer(normal(50_000, 4)).usage
    assert normal_usage.fraction[0] > 0.99


def test_the_entropy_of_bits_factorises() -> None:
    """Zhao et al., Binary Spherical Quantization, 2024, eq. 7-9: the sum over bits is the entropy over all codes."""
    dim, temperature = 6, 3.0
    quantizer = quantizers.get("spherical", dim=dim, temperature=temperature, entropy=1.0, diversity=1.0)
    x = normal(50, dim)
    u = torch.nn.functional.normalize(x, dim=1)
    everything = quantizer.decode(torch.arange(2**dim)[:, None])
    p = torch.softmax(temperature * u @ everything.T, 1)
    each = -(p * p.log2()).sum(1).mean()
    losses = quantizer(x).losses
    mean_bits = torch.sigmoid(2 * temperature * u / dim**0.5).mean(0)
    upper = -(mean_bits * mean_bits.log2() + (1 - mean_bits) * (1 - mean_bits).log2()).sum()
    mean = p.mean(0)
    assert float(upper) >= float(-(mean * mean.log2()).sum()) - 1e-5
    torch.testing.assert_close(losses["entropy"], each - upper, rtol=1e-3, atol=1e-3)


def test_the_error_of_spherical_codes_is_bounded() -> None:
    """Zhao et al., 2024: E|u - q| < sqrt(2 - 2 / sqrt(dim))."""
    for dim in (4, 18, 36):
        quantizer = quantizers.get("spherical", dim=dim)
        u = torch.nn.functional.normalize(normal(2000, dim), dim=1)
        assert float((quantizer.decode(quantizer.encode(u)) - u).norm(dim=1).max()) <= math.sqrt(
            2 - 2 * dim**-0.5
        )


def test_lookup_free_codes_are_signs() -> None:
    """Yu et al., 2023: the code is sum of 2^i 1{x_i > 0}."""
    quantizer = quantizers.get("lookup-free", dim=10)
    x = normal(100, 10)
    assert torch.equal(quantizer.encode(x)[:, 0], ((x > 0) * 2 ** torch.arange(10)).sum(1))


def test_a_cascade_codes_smooth_tiles_in_fewer_bits() -> None:
    """McQuic's reason for scales (Zhu et al., 2022): what is smooth is told once, not at every position."""
    x = normal(4000, 1)[:, :, None, None] * 2 + normal(4000, 4, 1).reshape(-1, 2, 2, 1).repeat(
        1, 1, 1, 2
    ).reshape(-1, 2, 2, 2)
    x = x.repeat_interleave(2, 1).repeat_interleave(2, 2) + 0.3 * normal(4000, 32, 2).reshape(-1, 4, 4, 2)
    x = x.flatten(1)
    scales = quantizers.get("cascade", side=4, channels=2, scales=[4, 2, 1], codewords=[16, 16, 2])
    flat = quantizers.get("cascade", side=4, channels=2, scales=[1], codewords=[4])
    errors = []
    for quantizer in (scales, flat):
        quantizer.start(x)
        errors.append(error(quantizer, x, beam=2))
    codes = [float(q.rate(q.encode(x[:1]))) for q in (scales, flat)]
    assert codes == [36.0, 32.0] and errors[0] < 0.5 * errors[1]


def test_rotation_of_a_split() -> None:
    """Ge et al., Optimized Product Quantization, 2013: the bound of a split after eigenvalue allocation is near full.

    Their table of synthetic Gaussian data: PQ with balanced principal axes is better than with a random rotation,
    and that better than the principal axes in their order where these are unequal.
    """
    mix = torch.diag(torch.exp(-torch.arange(16) / 4.0)) @ torch.linalg.qr(normal(16, 16, 7))[0]
    train, test = normal(6000, 16) @ mix, normal(2000, 16, 1) @ mix
    errors = {}
    for rotation in (None, "random", "pca", "opq"):
        quantizer = quantizers.get("product", dim=16, groups=4, codewords=32, rotation=rotation)
        quantizer.fit(train)
        errors[rotation] = error(quantizer, test)
    assert errors["pca"] < 0.75 * min(errors["random"], errors[None])
    assert errors["opq"] < 1.02 * errors["pca"]


@pytest.mark.slow
def test_as_good_as_faiss() -> None:
    """Equal bits, equal vectors, beam 8: residual against RQ, group-residual against PRQ, product against PQ, OPQ."""
    faiss = pytest.importorskip("faiss")
    faiss.omp_set_num_threads(1)
    train, test = vectors(8000, 1, 16), vectors(2000, 2, 16)

    def peer(quantizer: object) -> float:
        quantizer.train(train.numpy())  # type: ignore[attr-defined]
        values = quantizer.decode(quantizer.compute_codes(test.numpy()))  # type: ignore[attr-defined]
        return float((torch.from_numpy(values) - test).square().mean())

    def own(name: str, **settings: object) -> float:
        quantizer = quantizers.get(name, dim=16, **settings)
        quantizer.fit(train)
        return error(quantizer, test, beam=8)

    residual = faiss.ResidualQuantizer(16, 4, 6)
    residual.max_beam_size = 8
    assert own("residual", stages=4, codewords=64) <= 1.005 * peer(residual)
    grouped = own("group-residual", groups=2, stages=2, codewords=64)
    assert grouped <= 1.005 * peer(faiss.ProductResidualQuantizer(16, 2, 2, 6))
    plain = own("product", groups=4, codewords=64)
    assert plain <= 1.01 * peer(faiss.ProductQuantizer(16, 4, 6))
    additive = own("additive", stages=4, codewords=64)
    assert additive <= 1.005 * peer(residual)
