"""One line and one exit code for every way in which a command can fail."""

from __future__ import annotations

import os
import traceback

import click

from siglum.errors import SiglumError, UnsupportedInputError

OK, FAILED, USAGE, DAMAGED, MODEL_MISSING, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


class CommandFailed(click.ClickException):
    """Ends the command with a line that is complete and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.code = exit_code


def exit_code_of(error: BaseException) -> int:
    """Return the exit code for an error of any kind."""
    if isinstance(error, UnsupportedInputError):
        return DAMAGED
    if isinstance(error, CommandFailed):
        return error.code
    if isinstance(error, SiglumError | click.ClickException):
        return error.exit_code
    return FAILED


def describe(error: BaseException, name: str | None = None) -> str:
    """Return one line on an error, beginning with the name of the file that it is about.

    Parameters
    ----------
    error
        What was raised.
    name
        The input that was being worked on.
    """
    about = name
    if isinstance(error, click.ClickException):
        text = error.format_message()
    elif isinstance(error, BrokenPipeError):
        text = "the output was closed before everything was written"
    elif isinstance(error, OSError) and error.strerror:
        about = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else name
        text = error.strerror[0].lower() + error.strerror[1:]
    elif isinstance(error, MemoryError):
        text = "not enough memory"
    elif isinstance(error, SiglumError | OSError):
        text = str(error)
    else:
        text = f"internal error: {type(error).__name__}: {error} (SIGLUM_DEBUG=1 shows where)"
    text = " ".join(text.split())
    return text if about is None or text.startswith(about) else f"{about}: {text}"


def show_traceback(error: BaseException) -> None:
    """Print where an error comes from, if ``SIGLUM_DEBUG`` asks for it."""
    if os.environ.get("SIGLUM_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error)
