"""``codec join``: coded recordings one after the other as one file, without coding anything again."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from siglum.cli import audio, batch
from siglum.cli.errors import CommandFailed, describe, exit_code_of, show_traceback
from siglum.cli.files import check_outputs, check_writable, open_output, target_of
from siglum.cli.inputs import STANDARD_INPUT, Input, accept_siglum
from siglum.cli.output import Reporter
from siglum.cli.units import format_seconds, format_size
from siglum.errors import UsageError


@click.command(short_help="Coded recordings one after the other, as one file.", no_args_is_help=True)
@click.argument("inputs", metavar="IN…", nargs=-1, required=True)
@click.option("-o", "--output", metavar="OUT", required=True, help="The file to write, or - for stdout.")
@click.option("-f", "--force", is_flag=True, help="Overwrite a file that exists.")
@batch.json_option
@batch.quiet_option
def join(inputs: tuple[str, ...], output: str, force: bool, as_json: bool, quiet: bool) -> None:
    """Join coded recordings; nothing is coded again. They need one model, rate, and number of channels.

    \b
    Example:
      codec join first.sgl second.sgl third.sgl -o all.sgl
    """  # noqa: D301
    from siglum.codecs.audio.edit import Coded
    from siglum.codecs.audio.edit import join as joined

    if STANDARD_INPUT in inputs:
        raise UsageError("standard input (-) cannot be joined: name files")
    items = [Input(name, Path(name), Path(name)) for name in inputs]
    check_outputs(items[:1], output, None, as_json)
    target = target_of(items[0], output, None, str)
    parts: list[tuple[str, Coded]] = []
    size = 0
    with ExitStack() as stack:
        for item in items:
            check_writable(item, target, force=True)  # it must not be an input
        check_writable(items[0], target, force)
        for item in items:
            try:
                file = stack.enter_context(item.open(accept_siglum))
                if not audio.is_coded(file.head):
                    raise UsageError("only recordings are joined")
                whole = audio.seekable(file, stack)
                size += whole.seek(0, 2)
                whole.seek(0)
                parts.append((item.name, Coded(whole)))
            except Exception as error:
                show_traceback(error)
                raise CommandFailed(describe(error, item.name), exit_code_of(error)) from error
        with open_output(target, force) as out:
            written = joined(parts, out)
    rate, samples = parts[0][1].form.rate, sum(part.samples for _, part in parts)
    Reporter(as_json, quiet).close(
        f"{len(parts)} recordings, {format_size(size)} -> {format_size(written)}, {format_seconds(samples / rate)}",
        {
            "inputs": list(inputs),
            "output": None if target is None else str(target),
            "samples": samples,
            "duration_s": samples / rate,
            "input_bytes": size,
            "output_bytes": written,
        },
    )
