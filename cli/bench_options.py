"""What the commands of ``codec bench`` share: lists of names, dials, files of rows, progress."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from siglum.errors import UsageError

if TYPE_CHECKING:
    from siglum.benchmarks.rows import Row


def progress_line(line: str) -> None:
    """Say on a terminal what is being done."""
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(line, err=True)


@contextmanager
def rows_path(given: str | None, resume: bool, force: bool) -> Iterator[Path]:
    """Give the file for the rows: the one that was named, or one that is gone afterwards."""
    if given is None:
        if resume:
            raise UsageError("--resume needs the rows of a run before: name them with --json")
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / "rows.jsonl"
        return
    path = Path(given)
    if path.exists() and not (resume or force):
        raise UsageError(f"{path} exists; --resume goes on with it, -f begins anew")
    yield path


def names_of(text: str | None) -> list[str] | None:
    """Return names with commas between, or None."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"{text!r} names nothing")
    return names


def dials_of(given: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """Return the values of dials by codec, "" for those without a name."""
    dials = {}
    for text in given:
        name, _, values = text.rpartition("=")
        try:
            dials[name] = tuple(float(value) for value in values.split(","))
        except ValueError as error:
            raise UsageError(f"{text!r} is no list of values, such as jpeg=40,60,80") from error
    return dials


def progress_bar(rows: Iterable[Row], count: int) -> Iterable[Row]:
    """Pass rows on; on a terminal, with a bar of how many are done."""
    if sys.stderr is None or not sys.stderr.isatty() or not count:
        yield from rows
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}", markup=False)  # names of files are no markup
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=count)
        for row in rows:
            progress.update(task, advance=1, description=f"{row.codec} {row.item}")
            yield row
