"""One measurement: an item coded by a codec at a setting, twice, decoded twice, compared with what it was."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import quote

import numpy as np

from siglum.benchmarks.audio import fit, resample
from siglum.benchmarks.coder import Coder, Dial, make
from siglum.benchmarks.items import UNITS, Audio, Item, Medium, load, rate_of, units_of
from siglum.benchmarks.metric_list import Metric
from siglum.benchmarks.rows import Row, write_whole


@dataclass(frozen=True)
class Task:
    """What makes a row."""

    item: Item
    item_sha256: str
    codec: str
    dial: Dial


class Bench:
    """Measures tasks; a process has one, which keeps what it has loaded.

    Parameters
    ----------
    metrics
        Those of a medium are measured on it.
    threads
        Of every codec that can use more than one.
    keep
        Folder for the streams and for what they decode to; None keeps nothing.
    coders
        Makes a coder from its name and a number of threads.
    """

    def __init__(
        self,
        metrics: tuple[Metric, ...],
        threads: int = 1,
        keep: Path | None = None,
        coders: Callable[[str, int], Coder] = make,
    ) -> None:
        self.metrics, self.threads, self.keep, self.make = metrics, threads, keep, coders
        self._coders: dict[str, Coder] = {}
        self._warm: set[str] = set()
        self._loaded: tuple[Item, Any] | None = None

    def __call__(self, task: Task) -> Row:
        """Return the row of a task; whatever goes wrong is in it."""
        coder = self._coder(task.codec)
        row = row_of(task, coder)
        try:
            media = self._load(task.item)
        except Exception as error:
            return replace(row, failure=_failure("read", error))
        units = units_of(task.item.medium, media)
        row = replace(row, units=units, rate_unit=UNITS[task.item.medium][1])
        self._warm_up(coder, task.item.medium, media)
        try:
            times, stream, same = _twice(lambda: coder.encode(media, task.dial))
        except Exception as error:
            return replace(row, failure=_failure("encode", error))
        row = replace(
            row,
            bytes=len(stream),
            rate=rate_of(task.item.medium, len(stream), units),
            sha256=sha256(stream).hexdigest(),
            encode_s=times,
            failure=None if same else _failure("determinism", "encoded twice, it gives two streams"),
        )
        if coder.payload is not None:
            try:
                row = replace(row, payload_bytes=coder.payload(stream))
            except Exception as error:
                row = replace(row, failure=row.failure or _failure("metric", f"payload: {_text(error)}"))
        try:
            times, decoded, same = _twice(lambda: coder.decode(stream))
            fitted = fitting(media, decoded, coder.slack)
        except Exception as error:
            return replace(row, failure=row.failure or _failure("decode", error))
        row = replace(row, decode_s=times)
        if not same and row.failure is None:
            row = replace(row, failure=_failure("determinism", "decoded twice, it gives two results"))
        self._keep(task, coder, stream, fitted)
        return self._compared(row, task, coder, media, fitted)

    def _compared(self, row: Row, task: Task, coder: Coder, media: Any, decoded: Any) -> Row:
        failure, values = row.failure, {}
        for metric in self.metrics:
            if metric.medium not in (task.item.medium, None):
                continue
            try:
                value = float(metric.load()(media, decoded))
                values[metric.name] = value if math.isfinite(value) else None
            except Exception as error:
                values[metric.name] = None
                failure = failure or _failure("metric", f"{metric.name}: {_text(error)}")
        health = None
        if coder.health is not None:
            try:
                health = coder.health(media, task.dial)
            except Exception as error:
                failure = failure or _failure("metric", f"health: {_text(error)}")
        return replace(row, metrics=values, health=health, failure=failure)

    def _coder(self, name: str) -> Coder:
        if name not in self._coders:
            self._coders[name] = self.make(name, self.threads)
        return self._coders[name]

    def _load(self, item: Item) -> Any:
        if self._loaded is None or self._loaded[0] != item:
            self._loaded = (item, load(item))
        return self._loaded[1]

    def _warm_up(self, coder: Coder, medium: Medium, media: Any) -> None:
        """Load weights and libraries before anything is timed, on a piece of what comes first."""
        if coder.name in self._warm:
            return
        self._warm.add(coder.name)
        try:
            coder.decode(coder.encode(_piece(medium, media), coder.dials[0]))
        except Exception:
            return  # the item itself will show what is wrong

    def _keep(self, task: Task, coder: Coder, stream: bytes, decoded: Any) -> None:
        if self.keep is None:
            return
        for suffix, data in ((coder.suffix, stream), playable(task.item.medium, decoded)):
            if suffix:
                write_whole(kept_path(self.keep, task, suffix), data)


def row_of(task: Task, coder: Coder) -> Row:
    """Return what is known of a row before anything is measured."""
    return Row(
        codec=task.codec,
        item=task.item.name,
        item_sha256=task.item_sha256,
        medium=task.item.medium,
        dial=task.dial,
        settings=coder.settings(task.dial),
        version=coder.version,
        threads=coder.threads,
    )


def kept_path(folder: Path, task: Task, suffix: str) -> Path:
    """Return where a stream or a decoded item is kept: ``codec/dial/item.suffix``."""
    dial = "none" if task.dial is None else f"{task.dial:g}"
    name = task.item.name
    if task.item.tensor is not None:  # a name out of a file, which could lead anywhere
        name = name[: -len(task.item.tensor)] + quote(task.item.tensor, safe="")
    return folder / task.codec / dial / (name + suffix)


def fitting(original: Any, decoded: Any, slack: int = 0) -> Any:
    """Return what was decoded in the form of the original: sound at its rate, without allowed padding.

    Raises
    ------
    ValueError
        If shape, type, channels or length are others.
    """
    if isinstance(original, Audio):
        if not isinstance(decoded, Audio) or len(decoded.samples) != len(original.samples):
            raise ValueError(f"{len(original.samples)} channels became {len(decoded.samples)}")
        wanted = original.samples.shape[1]
        decoded = resample(decoded, original.rate)
        got = decoded.samples.shape[1]
        # Resampling there and back may round the length by a sample or two.
        if not wanted - 2 <= got <= wanted + 2 + slack:
            raise ValueError(f"{wanted} samples became {got}")
        return fit(decoded, wanted)
    if decoded.shape != original.shape or decoded.dtype != original.dtype:
        raise ValueError(
            f"{original.dtype} of shape {original.shape} became {decoded.dtype} of {decoded.shape}"
        )
    return decoded


def playable(medium: Medium, decoded: Any) -> tuple[str, bytes]:
    """Return a suffix and a file that a browser shows or plays; for arrays a .npy file."""
    file = io.BytesIO()
    if medium == "image":
        from PIL import Image

        Image.fromarray(decoded).save(file, "PNG", compress_level=3)
        return ".png", file.getvalue()
    if medium == "audio":
        import wave

        with wave.open(file, "wb") as out:
            out.setnchannels(len(decoded.samples))
            out.setsampwidth(2)
            out.setframerate(decoded.rate)
            out.writeframes(np.rint(np.clip(decoded.samples.T, -1, 1) * 32767).astype("<i2").tobytes())
        return ".wav", file.getvalue()
    np.save(file, decoded)
    return ".npy", file.getvalue()


def _twice(call: Callable[[], Any]) -> tuple[float, Any, bool]:
    """Return the shorter time, the first result, and whether the second was the same."""
    results, times = [], []
    for _ in range(2):
        start = perf_counter()
        results.append(call())
        times.append(perf_counter() - start)
    return min(times), results[0], _same(*results)


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, Audio):
        return first.rate == second.rate and np.array_equal(first.samples, second.samples)
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and first.shape == second.shape and bytes(first) == bytes(second)
    return bool(first == second)


def _piece(medium: Medium, media: Any) -> Any:
    if medium == "image":
        return np.ascontiguousarray(media[:64, :64])
    if medium == "audio":
        return Audio(media.samples[:, : media.rate], media.rate)
    return media.reshape(-1)[:64]


def _failure(stage: str, reason: Exception | str) -> dict[str, str]:
    return {"stage": stage, "message": reason if isinstance(reason, str) else _text(reason)}


def _text(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
