"""Where a store keeps its entries: a folder of this machine, or whatever fsspec reaches.

An entry is written under a name of its own and then renamed: others see all of it or nothing. Nothing is locked.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeVar

from siglum.errors import SiglumError, StoreError

__all__ = ["Entry", "Folder", "LocalFolder", "RemoteFolder", "folder_of"]

Result = TypeVar("Result")

NAME = re.compile(r"[0-9a-f]{64}\.sgl")
UNFINISHED = "unfinished"  # folder of files that are being written
STALE = 3600.0  # seconds after which such a file is one that a killed process left behind
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


class Entry(NamedTuple):
    """A file of a store.

    Attributes
    ----------
    name
        64 hexadecimal digits and ``.sgl``.
    size
        Bytes.
    used
        When it was last read or written, in seconds since 1970.
    """

    name: str
    size: int
    used: float


class Folder(Protocol):
    """What a store needs of the place where it keeps its entries.

    Attributes
    ----------
    notes_use
        Whether `touch` does anything.
    """

    notes_use: bool

    def open(self, name: str) -> BinaryIO | None:
        """A file that can seek, or None if there is no such entry."""

    def holds(self, name: str) -> bool:
        """Whether there is such an entry."""

    def write(self, name: str, data: bytes) -> None:
        """Write an entry so that no other reader ever sees a part of it."""

    def touch(self, names: Sequence[str]) -> None:
        """Note that entries were used, the first of them last of all; where that cannot be noted, do nothing."""

    def remove(self, name: str) -> None:
        """Remove an entry if it is there and may be removed."""

    def entries(self) -> Iterator[Entry]:
        """All entries, in no order. Files of other names are never looked at."""

    def sweep(self) -> None:
        """Remove what killed processes left half-written."""


class LocalFolder:
    """A folder of this machine; it is made when the first entry is written."""

    notes_use = True

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._count = 0

    def __str__(self) -> str:
        return str(self.path)

    def _place(self, name: str) -> Path:
        return self.path / name[:2] / name

    def open(self, name: str) -> BinaryIO | None:
        """See `Folder`."""
        try:
            return self._place(name).open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"the store {self} cannot be read: {error.strerror}") from error

    def holds(self, name: str) -> bool:
        """See `Folder`."""
        try:
            return self._place(name).is_file()
        except OSError as error:
            raise StoreError(f"the store {self} cannot be read: {error.strerror}") from error

    def write(self, name: str, data: bytes) -> None:
        """See `Folder`."""
        target = self._place(name)
        self._count += 1
        unique = f"{os.getpid()}-{id(self):x}-{time.time_ns():x}-{self._count}"
        temporary = self.path / UNFINISHED / unique
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            target.parent.mkdir(exist_ok=True)
            try:
                with temporary.open("xb") as file:
                    file.write(data)
                temporary.replace(target)
            except OSError:
                with contextlib.suppress(OSError):
                    temporary.unlink()
                raise
        except OSError as error:
            raise StoreError(_said(error, str(self))) from error

    def touch(self, names: Sequence[str]) -> None:
        """See `Folder`."""
        now = time.time_ns()
        for place, name in enumerate(names):
            with contextlib.suppress(OSError):
                os.utime(self._place(name), ns=(now - 1000 * place,) * 2)

    def remove(self, name: str) -> None:
        """See `Folder`."""
        with contextlib.suppress(OSError):
            self._place(name).unlink()

    def entries(self) -> Iterator[Entry]:
        """See `Folder`."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path) as folders:
            for folder in folders:
                if not re.fullmatch("[0-9a-f]{2}", folder.name) or not folder.is_dir():
                    continue
                with os.scandir(folder.path) as files:
                    for file in files:
                        if NAME.fullmatch(file.name) and file.name.startswith(folder.name):
                            with contextlib.suppress(FileNotFoundError):  # another process removed it
                                status = file.stat()
                                yield Entry(file.name, status.st_size, status.st_mtime)

    def sweep(self) -> None:
        """See `Folder`."""
        with contextlib.suppress(OSError), os.scandir(self.path / UNFINISHED) as files:
            for file in files:
                with contextlib.suppress(OSError):
                    if time.time() - file.stat().st_mtime > STALE:
                        Path(file.path).unlink()


