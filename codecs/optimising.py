"""What the training of several codecs does between gradients and weights: optimisers, their rate, the average."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from siglum.errors import UsageError


def make_optimizers(
    model: nn.Module,
    hidden: Callable[[str], bool],
    learning_rate: float,
    betas: tuple[float, float],
    *,
    muon: bool = True,
    iterations: int = 5,
) -> list[torch.optim.Optimizer]:
    """Muon (Jordan 2024) for the hidden matrices, AdamW for everything else; or AdamW alone.

    Parameters
    ----------
    hidden
        Whether a parameter of that name, if it is a matrix, is a hidden one.
    iterations
        Of Muon's orthogonalisation.

    Raises
    ------
    UsageError
        If Muon is wanted of a torch that lacks it.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if muon and parameter.ndim == 2 and hidden(name) else others).append(parameter)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=learning_rate, betas=betas, weight_decay=0.0)
    ]
    if matrices:
        if not hasattr(torch.optim, "Muon"):
            raise UsageError(f"torch {torch.__version__} has no Muon: upgrade to 2.10, or train with adamw")
        optimizers.append(
            torch.optim.Muon(
                matrices,
                lr=learning_rate,
                weight_decay=0.0,
                adjust_lr_fn="match_rms_adamw",
                ns_steps=iterations,
            )
        )
    return optimizers


def rate_factor(step: int, progress: float, warmup_steps: int, cooldown: float) -> float:
    """Factor on the learning rate at this step and part of the hours, of which the last ones cool down to zero."""
    warm = min(1.0, (step + 1) / warmup_steps)
    left = (1.0 - progress) / cooldown
    return warm * min(1.0, max(left, 0.0))


def descend(
    optimizers: Sequence[torch.optim.Optimizer],
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    *,
    muon: float = 2.0,
    most: float = 5.0,
) -> float:
    """One step along gradients clipped to a norm; none where they are not finite. Gradients are cleared.

    Parameters
    ----------
    parameters
        All that the optimisers move.
    muon
        Factor on Muon's rate.
    most
        Largest norm of all gradients together.

    Returns
    -------
    The norm before clipping.
    """
    norm = torch.nn.utils.clip_grad_norm_(parameters, most)
    for optimizer in optimizers:
        factor = muon if type(optimizer).__name__ == "Muon" else 1.0
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * factor
        if torch.isfinite(norm):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return float(norm)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move averaged parameters towards a model's, faster in the first steps; frozen ones stay."""
    decay = min(decay, (1 + step) / (10 + step))
    mean = dict(average.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            mean[name].lerp_(parameter, 1 - decay)
