"""What a benchmark knows of a codec, and how codecs are found by their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from siglum.benchmarks.items import Medium
from siglum.errors import SiglumError, UsageError

Dial = float | None


class MissingPeer(SiglumError):
    """A codec cannot be measured for want of a package or of a part of one; the message says which."""


@dataclass(frozen=True)
class Coder:
    """A codec as the benchmarks see it.

    Attributes
    ----------
    name, medium, suffix
        How it is called, what it codes, how its files end.
    dials
        The values of its own dial that make its curve, in order of growing rate; (None,) if it has none.
    quick
        Some of them, at least three, for a first look.
    version
        Of the libraries that do the work.
    encode
        A picture (H, W, 3) uint8, an `Audio` or an array, and a value of the dial -> the whole file.
    decode
        The whole file -> what it was; a lossless array has its shape and type again.
    settings
        A value of the dial -> everything that was set, enough to repeat it.
    threads
        How many it was told to use.
    slack
        By how many samples decoded audio may be longer, which are cut: padding that its file cannot tell.
    health
        If it can tell: what was coded and a value of the dial -> the bits that its own probabilities ask for,
        and the bits that its entropy coder wrote.
    payload
        If it can tell: the whole file -> bytes of it that are coded signal, without container and heads.
    """

    name: str
    medium: Medium
    suffix: str
    dials: tuple[Dial, ...]
    quick: tuple[Dial, ...]
    version: str
    encode: Callable[[Any, Dial], bytes]
    decode: Callable[[bytes], Any]
    settings: Callable[[Dial], dict[str, Any]] = field(default=lambda dial: {})
    threads: int = 1
    slack: int = 0
    health: Callable[[Any, Dial], dict[str, float]] | None = None
    payload: Callable[[bytes], int] | None = None


# Name -> medium, and where the function is that makes the coder from its name and a number of threads.
CATALOGUE: dict[str, tuple[Medium, str]] = {
    "image": ("image", "ours:image"),
    "jpeg": ("image", "peers:jpeg"),
    "jpeg-444": ("image", "peers:jpeg"),
    "jpeg2000": ("image", "peers:jpeg2000"),
    "webp": ("image", "peers:webp"),
    "avif": ("image", "peers:avif"),
    "avif-s4": ("image", "peers:avif"),
    "avif-s9": ("image", "peers:avif"),
    "jxl": ("image", "peers:jxl"),
    "heif": ("image", "peers:heif"),
    "image-vq": ("image", "ours:image_vq"),
    "image-fast": ("image", "ours:image_fast"),
    "compressai-bmshj2018-factorized": ("image", "peers_compressai:zoo"),
    "compressai-bmshj2018-hyperprior": ("image", "peers_compressai:zoo"),
    "compressai-mbt2018-mean": ("image", "peers_compressai:zoo"),
    "compressai-mbt2018": ("image", "peers_compressai:zoo"),
    "compressai-cheng2020-anchor": ("image", "peers_compressai:zoo"),
    "compressai-cheng2020-attn": ("image", "peers_compressai:zoo"),
    "audio": ("audio", "ours:audio"),
    "audio-fullband": ("audio", "ours:audio"),
    "opus": ("audio", "peers_audio:opus"),
    "opus-voip": ("audio", "peers_audio:opus"),
    "aac": ("audio", "peers_audio:aac"),
    "mp3": ("audio", "peers_audio:mp3"),
    "vorbis": ("audio", "peers_audio:vorbis"),
    "encodec-24khz": ("audio", "peers_neural_audio:encodec"),
    "encodec-48khz": ("audio", "peers_neural_audio:encodec"),
    "dac-16khz": ("audio", "peers_neural_audio:dac"),
    "dac-24khz": ("audio", "peers_neural_audio:dac"),
    "dac-44khz": ("audio", "peers_neural_audio:dac"),
    "tensor": ("tensor", "ours:tensor"),
    "tensor-lossy": ("tensor", "ours:tensor"),
    "zstd": ("tensor", "peers_tensor:zstd"),
    "lz4": ("tensor", "peers_tensor:lz4"),
    "zfp": ("tensor", "peers_tensor:zfp"),
}


def make(name: str, threads: int = 1) -> Coder:
    """Return the coder of a name.

    Raises
    ------
    MissingPeer
        If what it needs is not installed.
    UsageError
        If there is none of that name.
    """
    check_names([name])
    module, function = CATALOGUE[name][1].split(":")
    coder: Coder = getattr(import_module(f"siglum.benchmarks.{module}"), function)(name, threads)
    return coder


def check_names(names: list[str]) -> None:
    """Raise `UsageError` if a name is unknown."""
    for name in names:
        if name not in CATALOGUE:
            raise UsageError(f"unknown codec {name!r}; there are {', '.join(CATALOGUE)}")


def needs(package: str, module: str, what: str) -> Any:
    """Import a module of a package that is not always there.

    Raises
    ------
    MissingPeer
        If it is not.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingPeer(
            f"{what} needs {package}: pip install 'siglum[peers]' or pip install {package}"
        ) from error
