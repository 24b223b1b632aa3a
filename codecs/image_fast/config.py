"""Settings of the image-fast codec."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class FastConfig:
    """Settings of the image-fast codec; `ImageFastCodec(**config.to_dict())` gives the same codec again.

    Attributes
    ----------
    quality
        0 (smallest) to 100; ignored with `level`.
    level
        The level itself, 0..255, or None.
    channels
        Most channels of each patch that are coded: 8, 32, 64, 128 or 192; None: as many as pay at the level.
    lossless
        False or None: this codec is always lossy.
    model
        Name of the weights that encode.
    threads
        Threads to use; None: as many as there are.
    engine
        "native": only compiled code runs the networks.
    """

    quality: float = 60.0
    level: int | None = None
    channels: int | None = None
    lossless: bool | None = None
    model: str = "small"
    threads: int | None = None
    engine: str = "native"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
