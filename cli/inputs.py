"""The files that a command works on: names, folders, standard input."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import click

from siglum.cli.kinds import HEAD_BYTES, NPY, RECORDINGS, SAFETENSORS, SIGLUM, kind_of
from siglum.errors import NotSiglumFile, UnsupportedInputError, UsageError

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Input:
    """One file to read.

    Attributes
    ----------
    name
        What messages call it.
    path
        Where it is; None for standard input.
    below
        Its path below the folder that was given, or its bare name: what ``--out-dir`` mirrors.
    failure
        Why it cannot be read, if that was found while a folder was searched; then it may be a folder.
    """

    name: str
    path: Path | None
    below: Path
    failure: OSError | None = None

    def read(self, accept: Callable[[str | None], None]) -> bytes:
        """Return the content, once ``accept`` has had no objection to the kind that its first bytes tell.

        Raises
        ------
        SiglumError
            Whatever ``accept`` raises; nothing but the first bytes was read then.
        OSError
            If it cannot be read.
        """
        with self.open(accept) as file:
            return file.read()

    @contextmanager
    def open(self, accept: Callable[[str | None], None]) -> Iterator[Begun]:
        """Open it for reading from its first byte; what ``accept`` raises, and errors, as of `read`."""
        if self.failure is not None:
            raise self.failure
        if self.path is None and sys.stdin is None:
            raise UnsupportedInputError("standard input is closed")
        with click.open_file(self.name if self.path is None else str(self.path), "rb") as file:
            begun = Begun(cast(BinaryIO, file))
            if not begun.head:
                raise UnsupportedInputError("the file is empty")
            accept(kind_of(begun.head))
            yield begun


class Begun(io.BufferedIOBase):
    """A binary file that stands at its first byte, though its first bytes are known.

    Attributes
    ----------
    head
        Its first ``HEAD_BYTES``.
    count : int
        Bytes that were read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._seekable = file.seekable()
        start = file.tell() if self._seekable else 0
        self.head = file.read(HEAD_BYTES)
        self.count = 0
        self._pushed = b"" if self._seekable else self.head
        if self._seekable:
            file.seek(start)

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def seekable(self) -> bool:
        """Whether it can be read again."""
        return self._seekable

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where it stands."""
        return self._file.tell()

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, fewer only at the end."""
        size = -1 if size is None else size
        data, self._pushed = (self._pushed, b"") if size < 0 else (self._pushed[:size], self._pushed[size:])
        if size != len(data):
            data += self._file.read(size if size < 0 else size - len(data))
        self.count += len(data)
        return data

    def read1(self, size: int = -1, /) -> bytes:
        """What there is at once, at most so many bytes; nothing only at the end."""
        if self._pushed:
            return self.read(min(size, len(self._pushed)) if size >= 0 else len(self._pushed))
        data: bytes = cast(Any, getattr(self._file, "read1", self._file.read))(size)
        self.count += len(data)
        return data


def accept_picture(kind: str | None) -> None:
    """Object to anything but a picture."""
    if kind == SIGLUM:
        raise UnsupportedInputError("this is a siglum file already; codec decode makes it a picture again")
    if kind in (None, SAFETENSORS, NPY) or kind in RECORDINGS:
        raise UnsupportedInputError("not a picture of a kind that can be read (PNG, JPEG, WebP, TIFF, …)")


def accept_media(kind: str | None) -> None:
    """Object to anything but a picture, a recording or a file of tensors."""
    if kind == SIGLUM:
        raise UnsupportedInputError("this is a siglum file already; codec decode makes of it what it was")
    if kind is None:
        raise UnsupportedInputError(
            "not a picture, a recording or tensors of a kind that can be read (PNG, JPEG, WAV, FLAC, …)"
        )


def accept_siglum(kind: str | None) -> None:
    """Object to anything but a siglum file."""
    if kind is None:
        raise NotSiglumFile("not a siglum file: its signature is missing")
    if kind != SIGLUM:
        what = "a file of tensors" if kind == SAFETENSORS else f"a {kind} picture"
        what = f"a recording ({kind})" if kind in RECORDINGS else what
        raise NotSiglumFile(f"not a siglum file but {what}; codec encode makes one of it")


def accept_both(kind: str | None) -> None:
    """Object to what is neither a picture, nor a recording, nor a siglum file."""
    if kind in (None, SAFETENSORS, NPY):
        raise UnsupportedInputError("neither a picture nor a recording that can be read, nor a siglum file")


def expand(arguments: tuple[str, ...], recursive: bool, accept: Callable[[str | None], None]) -> list[Input]:
    """Return the inputs in order; of folders, those files to whose kind ``accept`` has no objection.

    Raises
    ------
    UsageError
        If there is none, a folder was named without ``-r``, or standard input more than once.
    """
    inputs: list[Input] = []
    for argument in arguments:
        path = Path(argument)
        if argument == STANDARD_INPUT:
            if any(other.path is None for other in inputs):
                raise UsageError("standard input (-) can be read only once")
            inputs.append(Input(STANDARD_INPUT, None, Path("stdin")))
        elif _is_folder(path):
            if not recursive:
                raise UsageError(f"{argument} is a folder; -r takes the files in it")
            inputs += [file for file in _files_in(path) if _is_accepted(file, accept)]
        else:
            inputs.append(Input(argument, path, Path(path.name)))
    if not inputs:
        raise UsageError("nothing to do: no suitable file in what was named")
    return inputs


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # it is reported when it is read


def _files_in(folder: Path) -> Iterator[Input]:
    failures: list[tuple[Path, OSError]] = []
    # Links to folders are not followed: they may lead back.
    for parent, folders, names in os.walk(
        folder, onerror=lambda error: failures.append((Path(error.filename), error))
    ):
        folders.sort()
        for name in sorted(names):
            file = Path(parent) / name
            try:
                if stat.S_ISREG(file.stat().st_mode):
                    yield Input(str(file), file, file.relative_to(folder))
            except FileNotFoundError:
                pass  # a link that leads nowhere, or it was removed just now
            except OSError as error:
                failures.append((file, error))
    for path, failure in failures:
        yield Input(str(path), path.absolute(), Path(path.absolute().name), failure)


def _is_accepted(file: Input, accept: Callable[[str | None], None]) -> bool:
    if file.failure is not None:
        return True
    assert file.path is not None
    try:
        with file.path.open("rb") as stream:
            accept(kind_of(stream.read(HEAD_BYTES)))
    except OSError:
        return True  # it is reported when its turn comes
    except (UnsupportedInputError, NotSiglumFile):
        return False
    return True
