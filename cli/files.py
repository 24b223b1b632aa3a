"""Where results go: whole files or none, nothing overwritten unasked, no binary data on a terminal."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from siglum.cli.inputs import Input
from siglum.errors import SiglumError, UsageError

STANDARD_OUTPUT = "-"


class OutputExists(SiglumError):
    """The file to write is there already."""


def target_of(source: Input, output: str | None, out_dir: str | None, suffix: str) -> Path | None:
    """Return where the result of an input goes; None for standard output.

    ``suffix`` replaces that of the input when no name was given.
    """
    if output == STANDARD_OUTPUT or (output is None and out_dir is None and source.path is None):
        return None
    if output is not None:
        return Path(output)
    if out_dir is not None:
        return Path(out_dir) / source.below.with_suffix(suffix)
    assert source.path is not None
    return source.path.with_suffix(suffix)


def check_outputs(inputs: list[Input], output: str | None, out_dir: str | None, as_json: bool) -> None:
    """Object to options that contradict each other, before anything is done.

    Raises
    ------
    UsageError
        If several inputs would go into one file, or data to a terminal or among JSON lines.
    """
    if output is not None and out_dir is not None:
        raise UsageError("-o names a file and --out-dir a folder: give one of them")
    if output is not None and len(inputs) > 1:
        raise UsageError("-o takes one input; for several use --out-dir")
    if output not in (None, STANDARD_OUTPUT) and Path(output or "").is_dir():
        raise UsageError(f"{output} is a folder; --out-dir writes into it")
    if any(target_of(source, output, out_dir, "") is None for source in inputs):
        if as_json:
            raise UsageError("data and --json cannot both go to standard output; name a file with -o")
        if click.get_binary_stream("stdout").isatty():
            raise UsageError("binary data does not go to a terminal; redirect it, or name a file with -o")


def check_distinct(sources: list[Input], targets: Iterable[Path | None]) -> None:
    """Object to two inputs with one target.

    Raises
    ------
    UsageError
        Naming both.
    """
    seen: dict[Path, Input] = {}
    for source, target in zip(sources, targets, strict=True):
        if target is None:
            continue
        other = seen.setdefault(target, source)
        if other is not source:
            raise UsageError(f"{other.name} and {source.name} would both be written to {target}")


def check_writable(source: Input, target: Path | None, force: bool) -> None:
    """Object to a target that exists or is the input itself.

    Raises
    ------
    OutputExists
        If it exists and ``force`` is not given.
    UsageError
        If it is the input.
    """
    if target is None or not target.exists():
        return
    if source.path is not None and source.path.exists() and target.samefile(source.path):
        raise UsageError(f"{target} is the input; its output needs another name")
    if target.is_file() and not force:
        raise OutputExists(f"{target} exists; -f overwrites it")


@contextmanager
def open_output(target: Path | None, force: bool = False) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only when it was written completely.

    The data goes to a temporary file in the same folder, which is renamed at the end and removed after any
    exception, Ctrl-C included. What is no regular file (a device, a named pipe) is written directly.

    Raises
    ------
    OutputExists
        If the file has come to exist in the meantime, without ``force``.
    OSError
        If it cannot be written; the error names the target.
    """
    if target is None:
        stream = click.get_binary_stream("stdout")
        yield stream
        stream.flush()
        return
    try:
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                yield file
            return
        # Through a link, so that the file it names is replaced and the link stays.
        target = target.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:64]}.", suffix=".part", dir=target.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
            temporary.chmod(0o666 & ~_umask())
            if target.exists() and not force:
                raise OutputExists(f"{target} exists; -f overwrites it")
            temporary.replace(target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
            raise
    except OSError as error:
        if error.errno is None or isinstance(error, BrokenPipeError):
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
