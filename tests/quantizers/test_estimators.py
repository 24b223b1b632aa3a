"""Gradients of the estimators against their formulas, written out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from siglum.quantizers import ESTIMATORS, get  # noqa: E402
from siglum.quantizers import estimators as e  # noqa: E402

EXACT = ["straight-through", "rotation", "diveq", "codebook"]
seeds = st.integers(0, 10_000)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(output: torch.Tensor, upstream: torch.Tensor, *inputs: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad((output * upstream).sum(), inputs, allow_unused=True))


@pytest.mark.parametrize("name", EXACT)
@given(seed=seeds)
@settings(deadline=None, max_examples=20)
def test_what_goes_forward_is_the_values_bit_for_bit(name: str, seed: int) -> None:
    x, values = normal(seed, 6, 3).float().requires_grad_(), 1e3 * normal(seed + 1, 6, 3).float()
    assert torch.equal(ESTIMATORS.find(name)(x, values), values)


def test_straight_through_passes_gradients_unchanged() -> None:
    x, values, g = normal(0, 5, 4).requires_grad_(), normal(1, 5, 4).requires_grad_(), normal(2, 5, 4)
    to_x, to_values = gradients(e.straight_through(x, values), g, x, values)
    assert torch.equal(to_x, g)
    assert to_values is None


@given(seed=seeds, dim=st.integers(1, 9))
@settings(deadline=None, max_examples=50)
def test_rotation_is_the_transpose_of_the_matrix_that_turns_x_into_the_value(seed: int, dim: int) -> None:
    x, value, g = normal(seed, dim), normal(seed + 1, dim), normal(seed + 2, dim)
    unit_x, unit_v = x / x.norm(), value / value.norm()
    r = unit_x + unit_v
    if r.norm() < 1e-3:
        return
    r = r / r.norm()
    matrix = torch.eye(dim, dtype=x.dtype) - 2 * torch.outer(r, r) + 2 * torch.outer(unit_v, unit_x)
    matrix = matrix * value.norm() / x.norm()
    torch.testing.assert_close(matrix @ x, value)
    x.requires_grad_()
    (to_x,) = gradients(e.rotation_trick(x, value), g, x)
    torch.testing.assert_close(to_x, matrix.T @ g)


def test_rotation_keeps_the_angle_between_gradient_and_codeword() -> None:
    x, value, g = normal(0, 100, 8).requires_grad_(), normal(1, 100, 8), normal(2, 100, 8)
    (to_x,) = gradients(e.rotation_trick(x, value), g, x)
    cosine = torch.nn.functional.cosine_similarity
    torch.testing.assert_close(cosine(to_x, x.detach()), cosine(g, value))


@pytest.mark.parametrize(
    ("x", "value"), [([1.0, 2.0], [-2.0, -4.0]), ([0.0, 0.0], [1.0, 0.0]), ([1.0, 0.0], [0.0, 0.0])]
)
def test_where_no_rotation_is_defined_the_gradient_passes(x: list[float], value: list[float]) -> None:
    point, g = torch.tensor(x, requires_grad=True), torch.tensor([3.0, -5.0])
    (to_x,) = gradients(e.rotation_trick(point, torch.tensor(value)), g, point)
    assert torch.equal(to_x, g)


@given(seed=seeds, dim=st.integers(1, 9))
@settings(deadline=None, max_examples=30)
def test_diveq_splits_the_gradient_along_the_error(seed: int, dim: int) -> None:
    x, value, g = (
        normal(seed, dim).requires_grad_(),
        normal(seed + 1, dim).requires_grad_(),
        normal(seed + 2, dim),
    )
    to_x, to_value = gradients(e.diveq(x, value), g, x, value)
    u = (value - x).detach()
    u = u / u.norm()
    torch.testing.assert_close(to_value, u * (u @ g))
    torch.testing.assert_close(to_x, g - u * (u @ g))


def test_the_noise_of_diveq_turns_the_direction_and_keeps_the_length() -> None:
    x, value = normal(0, 50, 6), normal(1, 50, 6)
    out = [e.diveq(x, value, variance=0.01, generator=torch.Generator().manual_seed(s)) for s in (3, 3, 4)]
    assert torch.equal(out[0], out[1])
    assert not torch.equal(out[0], out[2])
    torch.testing.assert_close((out[0] - x).norm(dim=1), (value - x).norm(dim=1))
    assert (out[0] - value).norm() < 0.3 * (value - x).norm()


def test_diveq_at_a_codeword_has_finite_gradients() -> None:
    x, value = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    for gradient in gradients(e.diveq(x, value), torch.ones(2), x, value):
        assert torch.isfinite(gradient).all()


def test_ibq_is_one_hot_forward_and_softmax_backward() -> None:
    x, words, g = normal(0, 7, 3).requires_grad_(), normal(1, 5, 3).requires_grad_(), normal(2, 7, 3)
    indices = torch.cdist(x, words).argmin(1)
    values = e.ibq(x, words, indices, temperature=0.7)
    assert torch.equal(values, words[indices])
    p = (-torch.cdist(x, words).square() / 0.7).softmax(1)
    one_hot = torch.nn.functional.one_hot(indices, 5).double()
    for mine, formula in zip(
        gradients(values, g, x, words),
        gradients((one_hot + p - p.detach()) @ words, g, x, words),
        strict=True,
    ):
        torch.testing.assert_close(mine, formula)
    (to_words,) = gradients(e.ibq(x, words, indices, temperature=0.7), g, words)
    assert (to_words.abs().sum(1) > 0).all()  # also those that no vector uses


def test_draws_have_the_probabilities_of_the_softmax() -> None:
    x, words = normal(0, 1, 2), normal(1, 6, 2)
    drawn = e.draw(x.expand(40_000, 2), words, temperature=0.8, generator=torch.Generator().manual_seed(0))
    p = (-torch.cdist(x, words)[0].square() / 0.8).softmax(0)
    found = torch.bincount(drawn, minlength=6) / len(drawn)
    torch.testing.assert_close(found.double(), p, atol=0.01, rtol=0)
    cold = e.draw(x.expand(100, 2), words, temperature=1e-4)
    assert (cold == torch.cdist(x, words).argmin()).all()


def test_the_noise_of_gumbel_fits_the_word_that_was_drawn() -> None:
    """Noise drawn after the choice gives soft choices distributed as one common draw does."""
    x, words, n = normal(0, 1, 2), normal(1, 4, 2), 40_000
    generator = torch.Generator().manual_seed(0)
    logits = (-torch.cdist(x, words)[0].square()).log_softmax(0)
    together = logits - torch.rand(n, 4, generator=generator, dtype=x.dtype).log().neg().log()
    many = x.expand(n, 2)
    drawn = e.draw(many, words, generator=generator)
    logs = logits.expand(n, 4)
    assert torch.equal(e.gumbel(many, words, drawn, generator=generator), words[drawn])
    soft = [e._conditional_gumbel(logs, drawn, generator).softmax(-1), together.softmax(-1)]
    assert (soft[0].argmax(1) == drawn).all()
    for moment in (1, 2):
        torch.testing.assert_close(
            (soft[0] ** moment).mean(0), (soft[1] ** moment).mean(0), atol=0.01, rtol=0
        )


@pytest.mark.parametrize("estimator", ["straight-through", "rotation"])
def test_one_estimator_spans_a_residual_stack(estimator: str) -> None:
    torch.manual_seed(0)
    quantizer = get("residual", dim=4, stages=3, codewords=8, estimator=estimator)
    x = torch.randn(64, 4)
    quantizer.start(x)
    x.requires_grad_()
    result = quantizer(x)
    whole = ESTIMATORS.find(estimator)(x, result.values.detach())
    g = torch.randn(64, 4)
    (mine,), (formula,) = gradients(result.values, g, x), gradients(whole, g, x)
    torch.testing.assert_close(mine, formula)


def test_every_stage_of_a_stack_pulls_at_x_with_its_commitment() -> None:
    """A straight-through inside each stage would make these gradients vanish from the second stage on."""
    torch.manual_seed(0)
    quantizer = get(
        "residual", dim=4, stages=3, codewords=8, codebook={"kind": "gradient", "commitment": 1.0}
    )
    x = torch.randn(64, 4)
    quantizer.start(x)
    x.requires_grad_()
    result = quantizer(x)
    (mine,) = torch.autograd.grad(result.losses["commitment"], x)
    rest, formula = x.detach().clone(), torch.zeros(64, 4)
    for stage in range(3):
        rest = rest - quantizer.codebooks[stage].vectors().detach()[result.codes[:, stage]]
        formula += 2 * rest / rest.numel() / 3
    torch.testing.assert_close(mine, formula)
    assert formula.abs().sum() > 0


@pytest.mark.parametrize("name", EXACT)
def test_shapes_must_agree(name: str) -> None:
    with pytest.raises(ValueError, match=r"values has shape \(2, 3\), wanted that of x, \(2, 4\)"):
        ESTIMATORS.find(name)(torch.zeros(2, 4), torch.zeros(2, 3))


def test_bad_arguments() -> None:
    x, words = torch.zeros(3, 2), torch.zeros(4, 2)
    with pytest.raises(ValueError, match="variance"):
        e.diveq(x, x, variance=-1.0)
    with pytest.raises(ValueError, match="temperature"):
        e.draw(x, words, temperature=0.0)
    with pytest.raises(ValueError, match=r"x has shape \(3, 2\), wanted \(N, 5\)"):
        e.draw(x, torch.zeros(4, 5))
    with pytest.raises(ValueError, match="indices has shape"):
        e.ibq(x, words, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="at most"):
        e.draw(torch.zeros(2**20, 1), torch.zeros(2**10, 1))
