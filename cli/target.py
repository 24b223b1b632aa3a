"""Goals of an encoding, such as ``-b 0.5bpp``, ``--target size=20kB`` and ``--target psnr=38``; pictures' search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from siglum.cli.pictures import color_psnr, make_codec
from siglum.cli.units import format_size, parse_bitrate, parse_rate, parse_size
from siglum.errors import SiglumError, UsageError

if TYPE_CHECKING:
    from siglum.codecs.image.picture import Picture


_HIGHEST = {"psnr": 1000.0, "pesq": 4.65, "stoi": 1.0}


@dataclass(frozen=True)
class Target:
    """What to reach.

    Attributes
    ----------
    kind
        "size" (bytes, an upper limit); of pictures "rate" (bits per pixel, an upper limit) and "psnr" (dB, a lower
        limit); of recordings "bitrate" (bits a second, an upper limit), "pesq" and "stoi" (lower limits).
    value
        The limit in that unit.
    """

    kind: str
    value: float


def parse_target(rate: str | None, target: str | None) -> Target | None:
    """Return the goal that the options ``-b`` and ``--target`` set.

    Raises
    ------
    UsageError
        If one of them cannot be read.
    """
    if rate is not None:
        bitrate = parse_bitrate(rate)
        return Target("rate", parse_rate(rate)) if bitrate is None else Target("bitrate", bitrate)
    if target is None:
        return None
    kind, equals, value = target.partition("=")
    if kind == "size" and equals:
        return Target("size", parse_size(value))
    try:
        goal = float(value.lower().removesuffix("db")) if kind in _HIGHEST else 0.0
    except ValueError:
        goal = 0.0
    if not 0 < goal < _HIGHEST.get(kind, 0):
        raise UsageError(
            f"{target!r} is no target; write size=20kB, of pictures psnr=38 (in dB), of speech pesq=2.5 or stoi=0.9"
        )
    return Target(kind, goal)


def search_level(picture: Picture, target: Target, config: dict[str, Any]) -> tuple[bytes, int | None]:
    """Return the file that meets the goal, and its level (None if it is lossless).

    Raises
    ------
    UsageError
        If it is a goal of recordings.
    SiglumError
        If no level meets it; the message says what can be had.
    """
    if target.kind not in ("size", "rate", "psnr"):
        raise UsageError(
            "kbps, pesq and stoi are for recordings; pictures take -b 0.5bpp and --target psnr=38"
        )
    if target.kind == "psnr":
        return _search_psnr(picture, target.value, config)
    limit = target.value if target.kind == "size" else target.value * picture.width * picture.height / 8
    return _search_size(picture, limit, config)


def _search_size(picture: Picture, limit: float, config: dict[str, Any]) -> tuple[bytes, int | None]:
    from siglum.codecs.search import TargetNotReached, largest_level_within

    prepared = make_codec(**config).prepare(picture)
    if prepared.exact is not None and len(prepared.exact) <= limit:
        return prepared.exact, None
    best = b""

    def size_at(level: int) -> int:
        nonlocal best
        data = prepared.encode(level)
        # The largest level within the limit is always the last one tried that fits.
        if len(data) <= limit:
            best = data
        return len(data)

    try:
        trial = largest_level_within(limit, size_at)
    except TargetNotReached as error:
        smallest = format_size(error.nearest)
        raise SiglumError(
            f"no file within {format_size(limit)} is possible, the smallest has {smallest}: scale it down"
        ) from error
    return best, trial.level


def _search_psnr(picture: Picture, decibels: float, config: dict[str, Any]) -> tuple[bytes, int | None]:
    from siglum.codecs.search import TargetNotReached, smallest_level_reaching

    prepared = make_codec(**config).prepare(picture)
    try:
        trial = smallest_level_reaching(
            decibels, lambda level: color_psnr(picture.pixels, prepared.reconstruct(level))
        )
    except TargetNotReached as error:
        if prepared.exact is not None:
            return prepared.exact, None
        if config["lossless"] is None:
            return make_codec(**(config | {"lossless": True})).encode(picture), None
        raise SiglumError(
            f"{decibels:g} dB cannot be reached, the best level has {error.nearest:.1f} dB: use --lossless"
        ) from error
    data = prepared.encode(trial.level)
    if prepared.exact is not None and len(prepared.exact) < len(data):
        return prepared.exact, None
    return data, trial.level
