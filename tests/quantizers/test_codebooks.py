"""Ways of learning a codebook: formulas, laws with structures, and small versions of published results."""

import copy
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from siglum.quantizers import CODEBOOKS, from_config, get  # noqa: E402
from siglum.quantizers.codebook import make_codebook  # noqa: E402
from siglum.quantizers.codebooks.penalised import mean_squared_cosine, soft_entropies  # noqa: E402

torch.set_num_threads(1)

KINDS: dict[str, Any] = {
    "gradient": "gradient",
    "ema": {"kind": "ema", "decay": 0.9},
    "simvq": "simvq",
    "bridge": {"kind": "bridge", "group": 4, "width": 16, "heads": 2, "depth": 1},
    "frozen": {"kind": "frozen", "iterations": 2},
    "entropy-constrained": {"kind": "entropy-constrained", "codebook": "ema", "multiplier": 0.05},
    "penalised": {"kind": "penalised", "codebook": "simvq", "entropy": 0.1, "diversity": 0.1},
    "ibq": {"kind": "ibq", "codebook": "gradient", "temperature": 0.5},
    "projected": {"kind": "projected", "inner": 2},
    "gumbel": {"kind": "gumbel", "codebook": "gradient", "temperature": 0.1},
}
STRUCTURES: dict[str, dict[str, Any]] = {
    "vector": {"dim": 4, "codewords": 16},
    "residual": {"dim": 4, "stages": 3, "codewords": 16},
    "group-residual": {"dim": 4, "groups": 2, "stages": 2, "codewords": 16},
    "product": {"dim": 4, "groups": 2, "codewords": 16},
}


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def used(codes: torch.Tensor, size: int) -> float:
    return len(codes.unique()) / size


def test_every_kind_is_tested() -> None:
    assert set(KINDS) == set(CODEBOOKS.names())


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_keep_the_laws_in_every_structure(kind: str, structure: str) -> None:
    torch.manual_seed(0)
    quantizer = get(structure, codebook=KINDS[kind], **STRUCTURES[structure])
    x = normal(1, 300, 4)
    quantizer.start(x)
    optimiser = torch.optim.Adam([*quantizer.parameters(), torch.nn.Parameter(torch.zeros(1))], lr=1e-2)
    for _ in range(3):
        result = quantizer(x)
        loss = (result.values - x).square().mean() + sum(result.losses.values())
        optimiser.zero_grad()
        if loss.requires_grad:
            loss.backward()
        optimiser.step()
    quantizer.eval()
    result = quantizer(x)
    codes = quantizer.encode(x)
    assert torch.equal(result.codes, codes)
    assert torch.equal(quantizer.encode(x[7:9]), codes[7:9])
    torch.testing.assert_close(result.values, quantizer.decode(codes))
    assert all(torch.isfinite(loss) for loss in result.losses.values())
    twin = from_config(quantizer.config())
    assert twin.config() == quantizer.config()
    twin.load_state_dict(quantizer.state_dict())
    twin.eval()
    assert torch.equal(twin.encode(x), codes)
    torch.testing.assert_close(twin.decode(codes), quantizer.decode(codes))
    assert torch.equal(copy.deepcopy(quantizer).encode(x), codes)
    tables = quantizer.export()
    assert np.array_equal(tables.encode(x.numpy()), codes.numpy())
    torch.testing.assert_close(torch.from_numpy(tables.decode(codes.numpy())), quantizer.decode(codes))


@pytest.mark.parametrize("kind", KINDS)
def test_learning_is_deterministic(kind: str) -> None:
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        book = make_codebook(KINDS[kind], 16, 4)
        book.start(normal(1, 100, 4))
        for step in range(7):
            x = normal(step, 50, 4)
            indices = book.lookup(x)
            book.take(x, indices)
            book.learn(x, indices)
        results.append(book.vectors())
    assert torch.equal(*results)


@given(seed=st.integers(0, 999), decay=st.floats(0.0, 0.99))
@settings(deadline=None, max_examples=25)
def test_ema_follows_its_formula(seed: int, decay: float) -> None:
    book = make_codebook({"kind": "ema", "decay": decay, "restart": 0.0, "smoothing": 0.01}, 5, 3)
    words = normal(seed, 5, 3)
    book.assign(words)
    counts, sums = torch.full((5,), 8.0), words * 8
    for step in range(3):
        x = normal(seed + step, 40, 3)
        indices = torch.cdist(x, words).argmin(1)
        one_hot = functional.one_hot(indices, 5).float()
        book.learn(x, indices)
        counts = decay * counts + (1 - decay) * one_hot.sum(0)
        sums = decay * sums + (1 - decay) * one_hot.T @ x
        e = 0.01 * counts.mean()
        words = (sums + e * words) / (counts + e)[:, None]
        torch.testing.assert_close(book.vectors(), words, atol=1e-4, rtol=1e-4)


