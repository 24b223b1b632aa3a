"""Rows of measurements as JSON lines: a first line on the run, then one for each item, codec and setting."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from siglum.errors import UsageError

Number = float | None


@dataclass(frozen=True)
class Row:
    """One item, coded once by one codec at one setting, and decoded in the same process.

    Attributes
    ----------
    item, item_sha256, medium
        Its path below the dataset, the digest of its file, "image", "audio" or "tensor". All None in the row
        of a codec that is missing.
    codec, dial, settings, version, threads
        What coded it how: ``dial`` is the value of the codec's own dial, None if it has none.
    bytes, sha256
        Length and digest of the whole file as it would lie on a disk.
    payload_bytes
        Those of it that are coded signal, without container and heads, if the codec can tell.
    units, rate, rate_unit
        Its pixels, seconds or elements, and what of the file falls to each: "bpp", "kbps" or "bpe".
    encode_s, decode_s
        Wall clock in seconds of the quickest call; none is a codec's first in its process.
    metrics
        By name; None has no finite value: nothing differs, or the item is too small for the metric.
    health
        "ideal_bits" by the codec's own probabilities and "actual_bits" of its entropy coder, if it can tell.
    failure
        None, or the stage ("missing", "read", "encode", "decode", "determinism", "metric") and a message.
        What was measured until then stands.
    """

    codec: str
    item: str | None = None
    item_sha256: str | None = None
    medium: str | None = None
    dial: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    version: str | None = None
    bytes: int | None = None
    units: float | None = None
    rate: float | None = None
    rate_unit: str | None = None
    encode_s: float | None = None
    decode_s: float | None = None
    threads: int | None = None
    metrics: dict[str, Number] = field(default_factory=dict)
    sha256: str | None = None
    health: dict[str, float] | None = None
    failure: dict[str, str] | None = None
    payload_bytes: int | None = None

    @property
    def key(self) -> Key:
        """What decides the row, times aside."""
        settings = json.dumps(self.settings, sort_keys=True)
        return (self.item, self.item_sha256, self.codec, self.dial, settings, self.version, self.threads)


Key = tuple[str | None, str | None, str, float | None, str, str | None, int | None]


def read_rows(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """Return the run and the rows of a file; a last line that was never finished is passed over.

    Raises
    ------
    UsageError
        If it holds something else.
    OSError
        If it cannot be read.
    """
    try:
        lines = path.read_text().split("\n")[:-1]
        if not lines:
            return {}, []
        run = json.loads(lines[0])["run"]
        rows = [Row(**json.loads(line)) for line in lines[1:] if line.strip()]
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path} holds no rows of `codec bench`; name another file") from error
    return run, rows


def line_of_run(run: dict[str, Any]) -> str:
    """Return the first line of a file of rows."""
    return json.dumps({"run": run}) + "\n"


def line_of(row: Row) -> str:
    """Return a row as a line of JSON."""
    return json.dumps(asdict(row)) + "\n"


def write_rows(path: Path, run: dict[str, Any], rows: Iterable[Row]) -> None:
    """Write a file of rows whole: whoever reads it sees the old one or the new one."""
    write_whole(path, (line_of_run(run) + "".join(map(line_of, rows))).encode())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file by a temporary one beside it, so that none is ever half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)  # mkstemp's own are for this user alone
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
