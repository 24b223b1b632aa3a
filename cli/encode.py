"""``codec encode``: pictures, recordings, key-value caches and tensors into siglum files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from siglum.cli import audio, batch, caches, tensors
from siglum.cli.encoding import (
    EncodeSettings,
    encode_cache,
    encode_picture,
    encode_recording,
    encode_tensors,
)
from siglum.cli.files import check_outputs, check_writable, encoded_targets, is_done
from siglum.cli.inputs import Input, accept_media, expand
from siglum.cli.kinds import HEAD_BYTES
from siglum.cli.output import Reporter, say
from siglum.cli.pictures import check_codec
from siglum.cli.target import Target, parse_target
from siglum.errors import UnsupportedInputError, UsageError

DEFAULT_QUALITY = 60.0
TUNES = ("psnr", "ms-ssim")


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
    help=f"Higher is better and larger.  [default: {DEFAULT_QUALITY:g}; of recordings 70]",
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
        if source.path is None or not source.path.is_file():  # what is no file can be read only once
            with source.open(accept_media) as file:
                if audio.is_recording(file.head):
                    encode_recording(source, file, target, self.settings, self.force, self.reporter)
                else:
                    self._others(source, target, file.read())
        elif _begins_as_recording(source):
            with source.open(accept_media) as file:
                encode_recording(source, file, target, self.settings, self.force, self.reporter)
        else:
            self._others(source, target, None)

    def _others(self, source: Input, target: Path | None, data: bytes | None) -> None:
        """All but recordings; ``data`` is what a pipe held."""
        if self.settings.codec == audio.CODEC:
            raise UnsupportedInputError(
                "not a recording of a kind that can be read (WAV, FLAC, Ogg, MP3, AIFF)"
            )
        if self.settings.codec == tensors.CODEC or (
            self.settings.codec is None and data is None and tensors.is_tensor_input(source)
        ):
            encode_tensors(source, data, target, self.settings, self.force, self.reporter)
        elif (data is None and caches.is_cache_input(source)) or self.settings.codec == caches.CODEC:
            encode_cache(source, data, target, self.settings, self.force, self.reporter)
        else:
            encode_picture(source, data, target, self.settings, self.force, self.reporter)


def _begins_as_recording(source: Input) -> bool:
    if source.path is None or source.failure is not None:
        return False
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
