"""Priors of codes: the float twins against the integer models, and what contexts are worth."""

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from siglum.entropy.codebook_fit import UNIT  # noqa: E402
from siglum.errors import BitstreamError, UsageError  # noqa: E402
from siglum.quantizers import get  # noqa: E402
from siglum.quantizers.lookup import search  # noqa: E402
from siglum.quantizers.priors.coding import CodeModel, ContextCoder  # noqa: E402
from siglum.quantizers.priors.context import ContextPrior  # noqa: E402
from siglum.quantizers.priors.frequency import FrequencyPrior  # noqa: E402
from siglum.quantizers.priors.gaussian import CodewordGaussian  # noqa: E402

torch.set_num_threads(1)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sequences(seed: int, count: int, length: int, dim: int, correlation: float = 0.9) -> torch.Tensor:
    """First-order autoregressive vectors of unit variance."""
    noise = normal(seed, length, count, dim)
    x = [noise[0]]
    for step in noise[1:]:
        x.append(correlation * x[-1] + (1 - correlation**2) ** 0.5 * step)
    return torch.stack(x, 1)


def nearest(x: torch.Tensor, book: torch.Tensor) -> torch.Tensor:
    return search(x.reshape(-1, x.shape[-1]), book).view(*x.shape[:-1], 1)


@given(seed=st.integers(0, 999), words=st.sampled_from([2, 30, 300]), dim=st.integers(1, 5))
@settings(deadline=None, max_examples=15)
def test_the_twin_of_a_gaussian_has_the_probabilities_of_the_integer_model(
    seed: int, words: int, dim: int
) -> None:
    book = normal(seed, words, dim)
    twin = CodewordGaussian(book)
    with torch.no_grad():
        twin.logs.copy_(normal(seed + 1, words))
    mean, sigma = normal(seed + 2, 4, dim) * 0.5, 0.2 + normal(seed + 3, 4, dim).abs()
    model = twin.integer()
    exact = model.probabilities(model.quantise_context(mean.numpy(), sigma.numpy()))
    grid, scale = twin.frame(mean, sigma)
    every = torch.arange(words).repeat(4)
    bits = twin.bits(every, grid.repeat_interleave(words, 0), scale.repeat_interleave(words, 0))
    p = torch.exp2(-bits).view(4, words).detach().numpy()
    assert p.sum(1) == pytest.approx(1, abs=1e-9)
    assert np.abs(p - exact).max() < 6e-3
    cross = (exact * np.log2(np.maximum(exact, 1e-12) / np.maximum(p, 1e-12))).sum(1)
    assert np.abs(cross).max() < 0.02


def test_gradients_of_the_twin_are_those_of_the_formula() -> None:
    """Off the rounding: d bits / d mean = (E[c] - c_k) / sigma^2 / ln 2 with the expectation over words."""
    twin = CodewordGaussian(normal(0, 20, 3))
    indices = torch.tensor([3, 7])
    mean = (twin.points[[5, 9]] * 0.5).round().requires_grad_()
    scale = torch.full((2, 3), 45.0, dtype=torch.float64, requires_grad=True)
    bits = twin.bits(indices, mean, scale)
    to_mean, to_scale, to_logs = torch.autograd.grad(bits.sum(), [mean, scale, twin.logs])
    sigma = UNIT * 2 ** (45 / 8)
    energy = ((twin.points - mean.detach()[:, None]) / sigma).square()
    p = (-energy.sum(-1) / 2).softmax(-1)
    log2 = float(np.log(2))
    torch.testing.assert_close(to_mean, (p @ twin.points - twin.points[indices]) / sigma**2 / log2)
    chosen = energy[torch.arange(2), indices]
    # d(energy / 2) / d scale = -energy ln 2 / 8
    torch.testing.assert_close(to_scale, ((p[:, :, None] * energy).sum(1) - chosen) / 8)
    torch.testing.assert_close(to_logs, (p.sum(0) - torch.bincount(indices, minlength=20)) / log2)


def test_a_context_prior_begins_as_the_frequencies() -> None:
    book = normal(0, 128, 3)
    codes = nearest(sequences(1, 4, 500, 3), book)
    prior = ContextPrior([book])
    prior.start(codes)
    counts = torch.bincount(codes.flatten(), minlength=128).double() + 0.5
    order_0 = -(counts / counts.sum()).log2()[codes]
    torch.testing.assert_close(prior.bits(codes).double(), order_0, atol=1e-3, rtol=1e-3)


