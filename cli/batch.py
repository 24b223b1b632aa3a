"""Work through several inputs: one that fails does not keep the others from being done."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from siglum.cli.errors import SOME_FAILED, CommandFailed, describe, exit_code_of, show_traceback
from siglum.cli.inputs import Input
from siglum.cli.output import Reporter, complain
from siglum.executor import work_through

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def run_batch(inputs: list[Input], work: Callable[[Input], None], reporter: Reporter, jobs: int = 1) -> None:
    """Call ``work`` for each input and end the command with an exit code if one failed.

    Failures are listed when all is done, so that they are not lost among the lines of what went well.

    Parameters
    ----------
    inputs
        In the order in which they are begun.
    work
        What is done with one. For several processes it must be picklable.
    reporter
        Prints progress and warnings.
    jobs
        How many processes. Standard input is read by this one, so with it there is no other.

    Raises
    ------
    CommandFailed
        With the error's own exit code for a single input; with 5 for several, after all were tried.
    """
    if any(source.path is None for source in inputs):
        jobs = 1
    outcomes = work_through(_Guarded(work, reporter), inputs, jobs=min(jobs, len(inputs)))
    failures: list[str] = []
    try:
        for outcome in reporter.progress(outcomes, len(inputs)):
            if outcome.error is None:
                continue
            show_traceback(outcome.error)
            line = describe(outcome.error, inputs[outcome.index].name)
            # What was written to a closed pipe cannot be followed by more.
            if len(inputs) == 1 or isinstance(outcome.error, BrokenPipeError):
                raise CommandFailed(line, exit_code_of(outcome.error)) from outcome.error
            failures.append(line)
    finally:
        for line in failures:
            complain(line)
    if failures:
        raise CommandFailed(f"{len(failures)} of {len(inputs)} files failed", SOME_FAILED)


@dataclass(frozen=True)
class _Guarded:
    """The work on an input, with its warnings printed and what was found before raised."""

    work: Callable[[Input], None]
    reporter: Reporter

    def __call__(self, source: Input) -> None:
        if source.failure is not None:
            raise source.failure
        with self.reporter.warnings_of(source.name):
            self.work(source)


def threads_of_each(threads: int | None, jobs: int) -> int | None:
    """Return the threads that each of several processes uses, if the options leave it open."""
    if threads is not None or jobs == 1:
        return threads
    return max(1, (os.cpu_count() or 1) // jobs)


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
jobs_option = click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 1024),
    default=1,
    metavar="N",
    help="Work on N files at a time, in processes that share the cores.",
)
resume_option = click.option(
    "--resume", is_flag=True, help="Pass over files whose output is there and no older."
)
output_options = options(
    click.option("-o", "--output", metavar="OUT", help="The file to write, or - for standard output."),
    click.option(
        "--out-dir", metavar="DIR", help="Write into this folder; folders given with -r are mirrored."
    ),
    click.option("-f", "--force", is_flag=True, help="Overwrite files that exist."),
    click.option("-n", "--dry-run", is_flag=True, help="Only say what would be written."),
)
