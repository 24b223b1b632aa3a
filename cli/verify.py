"""``codec verify``: decode and check files without writing anything."""

from __future__ import annotations

import time

import click

from siglum.cli import audio, batch, caches, tensors
from siglum.cli.inputs import Input, accept_siglum, expand
from siglum.cli.output import Reporter, format_speed, print_json, say
from siglum.cli.pictures import decode_picture


@click.command(short_help="Decode and check, write nothing.", no_args_is_help=True)
@batch.inputs_argument
@batch.recursive_option
@batch.threads_option
@batch.max_pixels_option
@batch.json_option
@batch.quiet_option
def verify(
    inputs: tuple[str, ...],
    recursive: bool,
    threads: int | None,
    max_pixels: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Decode siglum files, check every checksum, write nothing. Exit code 3 tells of damage.

    \b
    Examples:
      codec verify photo.sgl
      codec verify -r archive --quiet || echo "something is damaged"
    """  # noqa: D301

    def work(source: Input) -> None:
        start = time.perf_counter()
        with source.open(accept_siglum) as file:
            if audio.is_coded(file.head):
                audio.verify_recording(source, file, threads, as_json=as_json, quiet=quiet)
                return
            data = file.read()
        if caches.is_cache_file(data):
            caches.verify_cache(source, data, threads, as_json=as_json, quiet=quiet)
            return
        if tensors.is_tensor_file(data):
            tensors.verify_tensors(source, data, threads, as_json=as_json, quiet=quiet)
            return
        picture = decode_picture(data, threads, max_pixels)
        seconds = time.perf_counter() - start
        if as_json:
            size = {"width": picture.width, "height": picture.height}
            print_json({"input": source.name, "ok": True, **size, "seconds": seconds})
        elif not quiet:
            speed = format_speed(picture.width * picture.height, seconds)
            say(f"{source.name}: ok  {picture.width}x{picture.height}  {speed}")

    batch.run_batch(expand(inputs, recursive, accept_siglum), work, Reporter(as_json, quiet))
