"""The command ``codec``: the group of all verbs, and how their errors end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import click

from siglum.cli.bench import bench
from siglum.cli.compare import compare
from siglum.cli.completion import completion
from siglum.cli.cut import cut
from siglum.cli.decode import decode
from siglum.cli.encode import encode
from siglum.cli.errors import INTERRUPTED, CommandFailed, describe, exit_code_of, show_traceback
from siglum.cli.info import info
from siglum.cli.join import join
from siglum.cli.kv import kv
from siglum.cli.models import models
from siglum.cli.output import complain
from siglum.cli.train import train
from siglum.cli.truncate import truncate
from siglum.cli.verify import verify

# What click 8.2 and later raise where a command without arguments shows its help. Its message is the help.
_NO_ARGUMENTS: tuple[type[click.UsageError], ...] = tuple(
    filter(None, [getattr(click.exceptions, "NoArgsIsHelpError", None)])
)


class CommandGroup(click.Group):
    """A group whose commands fail with one line on standard error and a telling exit code."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the verbs in the order in which one meets them."""
        return list(self.commands)

    def invoke(self, context: click.Context) -> Any:
        """Run a command, and make whatever it raises an error that click can end with."""
        try:
            return super().invoke(context)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if isinstance(error, BrokenPipeError):
                _forget_stdout()
            show_traceback(error)
            raise CommandFailed(describe(error), exit_code_of(error)) from error

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and exit."""
        try:
            with _termination_unwinds():
                result = super().main(args, prog_name or "codec", standalone_mode=False, **extra)
        except _NO_ARGUMENTS as error:
            click.echo(error.format_message(), err=True)
            code = error.exit_code
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "codec"
            text = " ".join(error.format_message().split()).rstrip(".")
            complain(f"{text}; {command} --help says more")
            code = error.exit_code
        except click.ClickException as error:
            complain(describe(error))
            if isinstance(error.__cause__, BrokenPipeError):
                _forget_stdout()
            code = exit_code_of(error)
        except click.Abort:
            complain("interrupted; nothing half-written is left")
            code = INTERRUPTED
        else:
            code = result if isinstance(result, int) else 0
        if standalone_mode:
            sys.exit(code)
        return code


def _forget_stdout() -> None:
    """Keep Python from flushing a closed pipe at exit, which would print a second message."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _termination_unwinds() -> Iterator[None]:
    """Let SIGTERM end the command as an exception does, so that temporary files are removed."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@click.group(
    name="codec",
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 damaged or unsupported file, 4 model missing, "
    "5 some of several inputs failed.",
)
@click.version_option(package_name="siglum", prog_name="codec", message="%(prog)s (siglum) %(version)s")
def main() -> None:
    """Compress pictures, recordings, and key-value caches of language models, and get them back.

    \b
    Examples:
      codec encode photo.png                 writes photo.sgl
      codec decode photo.sgl -o back.png
      codec encode -r photos --out-dir small --target psnr=38
      codec encode talk.wav -b 3kbps
    """  # noqa: D301


for command in (
    encode,
    decode,
    info,
    verify,
    compare,
    truncate,
    cut,
    join,
    models,
    kv,
    train,
    bench,
    completion,
):
    main.add_command(command)
