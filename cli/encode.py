"""``codec encode``: pictures, recordings, key-value caches and tensors into siglum files."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siglum.cli import audio, batch, caches, tensors
from siglum.cli.files import check_outputs, check_writable, encoded_targets, is_done, open_output
from siglum.cli.inputs import Begun, Input, accept_media, accept_picture, expand
from siglum.cli.kinds import HEAD_BYTES, kind_of
from siglum.cli.output import Reporter, encoded_line, say
from siglum.cli.pictures import (
    DEFAULT_CODEC,
    check_codec,
    color_psnr,
    decode_picture,
    make_codec,
    read_input_picture,
)
from siglum.cli.target import Target, parse_target, search_level
from siglum.errors import UnsupportedInputError, UsageError

if TYPE_CHECKING:
    from siglum.codecs.image.picture import Picture

DEFAULT_QUALITY = 60.0
TUNES = ("psnr", "ms-ssim")


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


@click.command(short_help="Pictures, recordings, caches and tensors into siglum files.", no_args_is_help=True)
@batch.inputs_argument
@batch.output_options
@batch.resume_option
@batch.recursive_option
@click.option("-c", "--codec", metavar="NAME", callback=check_codec, help="The codec; by default by content.")
@click.option(
    "-q",
    "--quality",
    type=click.FloatRange(0, 100),
    metavar="0..100",
    help=f"Higher is better and larger.  [default: {DEFAULT_QUALITY:g}; of recordings 50]",
)
@click.option("-b", "--rate", metavar="RATE", help="The best quality within a rate, such as 0.5bpp or 3kbps.")
@click.option(
    "--target",
    metavar="GOAL",
    help="The smallest file that has psnr=38 (dB), of speech pesq=2.5 or stoi=0.9; or size=20kB, the best within it.",
)
@click.option(
    "--lossless/--lossy",
    default=None,
    help="Every pixel as it was, or never so.  [default: lossless where that is smaller]",
)
@click.option("--model", metavar="NAME", help="The model, see codec models.")
@click.option("--keep-metadata", is_flag=True, help="Keep all of EXIF and XMP, not only the orientation.")
@click.option("--psnr", "measure_psnr", is_flag=True, help="Decode what was written and report its PSNR.")
@click.option(
    "--calibration",
    metavar="NAME",
    help="Of caches: an installed name, a file, or none.  [default: by the model]",
)
@click.option(
    "--sinks", type=int, metavar="N", help="Of caches: first tokens that are kept finely.  [default: 4]"
)
@click.option(
    "--window", type=int, metavar="N", help="Of caches: last tokens that are kept finely.  [default: 0]"
)
@click.option(
    "-e",
    "--effort",
    type=click.IntRange(1, 9),
    metavar="1..9",
    help="Of pictures, recordings and caches: how long to look for a better file; from 8 on pictures take torch and "
    "about a minute.  [default: 5]",
)
@click.option(
    "--tune", type=click.Choice(TUNES), help="Of pictures: what they are to be good at.  [default: psnr]"
)
@click.option(
    "--bits",
    type=click.FloatRange(0.1, 8),
    metavar="BITS",
    help="Of caches: a fixed rate an element, every token block of one size, in place of -q.",
)
@click.option(
    "--rope-theta", type=float, metavar="BASE", help="Of caches that do not say how keys were turned."
)
@click.option(
    "--max-error",
    type=click.FloatRange(0, min_open=True),
    metavar="E",
    help="Of tensors: of any element at most.",
)
@batch.engine_option
@batch.jobs_option
@batch.threads_option
@batch.max_pixels_option
@batch.json_option
@batch.quiet_option
def encode(
    inputs: tuple[str, ...],
    output: str | None,
    out_dir: str | None,
    force: bool,
    dry_run: bool,
    resume: bool,
    recursive: bool,
    codec: str | None,
    quality: float | None,
    rate: str | None,
    target: str | None,
    lossless: bool | None,
    model: str | None,
    keep_metadata: bool,
    measure_psnr: bool,
    calibration: str | None,
    sinks: int | None,
    window: int | None,
    effort: int | None,
    tune: str | None,
    bits: float | None,
    rope_theta: float | None,
    max_error: float | None,
    engine: str | None,
    jobs: int,
    threads: int | None,
    max_pixels: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Encode pictures and more; photo.png becomes photo.sgl beside it (and photo.png.sgl, if photo.jpg comes with it).

    IN is a picture (PNG, JPEG, WebP, TIFF, AVIF, …, told by its content), a recording (WAV, FLAC, Ogg, Opus, MP3,
    AIFF; WAV also as it comes from a pipe), a key-value cache (.safetensors with
    tensors layers.N.keys and layers.N.values), tensors (any other .safetensors, .npy; bit for bit unless -q or
    --max-error is given) or - for standard input, whose
    result goes to standard output. The time in the closing line is the codec's, without reading and writing
    files; that of the first picture includes loading the networks.

    \b
    Examples:
      codec encode photo.png
      codec encode -q 80 *.jpg --out-dir small
      codec encode -r photos --out-dir small -j 4 --resume
      codec encode photo.png -o photo.sgl -f --target size=20kB
      codec encode photo.png -e 9
      cat photo.png | codec encode - -b 0.5bpp > photo.sgl
      codec encode talk.wav -b 3kbps; codec encode talk.wav --target pesq=2.5
      arecord -f S16_LE -r 16000 | codec encode - -o - -q 50 > live.sgl
      codec encode cache.safetensors -q 60 --window 128
      codec encode weights.safetensors; codec encode embeddings.npy -q 60; codec encode field.npy --max-error 1e-3
    """  # noqa: D301
    reporter = Reporter(as_json, quiet)
    settings = EncodeSettings(
        codec=codec,
        quality=DEFAULT_QUALITY if quality is None else quality,
        target=_one_goal(quality, rate, target, lossless),
        lossless=lossless,
        model=model,
        engine=engine,
        threads=batch.threads_of_each(threads, jobs),
        keep_metadata=keep_metadata,
        measure_psnr=measure_psnr,
        max_pixels=max_pixels,
        cache=caches.CacheSettings(calibration, sinks, window, effort, rope_theta, bits),
        quality_given=quality is not None,
        max_error=max_error,
        tune=tune,
    )
    sources = expand(inputs, recursive, accept_media)
    check_outputs(sources, output, out_dir, as_json)
    targets = encoded_targets(sources, output, out_dir)
    work = _Encode(targets, settings, force, dry_run, resume, reporter)
    batch.run_batch(sources, work, reporter, jobs)


