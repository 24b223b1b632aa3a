"""What a model is trained for: the price of a picture's distortion, in bits a pixel."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from siglum.codecs.image.ms_ssim import ms_ssim
from siglum.codecs.image.transform import lambda_of

# Price of 1 - MS-SSIM, factor * lambda ** power: the slope of the rate against it of weights trained for squared
# error, measured at seven levels, over 0.7, so that a level keeps about its rate when the weights have adapted.
MS_SSIM_FACTOR, MS_SSIM_POWER = 1400.0, 0.89
ERROR_SHARE = (
    0.05  # of the squared error's price is added: MS-SSIM hardly sees a shift of brightness or colour
)


def squared_error(reference: Tensor, picture: Tensor, level: Tensor) -> Tensor:
    """Pictures (B, H, W, 3) in 0..1, levels (B,) -> (B,): lambda times the mean squared error of 0..255."""
    return lambda_of(level) * ((picture - reference) ** 2).mean((1, 2, 3)) * 255.0**2


def dissimilarity(reference: Tensor, picture: Tensor, level: Tensor) -> Tensor:
    """Pictures (B, H, W, 3) in 0..1, levels (B,) -> (B,): 1 - MS-SSIM, priced to suit the level, and a little error."""
    price = MS_SSIM_FACTOR * lambda_of(level) ** MS_SSIM_POWER
    guard = ERROR_SHARE * squared_error(reference, picture, level)
    return price * (1 - ms_ssim(reference, picture)) + guard


COSTS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "psnr": squared_error,
    "ms-ssim": dissimilarity,
}
