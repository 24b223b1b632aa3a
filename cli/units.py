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
        raise UsageError(
            f"{text!r} is no rate; pictures take bits per pixel, such as 0.5bpp, recordings kbps, such as 3kbps"
        )
    return float(match[1])


def parse_bitrate(text: str) -> float | None:
    """Return a rate in bits a second, ``3kbps`` -> 3000.0, or None if it is none."""
    match = re.fullmatch(_NUMBER + r"\s*(k?)bps", text.strip(), re.IGNORECASE)
    return float(match[1]) * (1000 if match[2] else 1) if match else None


def parse_time(text: str, rate: int) -> int:
    """Return a time in samples: ``10s``, ``250ms``, ``1:02.5``, ``1:00:00`` or ``160000samples``.

    Raises
    ------
    UsageError
        If it is none.
    """
    match = re.fullmatch(_NUMBER + r"\s*(ms|s|samples?)", text.strip(), re.IGNORECASE)
    if match and match[2].lower().startswith("samp") and match[1].isdecimal():
        return int(match[1])
    if match and not match[2].lower().startswith("samp"):
        return round(float(match[1]) / (1 if match[2].lower() == "s" else 1000) * rate)
    clock = re.fullmatch(r"(?:([0-9]+):)?([0-9]+):([0-5]?[0-9](?:\.[0-9]*)?)", text.strip())
    if clock is None:
        raise UsageError(f"{text!r} is no time; write 10s, 250ms, 1:02.5 or 160000samples")
    return round((int(clock[1] or 0) * 3600 + int(clock[2]) * 60 + float(clock[3])) * rate)


def format_seconds(seconds: float) -> str:
    """Return a duration: 12.4 -> ``12.4 s``, 754 -> ``12:34``, 36000 -> ``10:00:00``."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours = f"{whole // 3600}:" if whole >= 3600 else ""
    return f"{hours}{whole // 60 % 60:0{2 if hours else 1}d}:{whole % 60:02d}"


def format_size(size: float) -> str:
    """Return a size to four digits in decimal units: 393216 -> ``393.2 kB``."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} GB"