def test_smoothing_leaves_rare_words_where_they_are() -> None:
    book = make_codebook({"kind": "ema", "decay": 0.5, "restart": 0.0, "smoothing": 0.5}, 2, 2)
    far = torch.tensor([[0.0, 0.0], [7.0, -7.0]])
    book.assign(far)
    for step in range(50):
        book.learn(normal(step, 32, 2) * 0.1, torch.zeros(32, dtype=torch.int64))
    torch.testing.assert_close(book.vectors()[1], far[1])


def test_restarts_are_relative_to_the_mean_use_and_last() -> None:
    book = make_codebook({"kind": "ema", "decay": 0.8, "restart": 0.1, "every": 5}, 8, 2)
    book.assign(torch.cat([normal(0, 4, 2), torch.full((4, 2), 50.0) + normal(1, 4, 2)]))
    for step in range(60):
        x = normal(step, 16, 2)  # two vectors a word: an absolute threshold of two would restart for ever
        book.learn(x, book.lookup(x))
    settled = book.vectors().clone()
    assert settled.abs().max() < 6
    for step in range(60, 120):
        x = normal(step, 16, 2)
        book.learn(x, book.lookup(x))
    assert used(book.lookup(normal(7, 500, 2)), 8) == 1.0


def test_ema_collapses_without_restarts_and_recovers_with_them() -> None:
    """EnCodec, AudioDec: few words win when all begin far away; moshi's restarts bring all into use."""
    share, left = {}, {}
    for restart in (0.0, 0.1):
        book = make_codebook({"kind": "ema", "decay": 0.9, "restart": restart}, 256, 16)
        book.assign(normal(3, 256, 16) + 3)
        for step in range(100):
            x = normal(step, 512, 16)
            book.learn(x, book.lookup(x))
        x = normal(999, 256 * 20, 16)
        codes = book.lookup(x)
        share[restart] = used(codes, 256)
        left[restart] = float((x - book.vectors()[codes]).square().mean())
    assert share[0.0] < 0.3
    assert share[0.1] >= 0.99
    assert left[0.1] < 0.85 * left[0.0]


def test_evaluation_changes_nothing() -> None:
    for kind in ("ema", {"kind": "entropy-constrained", "codebook": "ema", "multiplier": 1.0}):
        book = make_codebook(kind, 8, 2).eval()
        before = {key: value.clone() for key, value in book.state_dict().items()}
        x = normal(0, 64, 2)
        book.learn(x, book.lookup(x))
        assert all(torch.equal(before[key], value) for key, value in book.state_dict().items())


