"""What holds for every structure: training agrees with use, prefixes decode, a vector's code is its own affair."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from siglum import quantizers  # noqa: E402
from siglum.quantizers.base import Usage  # noqa: E402

sys.path.append(str(Path(__file__).parent))
from quantizer_cases import CONFIGS, NAMES, PROJECTED, fresh, started, vectors  # noqa: E402

every = pytest.mark.parametrize("name", NAMES)
some = settings(deadline=None, max_examples=8)
seeds = st.integers(0, 10_000)


def test_every_structure_is_here() -> None:
    assert {config["name"] for config in CONFIGS.values()} == set(quantizers.names())


@every
@some
@given(seed=seeds, count=st.integers(1, 40))
def test_training_agrees_with_use(name: str, seed: int, count: int) -> None:
    quantizer, x = started(name), vectors(count, seed)
    result = quantizer(x)
    assert torch.equal(result.codes, quantizer.encode(x))
    assert torch.equal(result.codes, fresh(name)(x).codes)
    values = quantizer.decode(result.codes)
    if name in PROJECTED:
        torch.testing.assert_close(result.values, values, rtol=1e-5, atol=1e-5)
    else:
        assert torch.equal(result.values, values)
    assert result.codes.shape == (count, quantizer.stages) and values.shape == x.shape
    assert all(loss.ndim == 0 and bool(torch.isfinite(loss)) for loss in result.losses.values())


@every
@some
@given(seed=seeds, beam=st.sampled_from([1, 3]))
def test_prefixes_decode(name: str, seed: int, beam: int) -> None:
    quantizer, x = started(name), vectors(20, seed)
    codes = quantizer.encode(x, beam=beam)
    for count in range(1, quantizer.stages + 1):
        assert quantizer.decode(codes[:, :count]).shape == x.shape
        short = quantizer.encode(x, stages=count, beam=beam)
        assert short.shape == (20, count)
        if beam == 1 and CONFIGS[name]["name"] != "additive":
            assert torch.equal(short, codes[:, :count])


@every
@some
@given(seed=seeds, count=st.integers(2, 30), beam=st.sampled_from([1, 4]))
def test_a_vector_alone_is_as_in_company(name: str, seed: int, count: int, beam: int) -> None:
    quantizer, x = started(name), vectors(count, seed)
    codes = quantizer.encode(x, beam=beam)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(quantizer.encode(x[order], beam=beam), codes[order])
    index = seed % count
    assert torch.equal(quantizer.encode(x[index], beam=beam), codes[index])
    assert torch.equal(quantizer.encode(x.reshape(count, 1, 8), beam=beam)[:, 0], codes)


@every
@some
@given(seed=seeds, beam=st.integers(2, 6))
def test_a_beam_is_never_worse_than_greedy(name: str, seed: int, beam: int) -> None:
    quantizer, x = started(name), vectors(40, seed)
    for count in {1, quantizer.stages // 2 or 1, quantizer.stages}:
        greedy = quantizer.decode(quantizer.encode(x, stages=count)) - x
        wide = quantizer.decode(quantizer.encode(x, stages=count, beam=beam)) - x
        assert bool((wide.square().sum(1) <= greedy.square().sum(1) * (1 + 1e-5) + 1e-6).all())


@every
def test_config_and_state_round_trip(name: str) -> None:
    quantizer = started(name)
    config = json.loads(json.dumps(quantizer.config()))
    again = type(quantizer).from_config(config)
    assert type(again) is type(quantizer) and again.config() == quantizer.config()
    again.load_state_dict(quantizer.state_dict())
    x = vectors(50, 3)
    assert torch.equal(again.eval().encode(x), quantizer.encode(x))
    assert "dim" in repr(again) or "levels" in repr(again) or "side" in repr(again)


@every
@some
@given(seed=seeds)
def test_what_is_decoded_has_a_code(name: str, seed: int) -> None:
    """Values of any codes are finite, and encoding them with enough beam is at least as near as greedy was."""
    quantizer = started(name)
    generator = torch.Generator().manual_seed(seed)
    codes = torch.stack([torch.randint(size, (10,), generator=generator) for size in quantizer.sizes], 1)
    values = quantizer.decode(codes)
    assert bool(torch.isfinite(values).all())
    if quantizer.name in {"vector", "lattice", "product", "scalar", "lookup-free", "spherical"}:
        again = quantizer.decode(quantizer.encode(values))
        torch.testing.assert_close(again, values, rtol=1e-4, atol=1e-5)


@every
def test_gradients_reach_the_input(name: str) -> None:
    quantizer, x = fresh(name), vectors(64, 5).requires_grad_()
    result = quantizer(x)
    (result.values.square().sum() + sum(result.losses.values(), torch.zeros(()))).backward()
    assert x.grad is not None and bool(torch.isfinite(x.grad).all()) and bool(x.grad.abs().sum() > 0)
    for parameter in quantizer.parameters():
        assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all())


@every
def test_training_lowers_the_error(name: str) -> None:
    quantizer = fresh(name)
    parameters = list(quantizer.parameters())
    if not parameters or quantizer.name == "lattice":
        return
    for parameter in parameters:
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(1))
    x, losses = vectors(400, 6), []
    optimiser = torch.optim.Adam(parameters, lr=0.03)
    for _ in range(40):
        result = quantizer(x)
        loss = (result.values - x).square().mean() + sum(result.losses.values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float((quantizer.decode(quantizer.encode(x)) - x).square().mean().detach()))
    assert losses[-1] < 0.8 * losses[0]


@every
def test_rate_is_the_logarithm_of_the_sizes(name: str) -> None:
    quantizer = started(name)
    codes = quantizer.encode(vectors(5))
    bits = torch.tensor([float(size) for size in quantizer.sizes]).log2()
    torch.testing.assert_close(quantizer.rate(codes), bits.sum().expand(5))
    torch.testing.assert_close(quantizer.rate(codes[:, :1]), bits[0].expand(5))

    class Half:
        def bits(self, codes: torch.Tensor) -> torch.Tensor:
            return torch.full(codes.shape, 0.5)

    torch.testing.assert_close(quantizer.rate(codes, Half()), torch.full((5,), 0.5 * quantizer.stages))


def test_usage_counts_what_was_used() -> None:
    codes = torch.tensor([[0, 3], [1, 3], [0, 3], [1, 3]])
    usage = Usage(codes, (2, 4))
    assert usage.counts(0).tolist() == [2, 2] and usage.counts(1).tolist() == [0, 0, 0, 4]
    assert usage.fraction == (1.0, 0.25) and usage.entropy == (1.0, 0.0) and usage.perplexity == (2.0, 1.0)
    active = torch.tensor([[True, True], [False, True], [True, False], [False, False]])
    assert Usage(codes, (2, 4), active).counts(0).tolist() == [2, 0]


def test_automatic_casts_do_not_reach_distances() -> None:
    x = vectors(200, 4)
    config = {**CONFIGS["residual"], "codebook": "simvq"}
    for quantizer in (started("group-residual"), quantizers.from_config(config).eval()):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = quantizer(x)
            codes = quantizer.encode(x)
        assert torch.equal(codes, quantizer.encode(x)) and torch.equal(result.codes, codes)
        assert result.values.dtype == torch.float32
        assert torch.equal(quantizer(x.bfloat16()).codes, quantizer.encode(x.bfloat16().float()))


def test_usage_of_huge_codebooks() -> None:
    quantizer = quantizers.get("lookup-free", dim=40)
    usage = quantizer(torch.randn(64, 40, generator=torch.Generator().manual_seed(0))).usage
    assert usage.perplexity[0] == pytest.approx(64) and usage.fraction == (64 / 2**40,)
    with pytest.raises(ValueError, match="wanted at most"):
        usage.counts(0)


@pytest.mark.parametrize("name", ["residual", "group-residual", "cascade"])
def test_dropout_uses_whole_layers(name: str) -> None:
    quantizer, x = fresh(name), vectors(400, 8)
    torch.manual_seed(3)
    result = quantizer(x)
    active = result.usage.active
    assert active is not None
    counts = active.sum(1)
    assert 0.6 < float((counts == quantizer.stages).float().mean()) < 0.9  # half of them, and what draws all
    for count in counts.unique().tolist():
        rows = counts == count
        decoded = quantizer.decode(result.codes[rows][:, :count])
        torch.testing.assert_close(result.values[rows], decoded, rtol=1e-5, atol=1e-5)
    shared = quantizer(x.reshape(20, 20, 8)).usage.active.sum(1).reshape(20, 20)
    assert bool((shared == shared[:, :1]).all())


def test_gradients_of_later_stages_do_not_cancel() -> None:
    """The bug of encodec#25: with a straight-through gradient in every stage the second one's commitment has none."""
    quantizer, x = fresh("residual"), vectors(50, 9).requires_grad_()
    quantizer.dropout = 0
    codes = quantizer.encode(x)
    left = x - quantizer.decode(codes[:, :1]).detach()
    expected = quantizer.codebooks[1].learn(left, codes[:, 1])["commitment"]
    (gradient,) = torch.autograd.grad(expected, x)
    assert float(gradient.abs().sum()) > 0
    total = quantizer(x).losses["commitment"]
    alone = [
        book.learn(x - (quantizer.decode(codes[:, :i]).detach() if i else 0), codes[:, i])["commitment"]
        for i, book in enumerate(quantizer.codebooks)
    ]
    torch.testing.assert_close(total, torch.stack(alone).mean())


@pytest.mark.parametrize("kind", quantizers.CODEBOOKS.names())
@pytest.mark.parametrize("name", ["residual", "product rotated", "cascade"])
def test_every_kind_of_codebook_fits(name: str, kind: str) -> None:
    config = {**CONFIGS[name], "codebook": kind, "codewords": 16}
    quantizer = quantizers.from_config(config)
    x = vectors(300, 2)
    quantizer.start(x)
    first = quantizer(x)
    assert set(quantizers.from_config(json.loads(json.dumps(quantizer.config()))).state_dict())
    quantizer.eval()
    result = quantizer(x)
    assert torch.equal(result.codes, quantizer.encode(x)) and first.codes.shape == result.codes.shape
    torch.testing.assert_close(result.values, quantizer.decode(result.codes), rtol=1e-5, atol=1e-5)
    assert torch.equal(result.codes[:7], quantizer.encode(x[:7]))
    exported = quantizer.export()
    assert (exported.encode(x.numpy()) == result.codes.numpy()).mean() > 0.99
