"""Rows on disk, as the page takes them: whatever is in the file, the sound part of it is used."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from siglum.errors import UsageError

# After these nothing of the row is sound; a stream that differs from run to run still has a size.
FATAL_STAGES = ("read", "encode", "decode")


@dataclass(frozen=True)
class Row:
    """One item, coded by one codec at one setting.

    Attributes
    ----------
    item, codec, medium, version, sha256
        As in the file.
    dial
        What the codec was turned by; None if it has nothing to turn.
    settings
        Everything that was set.
    bytes, units, rate, rate_unit
        The whole file; its pixels, seconds or elements; bits for each, in bpp, kbps or bpe.
    encode_s, decode_s
        Wall clock; NaN where unknown.
    metrics
        By name; infinite for an exact copy, NaN where there is none.
    health
        Bits that the entropy coder should need and did need, where the codec tells.
    payload
        Of the rate, what is coded signal, in the same unit; NaN where unknown.
    """

    item: str
    codec: str
    medium: str
    dial: float | None
    settings: Mapping[str, Any]
    version: str
    bytes: int
    units: float
    rate: float
    rate_unit: str
    encode_s: float
    decode_s: float
    threads: int | None
    metrics: Mapping[str, float]
    sha256: str
    health: Mapping[str, float]
    payload: float


@dataclass(frozen=True)
class Failure:
    """What went wrong with what."""

    codec: str
    item: str
    dial: float | None
    stage: str
    message: str


@dataclass
class Rows:
    """What a file of rows holds."""

    run: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def load(path: Path) -> Rows:
    """Read a file of rows; lines that are none become failures.

    Raises
    ------
    UsageError
        If there is no such file or it is no text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} holds no rows: {error}") from error
    found = Rows()
    measured: dict[tuple[str, str, str, float | None], Row] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            found.failures.append(Failure("", "", None, "rows", f"line {number} of {path.name} is no row"))
        elif isinstance(data.get("run"), dict):
            found.run = data["run"]
            for name, message in _mapping(found.run.get("missing_metrics")).items():
                found.failures.append(Failure("", "", None, f"metric {name}", _text(message)))
        else:
            failure, row = _failure(data), _row(data)
            if failure is not None:
                found.failures.append(failure)
            elif row is None:
                message = f"line {number} of {path.name} has no item, codec and rate"
                found.failures.append(
                    Failure(_text(data.get("codec")), _text(data.get("item")), None, "rows", message)
                )
            if row is not None and (failure is None or failure.stage not in FATAL_STAGES):
                measured[row.medium, row.item, row.codec, row.dial] = row  # of two, the later one
    found.rows = list(measured.values())
    return found


def number(value: Any) -> float:
    """Return a number of a row as a float: NaN if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _row(data: dict[str, Any]) -> Row | None:
    item, codec, rate = data.get("item"), data.get("codec"), number(data.get("rate"))
    if not isinstance(item, str) or not isinstance(codec, str) or not (math.isfinite(rate) and rate > 0):
        return None
    dial, threads = number(data.get("dial")), number(data.get("threads"))
    size, payload = number(data.get("bytes")), number(data.get("payload_bytes"))
    return Row(
        item=item,
        codec=codec,
        medium=_text(data.get("medium")) or "image",
        dial=dial if math.isfinite(dial) else None,
        settings=_mapping(data.get("settings")),
        version=_text(data.get("version")),
        bytes=int(size) if math.isfinite(size) else 0,
        units=number(data.get("units")),
        rate=rate,
        rate_unit=_text(data.get("rate_unit")) or "bpp",
        encode_s=number(data.get("encode_s")),
        decode_s=number(data.get("decode_s")),
        threads=int(threads) if math.isfinite(threads) else None,
        metrics={name: number(value) for name, value in _mapping(data.get("metrics")).items()},
        sha256=_text(data.get("sha256")),
        health={name: number(value) for name, value in _mapping(data.get("health")).items()},
        payload=rate * payload / size if size > 0 else math.nan,
    )


def _failure(data: dict[str, Any]) -> Failure | None:
    failure = data.get("failure")
    if not failure:
        return None
    what = failure if isinstance(failure, dict) else {"message": failure}
    dial = number(data.get("dial"))
    return Failure(
        codec=_text(data.get("codec")),
        item=_text(data.get("item")),
        dial=dial if math.isfinite(dial) else None,
        stage=_text(what.get("stage")) or "unknown",
        message=_text(what.get("message")),
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return "" if value is None else str(value)
