"""``codec decode``: siglum files into what they were."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import click

from siglum.cli import audio, batch, caches, tensors
from siglum.cli.decoded_names import (
    array_name,
    cache_name,
    check_apart,
    fixed_format,
    format_in_header,
    picture_name,
)
from siglum.cli.files import (
    check_distinct,
    check_outputs,
    check_writable,
    is_done,
    open_output,
    stem_of,
    target_of,
)
from siglum.cli.inputs import Begun, Input, accept_siglum, expand
from siglum.cli.output import Reporter, complain, format_speed, say
from siglum.cli.pictures import decode_damaged, parse_region
from siglum.cli.units import format_size
from siglum.errors import UsageError

AUDIO_FORMATS = frozenset(audio.FORMATS.values())


@click.command(short_help="Siglum files into pictures, recordings, caches, tensors.", no_args_is_help=True)
@batch.inputs_argument
@batch.output_options
@batch.resume_option
@batch.recursive_option
@click.option(
    "--format",
    "chosen",
    metavar="NAME",
    help="png, jpeg, webp, tiff, bmp, ppm or avif; of recordings wav, flac, ogg or raw; of tensors npy or "
    "safetensors.  [default: by the suffix of OUT, else what it was before; of recordings wav]",
)
@click.option(
    "--partial",
    is_flag=True,
    help="What is whole: of a progressive picture or a recording that was cut off, of a cache with damaged or missing "
    "blocks.",
)
@click.option(
    "--conceal",
    is_flag=True,
    help="Of image-vq pictures and recordings: guess what lost or damaged chunks held, and say so.",
)
@click.option("--from", "start", metavar="TIME", help="Of recordings: from 10s, 1:02.5 or 160000samples on.")
@click.option("--to", "stop", metavar="TIME", help="Of recordings: up to there.")
@click.option("--tokens", metavar="A:B", help="Of caches: tokens A to B - 1 only.")
@click.option("--layers", metavar="LIST", help="Of caches: layers such as 0-5,12 only.")
@click.option(
    "--calibration", metavar="NAME", help="Of caches: the file of a calibration that is not installed."
)
@click.option(
    "--crop",
    "region",
    callback=parse_region,
    metavar="X,Y,W,H",
    help="Of pictures: this part only, for which only its tiles are decoded.",
)
@click.option(
    "--scale",
    type=click.Choice(["1/2", "1/4", "1/8"]),
    help="Of pictures: smaller, for less time and memory; the means of so many pixels.",
)
@batch.engine_option
@batch.jobs_option
@batch.threads_option
@batch.max_pixels_option
@batch.json_option
@batch.quiet_option
def decode(
    inputs: tuple[str, ...],
    output: str | None,
    out_dir: str | None,
    force: bool,
    dry_run: bool,
    resume: bool,
    recursive: bool,
    chosen: str | None,
    partial: bool,
    conceal: bool,
    start: str | None,
    stop: str | None,
    tokens: str | None,
    layers: str | None,
    calibration: str | None,
    region: tuple[int, int, int, int] | None,
    scale: str | None,
    engine: str | None,
    jobs: int,
    threads: int | None,
    max_pixels: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Decode siglum files; photo.sgl becomes the kind of picture that it was, beside it.

    PNG, WebP, TIFF, BMP and PPM are written without further loss, JPEG and AVIF at quality 95. So a lossless
    file of what was a JPEG or AVIF becomes a PNG, unless OUT or --format asks for another. The time in the
    closing line is the codec's, without reading and writing; that of the first file includes loading the
    networks. Recordings become WAV, FLAC, Ogg Vorbis or raw samples (little-endian integers), with the bits that
    their samples had, at least 16; in a pipe they come as they are decoded. Key-value caches become .safetensors,
    tensors .npy or .safetensors, as they were.

    \b
    Examples:
      codec decode photo.sgl
      codec decode photo.sgl -o photo.jpg
      codec decode map.sgl -o part.png --crop 1024,2048,640,480
      codec decode photo.sgl -o thumbnail.png --scale 1/8
      codec decode -r small --out-dir back --format png
      codec decode - < photo.sgl > photo.png
      codec decode talk.sgl -o part.flac --from 1:02.5 --to 80s
    """  # noqa: D301
    reporter = Reporter(as_json, quiet)
    sources = expand(inputs, recursive, accept_siglum)
    check_outputs(sources, output, out_dir, as_json)
    check_distinct(sources, [target_of(source, output, out_dir, stem_of) for source in sources])
    fixed = fixed_format(output, chosen)
    if jobs > 1:
        check_apart(sources, output, out_dir)
    settings = DecodeSettings(
        output=output,
        out_dir=out_dir,
        fixed=fixed,
        engine=engine,
        threads=batch.threads_of_each(threads, jobs),
        max_pixels=max_pixels,
        force=force,
        dry_run=dry_run,
        resume=resume,
        partial=partial,
        conceal=conceal,
        tokens=caches.parse_tokens(tokens),
        layers=caches.parse_layers(layers),
        calibration=calibration,
        region=region,
        factor=1 if scale is None else int(scale[2:]),
        start=start,
        stop=stop,
    )
    batch.run_batch(sources, _Decode(settings, reporter), reporter, jobs)


