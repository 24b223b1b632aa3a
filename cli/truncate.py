"""``codec truncate``: a shorter valid file of the first chunks of another."""

from __future__ import annotations

from pathlib import Path

import click

from siglum.cli import audio, batch
from siglum.cli.errors import CommandFailed, describe, exit_code_of, show_traceback
from siglum.cli.files import check_outputs, check_writable, open_output, target_of
from siglum.cli.inputs import STANDARD_INPUT, Input, accept_siglum
from siglum.cli.output import Reporter
from siglum.cli.pictures import decode_picture
from siglum.cli.units import format_size, parse_size
from siglum.errors import BitstreamError, UnknownModel, UsageError


@click.command(short_help="A shorter file of the first chunks.", no_args_is_help=True)
@click.argument("source", metavar="IN")
@click.option("-o", "--output", metavar="OUT", required=True, help="The file to write, or - for stdout.")
@click.option("--size", metavar="SIZE", help="Keep as many chunks as fit, such as 20kB.")
@click.option("--chunks", type=click.IntRange(1), metavar="N", help="Keep the first N chunks.")
@click.option("-f", "--force", is_flag=True, help="Overwrite a file that exists.")
@batch.json_option
@batch.quiet_option
def truncate(
    source: str, output: str, size: str | None, chunks: int | None, force: bool, as_json: bool, quiet: bool
) -> None:
    """Cut a siglum file down to its first chunks, without coding anything again.

    What is left must still decode, which is tried before it is written. Pictures of the codec image-vq are
    progressive: any first chunks are a coarser picture. Those of the codec image need every chunk; for a smaller
    one encode the picture again with --target size=20kB.

    \b
    Example:
      codec truncate photo.sgl -o shorter.sgl --size 20kB
    """  # noqa: D301
    if (size is None) == (chunks is None):
        raise UsageError("give one of --size and --chunks")
    path = None if source == STANDARD_INPUT else Path(source)
    item = Input(source, path, Path(source))
    check_outputs([item], output, None, as_json)
    target = target_of(item, output, None, str)
    check_writable(item, target, force)
    try:
        data = item.read(accept_siglum)
        kept = _cut(data, chunks, None if size is None else parse_size(size))
    except Exception as error:
        show_traceback(error)
        raise CommandFailed(describe(error, source), exit_code_of(error)) from error
    with open_output(target, force) as file:
        file.write(kept)
    Reporter(as_json, quiet).close(
        f"{source}  {format_size(len(data))} -> {format_size(len(kept))}",
        {"input": source, "output": output, "input_bytes": len(data), "output_bytes": len(kept)},
    )


def _cut(data: bytes, chunks: int | None, max_bytes: int | None) -> bytes:
    from siglum.codecs import container

    if audio.is_coded(data):
        raise UsageError("of a recording, codec cut makes a shorter one")
    kept: bytes = container.truncate_chunks(data, count=chunks, max_bytes=max_bytes)
    try:
        decode_picture(kept)
    except UnknownModel:
        raise
    except BitstreamError as error:
        decode_picture(data)  # whose own error tells more, if it is damaged already
        raise UsageError(
            "it cannot be cut there: it is not progressive (files of image-vq are) and needs every chunk of its "
            "picture; encode the picture again with --target size=… or --codec image-vq instead"
        ) from error
    return kept
