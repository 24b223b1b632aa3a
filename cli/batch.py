"""Work through several inputs: one that fails does not keep the others from being done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from siglum.cli.errors import SOME_FAILED, CommandFailed, describe, exit_code_of, show_traceback
from siglum.cli.inputs import Input
from siglum.cli.output import Reporter, complain

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def run_batch(inputs: list[Input], work: Callable[[Input], None], reporter: Reporter) -> None:
    """Call ``work`` for each input and end the command with an exit code if one failed.

    Raises
    ------
    CommandFailed
        With the error's own exit code for a single input; with 5 for several, after all were tried.
    """
    failed = 0
    for source in reporter.progress(inputs):
        try:
            if source.failure is not None:
                raise source.failure
            with reporter.warnings_of(source.name):
                work(source)
        except Exception as error:
            show_traceback(error)
            # What was written to a closed pipe cannot be followed by more.
            if len(inputs) == 1 or isinstance(error, BrokenPipeError):
                raise CommandFailed(describe(error, source.name), exit_code_of(error)) from error
            complain(describe(error, source.name))
            failed += 1
    if failed:
        raise CommandFailed(f"{failed} of {len(inputs)} files failed", SOME_FAILED)


def options(*decorators: Decorator) -> Decorator:
    """Apply several click decorators in the order in which they shall be listed."""

    def apply(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


inputs_argument = click.argument("inputs", metavar="IN…", nargs=-1, required=True)
recursive_option = click.option(
    "-r", "--recursive", is_flag=True, help="Take the files in folders, and below."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a file on stdout.")
threads_option = click.option(
    "-T", "--threads", type=click.IntRange(1, 1024), metavar="N", help="Threads to use; all cores by default."
)
engine_option = click.option(
    "--engine",
    type=click.Choice(["native", "torch"]),
    help="What runs the networks; torch, if it is installed, on a GPU if there is one.  [default: native]",
)
quiet_option = click.option("--quiet", is_flag=True, help="No closing lines, no progress.")
max_pixels_option = click.option(
    "--max-pixels", type=click.IntRange(1), metavar="N", help="Refuse larger pictures.  [default: 268435456]"
)
output_options = options(
    click.option("-o", "--output", metavar="OUT", help="The file to write, or - for standard output."),
    click.option(
        "--out-dir", metavar="DIR", help="Write into this folder; folders given with -r are mirrored."
    ),
    click.option("-f", "--force", is_flag=True, help="Overwrite files that exist."),
    click.option("-n", "--dry-run", is_flag=True, help="Only say what would be written."),
)