@dataclass(frozen=True)
class DecodeSettings:
    """What the options say about decoding; ``fixed`` is the format that they ask for."""

    output: str | None
    out_dir: str | None
    fixed: str | None
    engine: str | None
    threads: int | None
    max_pixels: int | None
    force: bool
    dry_run: bool
    resume: bool
    partial: bool
    conceal: bool
    tokens: tuple[int, int | None]
    layers: tuple[int, ...] | None
    calibration: str | None
    region: tuple[int, int, int, int] | None
    factor: int
    start: str | None = None
    stop: str | None = None

    @property
    def of_caches(self) -> bool:
        """Whether an option was given that pictures have no use for."""
        return self.tokens != (0, None) or self.layers is not None or self.calibration is not None


@dataclass(frozen=True)
class _Decode:
    """What is done with one siglum file; ``written`` is what this process has written."""

    settings: DecodeSettings
    reporter: Reporter
    written: dict[Path, Input] = field(default_factory=dict)

    def __call__(self, source: Input) -> None:
        settings = self.settings
        with source.open(accept_siglum) as file:
            if audio.is_coded(file.head):
                self._recording(source, file)
                return
            data = file.read()
        if settings.start is not None or settings.stop is not None:
            raise UsageError("--from and --to are for recordings")
        if settings.fixed in AUDIO_FORMATS:
            raise UsageError(f"{source.name} is no recording, so it is not written as {settings.fixed}")
        if caches.is_cache_file(data):
            if settings.conceal:
                raise UsageError("--conceal is for pictures")
            self._cache(source, data)
            return
        if settings.of_caches:
            raise UsageError("--tokens, --layers and --calibration are for key-value caches")
        if tensors.is_tensor_file(data):
            if settings.partial or settings.conceal:
                raise UsageError("--partial and --conceal are for pictures and caches, not for tensors")
            self._tensors(source, data)
            return
        if settings.fixed in tensors.SUFFIXES:
            raise UsageError(f"{source.name} is a picture, which is not written as {settings.fixed}")
        # The name is known before the work is done, so that nothing is done in vain.
        before, name = None, settings.fixed
        if name is None:
            before, name = format_in_header(data, settings.max_pixels)
        target = target_of(
            source, settings.output, settings.out_dir, lambda of_input: picture_name(of_input, name)
        )
        # Only now, by their formats, is it known that a.sgl and a.jpg.sgl both become a.jpg.
        other = source if target is None else self.written.setdefault(target, source)
        if other is not source:
            raise UsageError(f"{other.name} and {source.name} would both be written to {target}")
        if settings.resume and is_done(source, target):
            return
        check_writable(source, target, settings.force)
        if before is not None and not self.reporter.quiet:
            complain(f"{source.name}: it is lossless, so it becomes {name} and not {before} again", "note: ")
        if settings.dry_run:
            say(f"{source.name} -> {target or 'standard output'}", err=True)
            return
        start = time.perf_counter()
        picture = decode_damaged(
            data,
            settings.threads,
            settings.max_pixels,
            settings.engine,
            settings.region,
            settings.factor,
            settings.partial,
            settings.conceal,
            warn=lambda text: complain(f"{source.name}: {text}", "warning: "),
        )
        seconds = time.perf_counter() - start
        from siglum.codecs.image.picture import write_picture

        with open_output(target, settings.force) as file:
            write_picture(picture, file, name)
        pixels = picture.width * picture.height
        size = f"{picture.width}x{picture.height} {name}"
        self.reporter.close(
            f"{source.name}  {format_size(len(data))} -> {size}  {format_speed(pixels, seconds)}",
            {
                "input": source.name,
                "output": None if target is None else str(target),
                "format": name,
                "width": picture.width,
                "height": picture.height,
                "channels": picture.channels,
                "input_bytes": len(data),
                "seconds": seconds,
            },
        )

    def _recording(self, source: Input, file: Begun) -> None:
        settings = self.settings
        if settings.of_caches or settings.region is not None or settings.factor > 1:
            raise UsageError(f"{source.name} is a recording: of those, --from and --to take a part")
        form = settings.fixed or audio.SUFFIX[1:]
        if form not in AUDIO_FORMATS:
            raise UsageError(f"{source.name} is a recording, which is not written as {form.lstrip('.')}")
        target = target_of(
            source, settings.output, settings.out_dir, lambda name: array_name(name, f".{form}")
        )
        other = source if target is None else self.written.setdefault(target, source)
        if other is not source:
            raise UsageError(f"{other.name} and {source.name} would both be written to {target}")
        if settings.resume and is_done(source, target):
            return
        check_writable(source, target, settings.force)
        if settings.dry_run:
            say(f"{source.name} -> {target or 'standard output'}", err=True)
            return
        part = audio.Decoding(
            settings.start, settings.stop, settings.partial, settings.conceal, settings.threads
        )
        audio.decode_recording(source, file, target, form, part, settings.force, self.reporter)

    def _tensors(self, source: Input, data: bytes) -> None:
        settings = self.settings
        part = settings.region is not None or settings.factor > 1
        if part or settings.fixed not in (None, *tensors.SUFFIXES):
            raise UsageError(
                f"{source.name} holds tensors: they have no --crop or --scale, and are written as .npy or "
                ".safetensors"
            )
        decoded, metadata, seconds = tensors.read_tensors(data, settings.threads)
        suffix = settings.fixed or tensors.suffix_of(decoded)
        target = target_of(source, settings.output, settings.out_dir, lambda name: array_name(name, suffix))
        if settings.resume and is_done(source, target):
            return
        check_writable(source, target, settings.force)
        if settings.dry_run:
            say(f"{source.name} -> {target or 'standard output'}", err=True)
            return
        tensors.decode_tensors(
            source,
            target,
            decoded,
            metadata,
            as_npy=suffix == ".npy",
            size=len(data),
            seconds=seconds,
            force=settings.force,
            reporter=self.reporter,
        )

    def _cache(self, source: Input, data: bytes) -> None:
        settings = self.settings
        if settings.region is not None or settings.factor > 1:
            raise UsageError(
                "--crop and --scale are for pictures; of a cache, --tokens and --layers take a part"
            )
        if settings.fixed not in (None, caches.SUFFIX):
            raise UsageError(f"{source.name} is a key-value cache, which is written as {caches.SUFFIX}")
        target = target_of(source, settings.output, settings.out_dir, cache_name)
        if settings.resume and is_done(source, target):
            return
        check_writable(source, target, settings.force)
        if settings.dry_run:
            say(f"{source.name} -> {target or 'standard output'}", err=True)
            return
        caches.decode_cache(
            source,
            target,
            data,
            tokens=settings.tokens,
            layers=settings.layers,
            partial=settings.partial,
            calibration=settings.calibration,
            threads=settings.threads,
            force=settings.force,
            reporter=self.reporter,
        )
