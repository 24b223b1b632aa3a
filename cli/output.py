"""What a command says: lines for people on standard error, results and JSON lines on standard output."""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from siglum.cli.units import format_seconds, format_size

Item = TypeVar("Item")
LONG = 120.0  # seconds of a recording from which on there is a bar


def wants_color() -> bool | None:
    """Return what click takes: never colour under ``NO_COLOR``, else whatever the terminal allows."""
    return False if os.environ.get("NO_COLOR") else None


def complain(message: str, kind: str = "") -> None:
    """Print one line of an error (or of another kind) on standard error."""
    start = click.style("codec:", fg="yellow" if kind else "red", bold=True)
    say(f"{start} {kind}{message}", err=True, color=wants_color())


def say(text: str, err: bool = False, color: bool | None = None) -> None:
    r"""Print a line on standard output or error; what its encoding lacks is printed as ``\xe4`` or the like.

    Names of files are any bytes, which Python holds as surrogates: those have no encoding at all.
    """
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err, color=color)


class Reporter:
    """Prints closing lines, warnings and JSON lines in the way that the options ask for.

    Parameters
    ----------
    as_json
        Print one JSON object a file on standard output instead of closing lines.
    quiet
        Print no closing lines and no progress; warnings and errors stay.
    """

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._alone = False  # whether there is one input only

    def close(self, line: str, record: dict[str, Any]) -> None:
        """Report a file that is done."""
        if self.as_json:
            print_json(record)
        elif not self.quiet:
            say(line, err=True)

    @contextmanager
    def warnings_of(self, name: str) -> Iterator[None]:
        """Print Python warnings that are raised inside as one line each."""

        def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            complain(f"{name}: {' '.join(str(message).split())}", "warning: ")

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show
            yield

    def progress(self, items: Iterable[Item], count: int) -> Iterable[Item]:
        """Go through so many items with a bar, when they are several and standard error is a terminal."""
        self._alone = count < 2
        if self._alone or not self._draws():
            yield from items
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            yield from progress.track(items, total=count, description="files")

    @contextmanager
    def within(self, total: float | None) -> Iterator[Callable[[float], None]]:
        """Give a function that takes the seconds of a recording that are done, and draws a bar where that is long.

        Parameters
        ----------
        total
            Seconds in all, if that is known.
        """
        if not self._alone or not self._draws() or (total is not None and total < LONG):
            yield lambda seconds: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), TextColumn("{task.fields[at]}"), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=total, at="")

            def show(seconds: float) -> None:
                of = "" if total is None else f" of {format_seconds(total)}"
                progress.update(task, completed=seconds, at=format_seconds(seconds) + of)

            yield show

    def _draws(self) -> bool:
        return not self.quiet and sys.stderr is not None and sys.stderr.isatty()


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON object on one line of standard output; what JSON cannot hold becomes null."""
    clean = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }
    text = json.dumps(clean, ensure_ascii=False, default=str)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        # A name that is no text, or beyond the encoding: JSON's own escapes give it back to whoever reads it.
        text = json.dumps(clean, default=str)
    click.echo(text)


def format_psnr(psnr: float) -> str:
    """Return ``38.1 dB``, or ``lossless`` where nothing differs."""
    return "lossless" if math.isinf(psnr) else f"{psnr:.1f} dB"


def format_speed(pixels: int, seconds: float) -> str:
    """Return ``0.04 s (9.8 MP/s)``."""
    return f"{seconds:.2f} s ({pixels / max(seconds, 1e-6) / 1e6:.1f} MP/s)"


def encoded_line(
    name: str,
    before: int,
    after: int,
    pixels: int,
    seconds: float,
    psnr: float | None = None,
    searched: bool = False,
) -> str:
    """Return the closing line of an encoded picture; PSNR where it was measured, speed where coded once."""
    parts = [name, f"{format_size(before)} -> {format_size(after)}", f"{8 * after / pixels:.3f} bpp"]
    if psnr is not None:
        parts.append(format_psnr(psnr))
    return "  ".join([*parts, f"{seconds:.2f} s" if searched else format_speed(pixels, seconds)])