_OF_CACHES = "--calibration, --sinks, --window, --bits and --rope-theta are for key-value caches"


@dataclass(frozen=True)
class _Encode:
    """What is done with one input."""

    targets: dict[Input, Path | None]
    settings: EncodeSettings
    force: bool
    dry_run: bool
    resume: bool
    reporter: Reporter

    def __call__(self, source: Input) -> None:
        target = self.targets[source]
        if self.resume and is_done(source, target):
            return
        check_writable(source, target, self.force)
        if self.dry_run:
            say(f"{source.name} -> {target or 'standard output'}", err=True)
            return
        if source.path is None:
            with source.open(accept_media) as file:
                if audio.is_recording(file.head):
                    _encode_recording(source, file, target, self.settings, self.force, self.reporter)
                else:
                    self._others(source, target, file.read())
        elif _begins_as_recording(source):
            with source.open(accept_media) as file:
                _encode_recording(source, file, target, self.settings, self.force, self.reporter)
        else:
            self._others(source, target, None)

    def _others(self, source: Input, target: Path | None, data: bytes | None) -> None:
        """All but recordings; ``data`` is what standard input held."""
        if self.settings.codec == audio.CODEC:
            raise UnsupportedInputError("not a recording of a kind that can be read (WAV, FLAC, Ogg, MP3, AIFF)")
        if self.settings.codec == tensors.CODEC or (
            self.settings.codec is None and tensors.is_tensor_input(source)
        ):
            _encode_tensors(source, data, target, self.settings, self.force, self.reporter)
        elif caches.is_cache_input(source) or self.settings.codec == caches.CODEC:
            _encode_cache(source, data, target, self.settings, self.force, self.reporter)
        else:
            _encode_one(source, data, target, self.settings, self.force, self.reporter)


def _begins_as_recording(source: Input) -> bool:
    if source.path is None or source.failure is not None or not source.path.is_file():
        return False  # of what is no file, the first bytes would be lost
    with source.path.open("rb") as file:
        return audio.is_recording(file.read(HEAD_BYTES))


def _one_goal(
    quality: float | None, rate: str | None, target: str | None, lossless: bool | None
) -> Target | None:
    given = [
        name for name, value in (("-q", quality), ("-b", rate), ("--target", target)) if value is not None
    ]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other: give one of them")
    if lossless and given:
        raise UsageError(f"--lossless has one size and quality: leave out {given[0]}")
    return parse_target(rate, target)


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


def _encode_recording(
    source: Input,
    file: Begun,
    target: Path | None,
    settings: EncodeSettings,
    force: bool,
    reporter: Reporter,
) -> None:
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


def _encode_tensors(
    source: Input,
    data: bytes | None,
    target: Path | None,
    settings: EncodeSettings,
    force: bool,
    reporter: Reporter,
) -> None:
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


def _encode_cache(
    source: Input,
    data: bytes | None,
    target: Path | None,
    settings: EncodeSettings,
    force: bool,
    reporter: Reporter,
) -> None:
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


def _encode_one(
    source: Input,
    given: bytes | None,
    target: Path | None,
    settings: EncodeSettings,
    force: bool,
    reporter: Reporter,
) -> None:
    if replace(settings.cache, effort=None).given:
        raise UsageError(_OF_CACHES)
    if settings.max_error is not None:
        raise UsageError("--max-error is for tensors")
    original = source.read(accept_picture) if given is None else given
    accept_picture(kind_of(original))
    picture = read_input_picture(source, settings.keep_metadata, settings.max_pixels, original)
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