def trained(prior: torch.nn.Module, codes: torch.Tensor, steps: int) -> None:
    optimiser = torch.optim.Adam(prior.parameters(), lr=2e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        prior.bits(codes).mean().backward()
        optimiser.step()


def test_a_context_saves_what_the_correlation_is_worth_and_bytes_follow_bits() -> None:
    book = normal(0, 256, 2)
    train, held = (nearest(sequences(seed, 24, 100, 2), book) for seed in (1, 2))
    prior = ContextPrior([book], hidden=32)
    prior.start(train)
    before = float(prior.bits(held).detach().mean())
    trained(prior, train, 50)
    quantizer = get("vector", dim=2, codewords=256)
    rate = quantizer.rate(held, prior)
    assert rate.shape == held.shape[:-1]
    after = float(rate.detach().mean())
    information = -float(np.log2(1 - 0.9**2))  # of two components with correlation 0.9
    assert before - after > 0.8 * information
    coder = prior.export()
    data = coder.encode(held.numpy())
    assert np.array_equal(coder.decode(data, held.shape), held.numpy())
    assert abs(8 * len(data) / float(rate.detach().sum()) - 1) < 0.01
    assert coder.bits(held.numpy()) == pytest.approx(float(rate.detach().sum()), rel=0.003)


def test_later_stages_learn_from_earlier_ones_and_any_prefix_codes() -> None:
    torch.manual_seed(0)
    quantizer = get("residual", dim=2, stages=3, codewords=16)
    x = normal(0, 3000, 2)
    x = x * x.abs()  # of uneven density: residuals depend on where they are
    quantizer.start(x)
    codes = quantizer.encode(x)
    books = [book.vectors() for book in quantizer.codebooks]
    prior = ContextPrior(books, lags=(), hidden=32)
    prior.start(codes)
    alone = float(prior.bits(codes).detach().sum(-1).mean())
    trained(prior, codes, 40)
    assert float(prior.bits(codes).detach().sum(-1).mean()) < alone - 0.1
    coder = prior.export()
    for stages in (1, 2, 3):
        part = codes[:, :stages]
        data = coder.encode(part.numpy())
        assert np.array_equal(coder.decode(data, part.shape), part.numpy())
        bits = float(quantizer.rate(part, prior).detach().sum())
        assert abs(8 * len(data) / bits - 1) < 0.01


def test_frequencies_by_class_and_their_bytes() -> None:
    torch.manual_seed(0)
    x = normal(0, 20000, 4) ** 3
    quantizer = get("residual", dim=4, stages=2, codewords=64)
    quantizer.start(x)
    codes = quantizer.encode(x)
    books = [book.vectors() for book in quantizer.codebooks]
    train, held = codes[:15000], codes[15000:]
    bits = []
    for prior in (FrequencyPrior([64, 64]), FrequencyPrior([64, 64], books)):
        prior.start(train)
        coder = prior.export()
        data = coder.encode(held.numpy())
        assert np.array_equal(coder.decode(data, held.shape), held.numpy())
        bits.append(float(quantizer.rate(held, prior).detach().sum()))
        assert abs(8 * len(data) / bits[-1] - 1) < 0.01
        assert np.array_equal(coder.decode(coder.encode(held[:, :1].numpy()), (5000, 1)), held[:, :1].numpy())
    assert bits[1] < bits[0] < 12 * 5000


def test_fixed_frequencies_code_large_codebooks() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = (torch.rand(30000, 1, generator=generator) ** 3 * 2000).long()
    prior = FrequencyPrior([2000])
    prior.start(codes)
    coder = prior.export()
    data = coder.encode(codes.numpy())
    assert np.array_equal(coder.decode(data, codes.shape), codes.numpy())
    assert abs(8 * len(data) / float(prior.bits(codes).detach().sum()) - 1) < 0.01


def test_frequencies_learn_by_gradient() -> None:
    codes = torch.tensor([[0], [0], [0], [1]])
    prior = FrequencyPrior([2])
    trained(prior, codes, 300)
    assert float(prior.bits(codes).detach().mean()) == pytest.approx(0.8113, abs=1e-3)


def test_twins_survive_state_dicts() -> None:
    book = normal(0, 32, 2)
    codes = nearest(sequences(1, 4, 50, 2), book)
    prior = ContextPrior([book], hidden=8)
    prior.start(codes)
    trained(prior, codes, 3)
    twin = ContextPrior([book], hidden=8)
    twin.load_state_dict(prior.state_dict())
    assert torch.equal(twin.bits(codes), prior.bits(codes))
    assert twin.export().encode(codes.numpy()) == prior.export().encode(codes.numpy())


def coder() -> ContextCoder:
    book = normal(0, 40, 2)
    prior = ContextPrior([book, 0.3 * book], hidden=8)
    prior.start(torch.randint(40, (3, 30, 2), generator=torch.Generator().manual_seed(0)))
    return prior.export()


def test_models_are_restored_from_plain_values_and_arrays() -> None:
    codes = np.random.default_rng(0).integers(0, 40, (3, 20, 2))
    books = [normal(0, 40, 2), normal(1, 40, 2)]
    frequency = FrequencyPrior([40, 40], books)
    frequency.start(torch.from_numpy(codes))
    for model in (coder(), frequency.export(), FrequencyPrior([300]).export()):
        part = codes[..., : len(model.sizes)]
        config, tensors = json.loads(json.dumps(model.config())), model.tensors()
        twin = CodeModel.restore(config, tensors)
        assert twin.encode(part) == model.encode(part)
        assert np.array_equal(twin.decode(model.encode(part), part.shape), part)
        for key in config:
            with pytest.raises(UsageError):
                CodeModel.restore({k: v for k, v in config.items() if k != key}, tensors)
        for key in tensors:
            if ".model." not in key:
                for broken in (
                    {k: v for k, v in tensors.items() if k != key},
                    {**tensors, key: tensors[key][:-1]},
                ):
                    with pytest.raises(UsageError):
                        CodeModel.restore(config, broken)


@given(cut=st.integers(0, 60), flip=st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_damage_ends_in_an_error_or_other_codes(cut: int, flip: int) -> None:
    codes = np.random.default_rng(0).integers(0, 40, (3, 20, 2))
    model = coder()
    data = bytearray(model.encode(codes))
    data[flip % len(data)] ^= 1 << flip % 8
    for damaged in (bytes(data), bytes(data[: max(0, len(data) - 1 - cut)])):
        with suppress(BitstreamError):
            assert model.decode(damaged, codes.shape).shape == codes.shape


def test_bad_codes_are_named() -> None:
    book = normal(0, 40, 2)
    prior = ContextPrior([book])
    with pytest.raises(ValueError, match=r"codes has shape \(5,\), wanted \(..., 1 to 1\)"):
        prior.bits(torch.zeros(5, dtype=torch.int64))
    with pytest.raises(ValueError, match="out of range"):
        prior.bits(torch.full((1, 5, 1), 40))
    with pytest.raises(ValueError, match="positions, stages"):
        prior.bits(torch.zeros(1, dtype=torch.int64))
    model = coder()
    for wrong, message in (
        (np.zeros((2, 3, 3), int), "wanted integers"),
        (np.full((2, 3, 2), 40), "out of range"),
        (np.zeros((0, 3, 2), int), "no codes"),
        (np.zeros(2, int), "positions, stages"),
        (np.zeros((2, 3, 2)), "wanted integers"),
    ):
        with pytest.raises(ValueError, match=message):
            model.encode(wrong)


def test_bad_settings_are_named() -> None:
    book = normal(0, 8, 2)
    with pytest.raises(ValueError, match="lags"):
        ContextPrior([book], lags=(0,))
    with pytest.raises(ValueError, match="books is empty"):
        ContextPrior([])
    with pytest.raises(ValueError, match=r"vectors has shape \(8,\)"):
        CodewordGaussian(book[:, 0])
    with pytest.raises(ValueError, match="classes"):
        FrequencyPrior([8], [book], classes=0)
    with pytest.raises(ValueError, match=r"books has \[8\] codewords, wanted \[9\]"):
        FrequencyPrior([9], [book])
    with pytest.raises(ValueError, match="strength"):
        FrequencyPrior([8]).export(strength=0)
