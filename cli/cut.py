"""``codec cut``: a part of a coded recording as a file of its own, without coding anything again."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from siglum.cli import audio, batch
from siglum.cli.errors import CommandFailed, describe, exit_code_of, show_traceback
from siglum.cli.files import check_outputs, check_writable, open_output, target_of
from siglum.cli.inputs import STANDARD_INPUT, Begun, Input, accept_siglum
from siglum.cli.output import Reporter
from siglum.cli.units import format_seconds, format_size
from siglum.errors import UsageError


@click.command(short_help="A part of a coded recording, without coding it again.", no_args_is_help=True)
@click.argument("source", metavar="IN")
@click.option("--from", "start", metavar="TIME", help="The first moment.  [default: the beginning]")
@click.option("--to", "stop", metavar="TIME", help="The moment after the last.  [default: the end]")
@click.option("-o", "--output", metavar="OUT", required=True, help="The file to write, or - for stdout.")
@click.option("--partial", is_flag=True, help="Of a file that was cut off, what is whole in it.")
@click.option("-f", "--force", is_flag=True, help="Overwrite a file that exists.")
@batch.json_option
@batch.quiet_option
def cut(
    source: str,
    start: str | None,
    stop: str | None,
    output: str,
    partial: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Cut a part out of a coded recording, exact to the sample; nothing is coded again, so nothing is lost.

    TIME is 10s, 250ms, 1:02.5 (a minute and 2.5 seconds), 1:00:00 or 160000samples. The file keeps a little more
    than the part: what its first samples depend on.

    \b
    Examples:
      codec cut talk.sgl --from 10s --to 1:02.5 -o part.sgl
      codec cut cut-off.sgl --partial -o whole.sgl
    """  # noqa: D301
    item = Input(source, None if source == STANDARD_INPUT else Path(source), Path(source))
    check_outputs([item], output, None, as_json)
    target = target_of(item, output, None, str)
    check_writable(item, target, force)
    try:
        with ExitStack() as stack:
            file = stack.enter_context(item.open(accept_siglum))
            if not audio.is_coded(file.head):
                raise UsageError("only recordings are cut; a part of a picture: codec decode --crop")
            _cut(item, file, target, (start, stop), partial, force, Reporter(as_json, quiet))
    except Exception as error:
        show_traceback(error)
        raise CommandFailed(describe(error, source), exit_code_of(error)) from error


def _cut(
    item: Input,
    file: Begun,
    target: Path | None,
    times: tuple[str | None, str | None],
    partial: bool,
    force: bool,
    reporter: Reporter,
) -> None:
    from siglum.codecs.audio.edit import Coded

    with ExitStack() as stack:
        whole = audio.seekable(file, stack)
        size = whole.seek(0, 2)
        whole.seek(0)
        coded = Coded(whole, partial=partial)
        rate = coded.form.rate
        first, last = audio.span_of(coded.samples, rate, *times)
        with open_output(target, force) as out:
            written = coded.cut(first, last, out)
    before, after = coded.samples / rate, (last - first) / rate
    reporter.close(
        f"{item.name}  {format_size(size)}, {format_seconds(before)} -> {format_size(written)}, "
        f"{format_seconds(after)}",
        {
            "input": item.name,
            "output": None if target is None else str(target),
            "samples": last - first,
            "duration_s": after,
            "input_bytes": size,
            "output_bytes": written,
        },
    )
