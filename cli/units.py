"""Sizes and rates as people write them."""

from __future__ import annotations

import math
import re

from siglum.errors import UsageError

_FACTORS = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_BY_LOWER_CASE = {unit.lower(): factor for unit, factor in _FACTORS.items()}
_NUMBER = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)"


def parse_size(text: str) -> int:
    """Return a size in bytes, rounded down: ``20kB`` -> 20000, ``1.5MiB`` -> 1572864.

    Raises
    ------
    UsageError
        If it is no positive number with a unit.
    """
    match = re.fullmatch(_NUMBER + r"\s*([A-Za-z]+)", text.strip())
    factor = _BY_LOWER_CASE.get(match[2].lower()) if match else None
    if match is None or factor is None or float(match[1]) <= 0:
        raise UsageError(
            f"{text!r} is no size; write a number and a unit of {', '.join(_FACTORS)}, such as 20kB"
        )
    return math.floor(float(match[1]) * factor)


def parse_rate(text: str) -> float:
    """Return a rate in bits per pixel: ``0.5bpp`` -> 0.5.

    Raises
    ------
    UsageError
        If it is no positive number with the unit bpp.
    """
    match = re.fullmatch(_NUMBER + r"\s*bpp", text.strip(), re.IGNORECASE)
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"{text!r} is no rate; pictures take bits per pixel, such as 0.5bpp")
    return float(match[1])


def format_size(size: float) -> str:
    """Return a size to four digits in decimal units: 393216 -> ``393.2 kB``."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} GB"
