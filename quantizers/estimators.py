"""Gradients through the choice of a codeword: ``(x, values) -> values`` that training can differentiate.

What goes forward is ``values``, bit for bit (but for the noise of `diveq`); only the gradients differ. A stack of
residual stages calls an estimator once, on its sum: an estimator inside each stage would subtract from the residual
what it adds to the output, and the gradient of every stage but the first would vanish.

`ibq` and `gumbel` take a codebook besides, since they send gradients to all its words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from siglum.quantizers.names import ESTIMATORS

Estimator = Callable[[Tensor, Tensor], Tensor]
_TINY = 1e-6
_MAX_SCORES = 2**28


@ESTIMATORS.register("straight-through")
def straight_through(x: Tensor, values: Tensor) -> Tensor:
    """Give x the gradient of the output unchanged (Bengio, Leonard and Courville, arXiv 1308.3432).

    Parameters
    ----------
    x, values : float, shape (..., D)
        What was quantised and what it was quantised to, a sum over stages where there are some.

    Returns
    -------
    values : float, shape (..., D)
        No gradient reaches what ``values`` was computed from: the codebook's losses are for that.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> x = torch.tensor([0.3, 1.2], requires_grad=True)
    >>> straight_through(x, x.round()).sum().backward()
    >>> x.grad.tolist()
    [1.0, 1.0]
    """
    _check(x, values)
    return values.detach() + (x - x.detach())  # the difference is exactly 0


@ESTIMATORS.register("rotation")
def rotation_trick(x: Tensor, values: Tensor) -> Tensor:
    """Turn and scale the gradient as x would have to be turned and scaled to become ``values``.

    With unit vectors e of x and q of the values, r = (e + q) / |e + q|, the output is taken for
    ``|values| / |x| (I - 2 r r^T + 2 q e^T) x`` with the matrix held fixed: gradients keep their angle to the
    codeword, so points of one cell get different ones (Fifty et al., arXiv 2410.06424). Where x or the value is
    nearly 0, or they point in opposite directions, the rotation is not defined, and the gradient is passed unchanged.

    Parameters
    ----------
    x, values : float, shape (..., D)

    Returns
    -------
    values : float, shape (..., D)

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    _check(x, values)
    result: Tensor = _Rotation.apply(x, values.detach())
    return result


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(x, values)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, values = ctx.saved_tensors
        x_norm, value_norm = x.norm(dim=-1, keepdim=True), values.norm(dim=-1, keepdim=True)
        e, q = x / x_norm.clamp_min(_TINY), values / value_norm.clamp_min(_TINY)
        middle = e + q
        length = middle.norm(dim=-1, keepdim=True)
        r = middle / length.clamp_min(_TINY)
        turned = (
            gradient
            - 2 * r * (r * gradient).sum(-1, keepdim=True)
            + 2 * e * (q * gradient).sum(-1, keepdim=True)
        )
        defined = (x_norm > _TINY) & (value_norm > _TINY) & (length > _TINY)
        return torch.where(defined, turned * (value_norm / x_norm.clamp_min(_TINY)), gradient), None


