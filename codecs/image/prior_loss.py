"""The rate of latents under a prior in training: what the encoder would choose, and what gradients come from."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from siglum.codecs.image.constants import SCALES
from siglum.codecs.image.layers import LOG_SCALE_STEP, SCALE_LOW, gaussian_bits, round_through
from siglum.codecs.image.quantise import MAX_COSTED, magnitude_bits
from siglum.codecs.image.transform import ImageModel, lambda_of
from siglum.codecs.image.weights import DEFAULT_SKIP

NOISE_SCALE = 0.2  # least scale against which noisy residuals are judged


class EncoderRounding:
    """The integers that the encoder chooses: `siglum.kernels.latents.choose` in torch.

    Parameters
    ----------
    weight
        (B, 1, 1, latent), bits that one squared step of error is worth.
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight
        bits = torch.from_numpy(magnitude_bits())
        self._saved = torch.diff(bits, dim=1, prepend=bits[:, :1]).flatten()

    def __call__(self, residual: Tensor, log_scale: Tensor, channels: slice) -> Tensor:
        """(B, h, w, C) integers."""
        steps = (log_scale - math.log(SCALE_LOW)) / LOG_SCALE_STEP
        index = torch.round(steps).clamp(0, SCALES - 1).int()
        symbols = torch.round(residual)
        magnitude = symbols.abs()
        excess = residual.abs() - magnitude
        saved = self._saved[index * (MAX_COSTED + 1) + magnitude.clamp(max=MAX_COSTED).int()]
        lower = (
            (excess < 0)
            & (magnitude <= MAX_COSTED)
            & (saved > self._weight[..., channels] * (2 * excess + 1))
        )
        symbols = symbols - torch.where(lower, torch.sign(symbols), 0.0)
        return torch.where(index < DEFAULT_SKIP, 0.0, symbols)


def error_weight(model: ImageModel, level: Tensor, factor: float) -> Tensor:
    """(B, 1, 1, latent): bits that one squared step of error is worth, as `ImageWeights.error_weight`."""
    squared_step = torch.exp(2 * model.inverse_gain(level))
    return factor * lambda_of(level)[:, None, None, None] * 255.0**2 / 3.0 * squared_step


def rate(model: ImageModel, y: Tensor, level: Tensor, error_factor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Bits of each picture's latents.

    Parameters
    ----------
    y
        (B, h, w, latent) in steps.
    level
        (B,) float.
    error_factor
        Of the encoder's rounding.

    Returns
    -------
    Bits to train on (B,), and bits of the latents and of the hyperlatents as they would be coded, (B,) each
    without gradients.
    """
    z = model.hyper_analysis(y, level)
    hard = round_through(z)
    scale = model.hyper_scale(level)
    trained = gaussian_bits(z + torch.rand_like(z) - 0.5, scale).sum((1, 2, 3))
    bits_z = gaussian_bits(hard.detach(), scale.detach()).sum((1, 2, 3))
    bits_y = torch.zeros_like(bits_z)
    rounding = EncoderRounding(error_weight(model, level, error_factor).detach())
    for coded in model.code(hard, y, level, rounding):
        least = coded.log_scale.detach().clamp_min(math.log(NOISE_SCALE))
        noisy = coded.residual + torch.rand_like(coded.residual) - 0.5
        own = gaussian_bits(coded.symbols, coded.log_scale).sum((1, 2, 3))
        trained = trained + gaussian_bits(noisy, least).sum((1, 2, 3)) + own
        bits_y = bits_y + own.detach()
    return trained, bits_y, bits_z
