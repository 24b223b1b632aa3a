"""Settings of the image codec."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from siglum.codecs.image.engine import EngineName
from siglum.codecs.image.frame import MAX_LEVEL
from siglum.errors import UsageError

TUNES = ("psnr", "ms-ssim")


def level_of_quality(quality: float) -> int:
    """The level 0..255 of a quality 0..100.

    Raises
    ------
    UsageError
        If the quality is outside 0..100.
    """
    if not 0 <= quality <= 100:
        raise UsageError(f"quality is 0 to 100, not {quality}")
    return round(quality * MAX_LEVEL / 100)


@dataclass(frozen=True)
class ImageConfig:
    """Settings of the image codec; `ImageCodec(**config.to_dict())` gives the same codec again.

    Attributes
    ----------
    quality
        0 (smallest) to 100; ignored with `level`.
    level
        The level itself, 0..255, or None.
    lossless
        True, False, or None: lossless where the file is smaller than the lossy one would be (line art,
        screenshots).
    model
        Name of the weights that encode.
    threads
        Threads to use; None: as many as there are.
    engine
        What runs the networks: "native", or "torch" (on a GPU if there is one).
    effort
        1 to 9: how hard the encoder looks for a smaller file. Up to 5 the same; 8 and 9 need torch.
    tune
        What decoded pictures are to be good at, "psnr" or "ms-ssim": the latter takes the weights `model`-ms-ssim.
    """

    quality: float = 60.0
    level: int | None = None
    lossless: bool | None = None
    model: str = "small"
    threads: int | None = None
    engine: EngineName = "native"
    effort: int = 5
    tune: str = TUNES[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
