"""What ``codec encode`` does with one input of each kind, and which options each kind takes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglum.cli import audio, caches, tensors
from siglum.cli.files import open_output
from siglum.cli.inputs import Begun, Input, accept_media, accept_picture
from siglum.cli.kinds import kind_of
from siglum.cli.output import Reporter, encoded_line
from siglum.cli.pictures import DEFAULT_CODEC, color_psnr, decode_picture, make_codec, read_input_picture
from siglum.cli.target import Target, search_level
from siglum.errors import UsageError

if TYPE_CHECKING:
    from siglum.codecs.image.picture import Picture


@dataclass(frozen=True)
class EncodeSettings:
    """What the options say about coding."""

    codec: str | None
    quality: float
    target: Target | None
    lossless: bool | None
    model: str | None
    engine: str | None
    threads: int | None
    keep_metadata: bool
    measure_psnr: bool
    max_pixels: int | None
    cache: caches.CacheSettings
    quality_given: bool
    max_error: float | None
    tune: str | None


_OF_CACHES = "--calibration, --sinks, --window, --bits and --rope-theta are for key-value caches"


def _only_pictures(settings: EncodeSettings, medium: str) -> None:
    """Object to options that other media than pictures have no use for."""
    given = {
        "--model": settings.model,
        "--engine": settings.engine,
        "-b or --target": settings.target,
        "--tune": settings.tune,
    }
    wrong = [name for name, value in given.items() if value is not None]
    wrong += ["--psnr"] * settings.measure_psnr + ["--keep-metadata"] * settings.keep_metadata
    if wrong:
        raise UsageError(f"{wrong[0]} is for pictures, not for {medium}")


def encode_recording(
    source: Input,
    file: Begun,
    target: Path | None,
    settings: EncodeSettings,
    force: bool,
    reporter: Reporter,
) -> None:
    """Encode a recording, once no option is found that recordings have no use for."""
    if settings.codec not in (None, audio.CODEC):
        raise UsageError(f"the codec {settings.codec!r} takes no recordings")
    if replace(settings.cache, effort=None).given:
        raise UsageError(_OF_CACHES)
    given = {
        "--lossless": settings.lossless,
        "--engine": settings.engine,
        "--tune": settings.tune,
        "--max-error": settings.max_error,
        "--psnr": settings.measure_psnr or None,
        "--keep-metadata": settings.keep_metadata or None,
    }
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise UsageError(f"{wrong[0]} is not for recordings")
    audio.encode_recording(
        source,
        file,
        target,
        audio.AudioSettings(
            quality=settings.quality if settings.quality_given else None,
            target=settings.target,
            model=settings.model,
            effort=settings.cache.effort,
            threads=settings.threads,
        ),
        force,
        reporter,
    )


def encode_tensors(
    source: Input,
    data: bytes | None,
    target: Path | None,
    settings: EncodeSettings,
    force: bool,
    reporter: Reporter,
) -> None:
    """Encode plain tensors, likewise."""
    _only_pictures(settings, "tensors")
    if settings.cache.given:
        raise UsageError(f"{_OF_CACHES}, -e also for pictures")
    if settings.lossless and (settings.quality_given or settings.max_error is not None):
        raise UsageError("--lossless leaves nothing for -q or --max-error to say")
    if settings.lossless is False and not settings.quality_given and settings.max_error is None:
        raise UsageError("how much may tensors lose? give -q or --max-error")
    tensors.encode_tensors(
        source,
        target,
        quality=settings.quality if settings.quality_given else None,
        max_error=settings.max_error,
        threads=settings.threads,
        force=force,
        reporter=reporter,
        data=data,
    )


def encode_cache(
    source: Input,
    data: bytes | None,
    target: Path | None,
    settings: EncodeSettings,
    force: bool,
    reporter: Reporter,
) -> None:
    """Encode a key-value cache, likewise."""
    if settings.codec not in (None, caches.CODEC):
        raise UsageError(f"the codec {settings.codec!r} takes no file of tensors")
    _only_pictures(settings, "key-value caches")
    if settings.max_error is not None:
        raise UsageError("--max-error is for tensors")
    if settings.cache.bits is not None and (settings.quality_given or settings.lossless):
        raise UsageError("--bits is a rate of its own: leave out -q and --lossless")
    caches.encode_cache(
        source,
        target,
        quality=settings.quality,
        lossless=bool(settings.lossless),
        settings=settings.cache,
        threads=settings.threads,
        force=force,
        reporter=reporter,
        data=data,
    )


def encode_picture(
    source: Input,
    given: bytes | None,
    target: Path | None,
    settings: EncodeSettings,
    force: bool,
    reporter: Reporter,
) -> None:
    """Encode a picture, likewise; ``given`` is what standard input held."""
    if replace(settings.cache, effort=None).given:
        raise UsageError(_OF_CACHES)
    if settings.max_error is not None:
        raise UsageError("--max-error is for tensors")
    original = source.read(accept_media) if given is None else given
    accept_picture(kind_of(original))
    picture = read_input_picture(settings.keep_metadata, settings.max_pixels, original)
    start = time.perf_counter()
    data, level = _coded(picture, settings)
    seconds = time.perf_counter() - start
    psnr = None
    if settings.measure_psnr or (settings.target is not None and settings.target.kind == "psnr"):
        # Measured on the file itself: what is reported is what whoever decodes it will see.
        psnr = color_psnr(picture.pixels, decode_picture(data, settings.threads).pixels)
    with open_output(target, force) as file:
        file.write(data)
    pixels = picture.width * picture.height
    record: dict[str, Any] = {
        "input": source.name,
        "output": None if target is None else str(target),
        "codec": settings.codec or DEFAULT_CODEC,
        "width": picture.width,
        "height": picture.height,
        "channels": picture.channels,
        "input_bytes": len(original),
        "output_bytes": len(data),
        "bpp": 8 * len(data) / pixels,
        "seconds": seconds,
    }
    if level is not None:
        record["level"] = level
    elif not settings.lossless and settings.target is None:
        record["quality"] = settings.quality
    if psnr is not None:
        record |= {"psnr_db": psnr, "exact": math.isinf(psnr)}
    searched = settings.target is not None
    line = encoded_line(source.name, len(original), len(data), pixels, seconds, psnr, searched)
    reporter.close(line, record)


def _coded(picture: Picture, settings: EncodeSettings) -> tuple[bytes, int | None]:
    """Return the file, and its level where that was searched for and the file is not lossless."""
    config: dict[str, Any] = {
        "lossless": settings.lossless,
        "name": settings.codec,
        "model": settings.model,
        "engine": settings.engine,
        "threads": settings.threads,
        "effort": settings.cache.effort,
        "tune": settings.tune,
    }
    if settings.target is None:
        return make_codec(quality=settings.quality, **config).encode(picture), None
    return search_level(picture, settings.target, config)