@ESTIMATORS.register("diveq")
def diveq(
    x: Tensor, values: Tensor, *, variance: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """Take quantisation for a step of length ``|values - x|`` in a direction that is held fixed.

    The output is ``x + |values - x| u`` with ``u = unit(values - x + noise)`` without gradient (DiVeQ, Vali, Bäckström
    and Solin, arXiv 2509.26469). Both x and the codewords get gradients from the task itself, so no codebook or
    commitment loss is needed; dead words must be replaced.

    Parameters
    ----------
    x, values : float, shape (..., D)
        ``values`` with the gradients of the codebook.
    variance : float, at least 0
        Of the Gaussian noise that blurs the direction in training (the paper: 1e-3 and about), for vectors of about
        unit scale. With 0 the output is exactly ``values``; with noise it is near them.
    generator : torch.Generator, optional
        Of the noise.

    Returns
    -------
    values : float, shape (..., D)

    Raises
    ------
    ValueError
        If the shapes differ or the variance is negative.
    """
    _check(x, values)
    if not variance >= 0:
        raise ValueError(f"variance must be 0 or more, not {variance}")
    error = values - x
    direction = error.detach()
    if variance:
        noise = torch.randn(error.shape, generator=generator, device=x.device, dtype=x.dtype)
        direction = direction + variance**0.5 * noise
    unit = functional.normalize(direction, dim=-1, eps=1e-12)
    length = (error.square().sum(-1, keepdim=True) + 1e-24).sqrt()  # differentiable where x is a codeword
    output = x + length * unit
    return output if variance else values.detach() + (output - output.detach())


@ESTIMATORS.register("codebook")
def keep(x: Tensor, values: Tensor) -> Tensor:
    """Leave the gradients as they are: for codebooks that give x one themselves, such as ``"ibq"``.

    Parameters
    ----------
    x, values : float, shape (..., D)

    Returns
    -------
    values : float, shape (..., D)

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    _check(x, values)
    return values


def ibq(x: Tensor, vectors: Tensor, indices: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Index backpropagation: one-hot forward, softmax backward, so that every codeword gets a gradient.

    ``(one_hot(k) + p - sg(p)) @ vectors`` with ``p = softmax(-|x - c|^2 / temperature)`` (Shi et al., arXiv
    2412.02692, with the distance that the search minimises in place of the dot product).

    Parameters
    ----------
    x : float, shape (N, D)
    vectors : float, shape (K, D)
        The codebook, with its gradients. The scores of all words are in memory: N K numbers, at most 2^28.
    indices : int64, shape (N,)
        Words that were chosen.
    temperature : float, above 0
        In squared distance.

    Returns
    -------
    values : float, shape (N, D)
        Exactly ``vectors[indices]``.

    Raises
    ------
    ValueError
        If shapes do not fit, the temperature is not positive, or there would be too many scores.
    """
    return _through(_logits(x, vectors, temperature, indices).softmax(-1), indices, vectors)


def draw(
    x: Tensor, vectors: Tensor, *, temperature: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Draw codewords with probability ``softmax(-|x - c|^2 / temperature)``: int64 (N,).

    Parameters
    ----------
    x : float, shape (N, D)
    vectors : float, shape (K, D)
    temperature : float, above 0
        In squared distance; towards 0 the draw becomes the nearest word.
    generator : torch.Generator, optional
        Of the draws.

    Raises
    ------
    ValueError
        As `ibq`.
    """
    with torch.no_grad():
        logits = _logits(x, vectors, temperature, None)
        return (logits - _exponential(logits, generator).log()).argmax(-1)


def gumbel(
    x: Tensor,
    vectors: Tensor,
    indices: Tensor,
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Words that `draw` drew, with the gradient of a softmax of perturbed scores (straight-through Gumbel-softmax).

    Jang, Gu and Poole, arXiv 1611.01144; Maddison, Mnih and Teh, arXiv 1611.00712. The Gumbel noise is drawn here,
    under the condition that the words in ``indices`` won (Maddison, Tarlow and Minka, A* Sampling, 2014): the pair has
    the distribution of one common draw, and nothing has to be kept between them.

    Parameters
    ----------
    x : float, shape (N, D)
    vectors : float, shape (K, D)
    indices : int64, shape (N,)
    temperature : float, above 0
        In squared distance.
    generator : torch.Generator, optional
        Of the noise.

    Returns
    -------
    values : float, shape (N, D)
        Exactly ``vectors[indices]``.

    Raises
    ------
    ValueError
        As `ibq`.
    """
    logs = _logits(x, vectors, temperature, indices).log_softmax(-1)
    with torch.no_grad():
        noise = _conditional_gumbel(logs, indices, generator) - logs
    return _through((logs + noise).softmax(-1), indices, vectors)


def _conditional_gumbel(logs: Tensor, indices: Tensor, generator: torch.Generator | None) -> Tensor:
    """Log-probabilities with Gumbel noise, given that ``indices`` are the largest of each row."""
    waits = _exponential(
        logs, generator
    )  # a Gumbel variable of location l is -log of an exponential of rate e^l
    first = waits.gather(-1, indices[:, None])  # the least of all has rate 1
    others = first + waits / logs.exp().clamp_min(1e-30)  # the others come after it, without memory
    return -others.scatter(-1, indices[:, None], first).log().to(logs.dtype)


def _through(soft: Tensor, chosen: Tensor, vectors: Tensor) -> Tensor:
    blend = (soft - soft.detach()) @ vectors.detach()  # zeros, with the gradient of the scores
    return vectors[chosen] + blend  # one_hot @ vectors, with its gradient to the words


def _exponential(like: Tensor, generator: torch.Generator | None) -> Tensor:
    uniform = torch.rand(like.shape, generator=generator, device=like.device, dtype=torch.float64)
    return -torch.log1p(-uniform).clamp_max(-1e-12)


def _logits(x: Tensor, vectors: Tensor, temperature: float, indices: Tensor | None) -> Tensor:
    if vectors.ndim != 2 or x.ndim != 2 or x.shape[1] != vectors.shape[1]:
        raise ValueError(f"x has shape {tuple(x.shape)}, wanted (N, {vectors.shape[-1]})")
    if indices is not None and indices.shape != x.shape[:1]:
        raise ValueError(f"indices has shape {tuple(indices.shape)}, wanted ({len(x)},)")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature!r}, wanted above 0")
    if len(x) * len(vectors) > _MAX_SCORES:
        most = _MAX_SCORES // len(vectors)
        raise ValueError(
            f"x has shape {tuple(x.shape)}, wanted at most {most} vectors with {len(vectors)} codewords"
        )
    squares = x.square().sum(1, keepdim=True) + vectors.square().sum(1)
    return (2 * x @ vectors.T - squares) / temperature


def _check(x: Tensor, values: Tensor) -> None:
    if x.shape != values.shape:
        raise ValueError(f"values has shape {tuple(values.shape)}, wanted that of x, {tuple(x.shape)}")