def test_simvq_learns_one_layer_and_decodes_through_it() -> None:
    book = make_codebook("simvq", 64, 3)
    assert {name for name, _ in book.named_parameters()} == {"weight", "offset"}
    mixing = torch.tensor([[2.0, 0, 0], [1, 0.5, 0], [0, 0, 3]])
    x = normal(0, 5000, 3) @ mixing + 4
    book.start(x)
    words = book.vectors().detach()
    torch.testing.assert_close(words.mean(0), x.mean(0), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(
        torch.cov(words.T, correction=0), torch.cov(x.T, correction=0), atol=1e-2, rtol=1e-2
    )
    taken = book.take(x[:5], book.lookup(x[:5]))
    torch.testing.assert_close(taken, book.basis[book.lookup(x[:5])] @ book.weight + book.offset)


def test_simvq_and_bridge_use_all_words_where_gradients_word_by_word_use_few() -> None:
    """SimVQ, table 2, and FVQ: with many words plain VQ leaves most without vectors, these use all of them."""
    share = {}
    for kind, rate in (("gradient", 1e-2), ("simvq", 1e-2), ("bridge", 1e-3)):
        torch.manual_seed(0)
        spec = {"kind": "bridge", "group": 16, "width": 64} if kind == "bridge" else kind
        book = make_codebook(spec, 1024, 8)
        optimiser = torch.optim.Adam(book.parameters(), lr=rate)
        for step in range(300):
            x = normal(step, 512, 8) + 1  # the words begin elsewhere than the data
            losses = book.learn(x, book.lookup(x))
            optimiser.zero_grad()
            losses["codebook"].backward()
            optimiser.step()
        share[kind] = used(book.lookup(normal(999, 1024 * 20, 8) + 1), 1024)
    assert share["gradient"] < 0.6
    assert share["simvq"] >= 0.99
    assert share["bridge"] >= 0.99


def test_one_used_word_moves_all_words_of_a_bridge() -> None:
    book = make_codebook(KINDS["bridge"], 16, 4)
    x = normal(0, 100, 4)
    book.start(x)
    assert torch.equal(book.vectors(), book.weight)
    optimiser = torch.optim.SGD(book.parameters(), lr=0.1)
    before = book.vectors().detach().clone()
    for _ in range(2):  # the first step gives the last layer weights, the second moves all
        optimiser.zero_grad()
        book.learn(x[:1], torch.zeros(1, dtype=torch.int64))["codebook"].backward()
        optimiser.step()
    assert ((book.vectors() - before).abs().sum(1) > 0).all()


def test_a_bridge_is_crossed_once_a_step_and_survives_two_backward_passes() -> None:
    book = make_codebook(KINDS["bridge"], 16, 4)
    crossings = []
    book.compress.register_forward_hook(lambda *_: crossings.append(1))
    for number in range(2):  # two micro-batches, then one step
        x = normal(number, 10, 4)
        indices = book.lookup(x)
        loss = book.take(x, indices).square().mean() + sum(book.learn(x, indices).values())
        loss.backward()
    assert len(crossings) == 2
    made = book.vectors()
    with torch.no_grad():
        assert torch.equal(book.vectors(), made)
        assert not book.vectors().requires_grad
    assert len(crossings) == 3
    with torch.no_grad():
        book.weight.add_(1.0)
        torch.testing.assert_close(book.vectors(), made + 1, atol=1.0, rtol=0)
    assert len(crossings) == 4
    book.eval().weight.data.sub_(1.0)
    torch.testing.assert_close(book.vectors(), made)
    assert torch.equal(copy.deepcopy(book).vectors(), book.vectors())


def test_frozen_features_need_not_have_the_dimension_of_codewords() -> None:
    book = make_codebook({"kind": "frozen", "features": 32}, 64, 4)
    features = normal(0, 64, 32)
    book.set_features(features)
    torch.testing.assert_close(book.vectors(), features @ book.weight)
    with pytest.raises(ValueError, match="features of dimension 32"):
        book.start(normal(0, 200, 4))
    with pytest.raises(ValueError, match=r"features has shape \(64, 3\), wanted \(64, 32\)"):
        book.set_features(normal(0, 64, 3))


@pytest.mark.parametrize(("source", "bits", "published"), [("gauss", 1.0, 4.64), ("laplace", 1.0, 5.76)])
def test_entropy_constrained_assignment_reaches_the_published_optimum(
    source: str, bits: float, published: float
) -> None:
    """Optimum scalar quantizers at 1 bit of entropy, Farvardin and Modestino 1984: 4.64 dB, 5.76 dB.

    Without the rate, at 1 bit: 4.40 dB and 3.01 dB (Lloyd and Max).
    """
    quantiles = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    laplace = torch.distributions.Laplace(0.0, 0.5**0.5)
    x = (torch.special.ndtri(quantiles) if source == "gauss" else laplace.icdf(quantiles)).float()[:, None]
    found = []
    for multiplier in (0.3, 0.35, 0.4, 0.45, 0.5):
        inner = {"kind": "ema", "decay": 0.5, "restart": 0.0}
        settings = {"kind": "entropy-constrained", "codebook": inner, "multiplier": multiplier, "decay": 0.5}
        book = make_codebook(settings, 15, 1)
        book.assign(torch.linspace(-5, 5, 15)[:, None])
        for _ in range(40):
            book.learn(x, book.lookup(x))
        indices = book.lookup(x)
        p = torch.bincount(indices, minlength=15) / len(x)
        rate = float(torch.special.entr(p).sum() / torch.tensor(2.0).log())
        snr = float(-10 * ((x - book.vectors()[indices]).square().mean()).log10())
        found.append((rate, snr))
    found.sort()
    (low, a), (high, b) = next((p, q) for p, q in pairwise(found) if p[0] <= bits <= q[0])
    at_one_bit = a + (b - a) * (bits - low) / (high - low)
    assert abs(at_one_bit - published) < 0.12


def test_bits_of_words_are_those_of_their_frequencies() -> None:
    book = make_codebook(
        {"kind": "entropy-constrained", "codebook": "gradient", "multiplier": 2.0, "decay": 0.0}, 4, 1
    )
    book.learn(torch.zeros(8, 1), torch.tensor([0, 0, 0, 0, 1, 1, 2, 2]))
    torch.testing.assert_close(book.bits(), torch.tensor([1.0, 2.0, 2.0, 12.0]))
    torch.testing.assert_close(book.bias(), 2 * book.bits())


def test_penalties_are_entropies() -> None:
    words = torch.tensor([[0.0], [100.0]])
    own, mean = soft_entropies(torch.tensor([[0.0], [100.0]]), words, 1.0)
    assert (float(own), float(mean)) == pytest.approx((0.0, 1.0), abs=1e-6)
    own, mean = soft_entropies(torch.tensor([[50.0], [50.0]]), words, 1.0)
    assert (float(own), float(mean)) == pytest.approx((1.0, 1.0), abs=1e-6)
    assert float(mean_squared_cosine(torch.eye(4))) == 0.0
    assert float(mean_squared_cosine(torch.ones(4, 2))) == pytest.approx(1.0)


def test_the_diversity_penalty_brings_words_into_use() -> None:
    share = {}
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        spec = {"kind": "penalised", "codebook": "gradient", "diversity": weight, "temperature": 2.0}
        book = make_codebook(spec, 64, 4)
        with torch.no_grad():
            book.inner.weight.mul_(0.1).add_(1.5)
        optimiser = torch.optim.Adam(book.parameters(), lr=3e-2)
        for step in range(80):
            x = normal(step, 256, 4)
            losses = book.learn(x, book.lookup(x))
            optimiser.zero_grad()
            (losses["codebook"] + losses.get("diversity", 0)).backward()
            optimiser.step()
        share[weight] = used(book.lookup(normal(999, 64 * 20, 4)), 64)
    assert share[1.0] > 1.3 * share[0.0]


def test_ibq_sends_gradients_to_words_that_are_not_used() -> None:
    torch.manual_seed(0)
    quantizer = get("vector", dim=2, codewords=8, codebook="ibq", estimator="codebook")
    x = normal(0, 4, 2).requires_grad_()
    quantizer(x).values.square().sum().backward()
    words = quantizer.codebook.inner.weight
    assert (words.grad.abs().sum(1) > 0).all()
    assert x.grad.abs().sum() > 0


def test_gumbel_draws_in_training_only() -> None:
    book = make_codebook({"kind": "gumbel", "temperature": 5.0}, 8, 2)
    x = normal(0, 200, 2)
    nearest = torch.cdist(x, book.vectors()).argmin(1)
    assert not torch.equal(book.lookup(x), nearest)
    assert torch.equal(book.eval().lookup(x), nearest)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "ema", "decay": 1.0}, "decay"),
        ({"kind": "ema", "restart": -0.1}, "restart"),
        ({"kind": "ema", "every": 0}, "every"),
        ({"kind": "bridge", "group": 3}, "divisor"),
        ({"kind": "bridge", "group": 4, "width": 6}, "multiple"),
        ({"kind": "entropy-constrained", "multiplier": -1.0}, "multiplier"),
        ({"kind": "entropy-constrained", "decay": 1.0}, "decay"),
        ({"kind": "penalised", "entropy": -1.0}, "entropy"),
        ({"kind": "penalised", "temperature": 0.0}, "temperature"),
        ({"kind": "ibq", "temperature": 0.0}, "temperature"),
        ({"kind": "simvq", "seed": -1}, "seed"),
    ],
)
def test_bad_settings_are_named(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_codebook(spec, 16, 4)


def test_codewords_of_a_linear_codebook_cannot_be_set() -> None:
    with pytest.raises(ValueError, match="cannot be set"):
        make_codebook("simvq", 16, 4).assign(torch.zeros(16, 4))
    with pytest.raises(ValueError, match="wanted at least 16"):
        make_codebook("bridge", 16, 4).start(torch.zeros(15, 4))