class RemoteFolder:
    """A folder that fsspec reaches: ``s3://bucket/folder``, ``sftp://…``, ``memory://…``.

    Object stores note no use of a file: what was written first is removed first.
    """

    notes_use = False

    def __init__(self, url: str, options: dict[str, Any] | None = None) -> None:
        try:
            import fsspec
        except ImportError as error:
            raise SiglumError(
                f"a store at {url} needs fsspec, which is not installed: pip install 'siglum[fsspec]'"
            ) from error
        self.url = url.rstrip("/")
        self._files, self._root = self._guarded(lambda: fsspec.core.url_to_fs(self.url, **(options or {})))
        self._root = self._root.rstrip("/")

    def __str__(self) -> str:
        return self.url

    def _place(self, name: str) -> str:
        return f"{self._root}/{name[:2]}/{name}"

    def _guarded(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(_said(error, str(self))) from error
        except (ImportError, ValueError) as error:
            raise StoreError(f"the store {self} cannot be reached: {error}") from error

    def open(self, name: str) -> BinaryIO | None:
        """See `Folder`."""
        try:
            return io.BytesIO(self._guarded(lambda: self._files.cat_file(self._place(name))))
        except FileNotFoundError:
            return None

    def holds(self, name: str) -> bool:
        """See `Folder`."""
        return bool(self._guarded(lambda: self._files.exists(self._place(name))))

    def write(self, name: str, data: bytes) -> None:
        """See `Folder`."""
        target = self._place(name)
        temporary = f"{self._root}/{UNFINISHED}/{os.getpid()}-{id(self):x}-{time.time_ns():x}"

        def work() -> None:
            for place in (temporary, target):
                with contextlib.suppress(FileExistsError):
                    self._files.makedirs(place.rsplit("/", 1)[0], exist_ok=True)
            self._files.pipe_file(temporary, data)
            self._files.mv(temporary, target)

        try:
            self._guarded(work)
        except FileNotFoundError as error:
            raise StoreError(f"the store {self} cannot be written: {error}") from error

    def touch(self, names: Sequence[str]) -> None:
        """See `Folder`: that cannot be noted here."""

    def remove(self, name: str) -> None:
        """See `Folder`."""
        with contextlib.suppress(OSError):
            self._files.rm_file(self._place(name))

    def entries(self) -> Iterator[Entry]:
        """See `Folder`."""
        self._files.invalidate_cache()
        try:
            found = self._guarded(lambda: self._files.find(self._root, detail=True))
        except FileNotFoundError:
            return
        for path, fields in found.items():
            name = path.rsplit("/", 1)[-1]
            if NAME.fullmatch(name):
                yield Entry(name, int(fields.get("size") or 0), _seconds(fields))

    def sweep(self) -> None:
        """See `Folder`."""
        with contextlib.suppress(OSError):
            for path, fields in self._files.find(f"{self._root}/{UNFINISHED}", detail=True).items():
                if time.time() - _seconds(fields) > STALE:
                    with contextlib.suppress(OSError):
                        self._files.rm_file(path)


def folder_of(place: str | Path, options: dict[str, Any] | None = None) -> Folder:
    """The folder of a path or a URL; ``file://`` is a path."""
    text = str(place)
    if text.startswith("file://"):
        return LocalFolder(text.removeprefix("file://"))
    return RemoteFolder(text, options) if "://" in text else LocalFolder(place)


def _said(error: OSError, place: str) -> str:
    if error.errno in FULL:
        return f"the store {place} is full: {error.strerror}; give it a smaller limit, or another folder"
    if error.errno in READ_ONLY:
        return f"the store {place} cannot be written: {error.strerror}"
    return f"the store {place} fails: {error.strerror or error}"


def _seconds(fields: dict[str, Any]) -> float:
    """When a file was changed, by whatever name a file system gives it."""
    for key in ("mtime", "modified", "LastModified", "last_modified", "updated", "created"):
        value = fields.get(key)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    return 0.0
