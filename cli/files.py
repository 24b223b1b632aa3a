"""Where results go: whole files or none, nothing overwritten unasked, no binary data on a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from siglum.cli.inputs import Input
from siglum.errors import SiglumError, UsageError

STANDARD_OUTPUT = "-"
SIGLUM_SUFFIX = ".sgl"
# What is replaced when a picture or a recording is encoded.
# fmt: off
PICTURE_SUFFIXES = frozenset((
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif",
    ".pbm", ".pgm", ".ppm", ".pnm", ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx",
))
RECORDING_SUFFIXES = frozenset((
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64",
))
# fmt: on


class OutputExists(SiglumError):
    """The file to write is there already."""


def target_of(
    source: Input, output: str | None, out_dir: str | None, rename: Callable[[str], str]
) -> Path | None:
    """Return where the result of an input goes; None for standard output.

    ``rename`` makes the name of the result of that of the input, when no name was given.
    """
    if output == STANDARD_OUTPUT or (output is None and out_dir is None and source.path is None):
        return None
    if output is not None:
        return Path(output)
    if out_dir is not None:
        return Path(out_dir) / source.below.with_name(rename(source.below.name))
    assert source.path is not None
    return source.path.with_name(rename(source.path.name))


def encoded_name(name: str) -> str:
    """Return the name of the siglum file of a picture or recording; a suffix of neither is part of its name.

    Examples
    --------
    >>> encoded_name("photo.JPG"), encoded_name("scan.1")
    ('photo.sgl', 'scan.1.sgl')
    """
    path = Path(name)
    return (
        path.stem if path.suffix.lower() in PICTURE_SUFFIXES | RECORDING_SUFFIXES else name
    ) + SIGLUM_SUFFIX


def stem_of(name: str) -> str:
    """Return the name of a siglum file without its suffix, if it has that."""
    path = Path(name)
    return path.stem if path.suffix.lower() == SIGLUM_SUFFIX else name


def encoded_targets(
    sources: list[Input], output: str | None, out_dir: str | None
) -> dict[Input, Path | None]:
    """Return where the siglum file of each picture goes.

    Of pictures whose names differ by their suffix alone each keeps it: ``a.jpg.sgl`` and ``a.png.sgl``.

    Raises
    ------
    UsageError
        If two would go to one file even so.
    """
    kept: set[Input] = set()
    while True:
        targets = {
            source: target_of(
                source,
                output,
                out_dir,
                (lambda name: name + SIGLUM_SUFFIX) if source in kept else encoded_name,
            )
            for source in sources
        }
        counts = Counter(target for source, target in targets.items() if source.failure is None)
        # A longer name may be that of another picture's file again.
        more = {source for source, target in targets.items() if target is not None and counts[target] > 1}
        if more <= kept:
            break
        kept |= more
    check_distinct(sources, [targets[source] for source in sources])
    return targets


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
    if any(target_of(source, output, out_dir, str) is None for source in inputs):
        if sys.stdout is None:
            raise UsageError("standard output is closed; name a file with -o")
        if as_json:
            raise UsageError("data and --json cannot both go to standard output; name a file with -o")
        if sys.stdout.buffer.isatty():
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
        if target is None or source.failure is not None:
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


def is_done(source: Input, target: Path | None) -> bool:
    """Whether the output of an input is there already, and no older; what is there was written whole."""
    if source.path is None or target is None or not target.is_file():
        return False
    return target.stat().st_mtime_ns >= source.path.stat().st_mtime_ns


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
        stream = sys.stdout.buffer
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
        descriptor, name = tempfile.mkstemp(prefix=".siglum.", suffix=".part", dir=target.parent)
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
