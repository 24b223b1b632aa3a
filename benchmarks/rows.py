"""Measurements of pictures: one row for each picture, codec and quality, as JSON lines, and their means."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import TextIO

import numpy as np

from siglum.benchmarks.machine import processor
from siglum.benchmarks.metrics import MS_SSIM_SMALLEST_SIDE, ms_ssim, ms_ssim_db, psnr
from siglum.benchmarks.peers import Coder, Pixels
from siglum.errors import SiglumError, UsageError


@dataclass(frozen=True)
class Row:
    """One picture, coded once, and decoded in the same process.

    Attributes
    ----------
    item, item_sha256, width, height
        The picture's file name, the digest of its RGB pixels, its size.
    codec, quality, settings, version, machine
        What coded it how: ``quality`` is the value of the codec's own dial.
    bytes, sha256
        Length and digest of the whole file as it would lie on a disk.
    encode_seconds, decode_seconds
        Wall clock of one call; no call is a codec's first in the process.
    psnr_db, ms_ssim
        Over RGB; None for an exact picture, and for one with a side too short for MS-SSIM.
    """

    item: str
    item_sha256: str
    width: int
    height: int
    codec: str
    quality: int
    settings: str
    version: str
    machine: str
    bytes: int
    sha256: str
    encode_seconds: float
    decode_seconds: float
    psnr_db: float | None
    ms_ssim: float | None

    @property
    def pixels(self) -> int:
        """Pixels of the picture."""
        return self.width * self.height

    @property
    def bpp(self) -> float:
        """Bits of the file for each pixel."""
        return 8 * self.bytes / self.pixels

    @property
    def key(self) -> Key:
        """What decides the row, times aside."""
        return (self.item_sha256, self.codec, self.quality, self.settings, self.version, self.machine)


Key = tuple[str, str, int, str, str, str]


class Cache:
    """Rows of earlier runs in a file of JSON lines, which grows as rows are added.

    Raises
    ------
    UsageError
        If the file exists and holds something else.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows: dict[Key, Row] = {}
        if path is not None and path.exists():
            try:
                found = [Row(**json.loads(line)) for line in path.read_text().splitlines() if line.strip()]
            except (ValueError, TypeError) as error:
                raise UsageError(f"{path} holds no rows of this benchmark; name another file") from error
            self.rows = {row.key: row for row in found}

    def add(self, row: Row) -> None:
        """Keep a row, at once on disk too."""
        self.rows[row.key] = row
        if self.path is not None:
            with self.path.open("a") as file:
                write_row(row, file)


def write_row(row: Row, file: TextIO) -> None:
    """Write a row as one line of JSON."""
    file.write(json.dumps(asdict(row)) + "\n")


def measure(
    name: str, pixels: Pixels, coders: Iterable[Coder], cache: Cache, warm: Callable[[Coder, Pixels], None]
) -> Iterator[Row]:
    """Code one picture with every coder that is there, at all of its qualities.

    Parameters
    ----------
    name, pixels
        The picture, RGB (H, W, 3) uint8.
    coders
        Those without a version are passed over.
    cache
        Rows that need not be measured again, for coders that allow it.
    warm
        Called with the coder and the picture before anything is timed.
    """
    item = sha256(pixels.tobytes()).hexdigest()
    machine = processor()
    for coder in coders:
        if coder.version is None:
            continue
        for quality in coder.qualities:
            key = (item, coder.name, quality, coder.settings, coder.version, machine)
            if coder.cached and key in cache.rows:
                yield cache.rows[key]
                continue
            warm(coder, pixels)
            row = _measure_one(name, item, pixels, coder, quality, coder.version, machine)
            if coder.cached:
                cache.add(row)
            yield row


class WarmUp:
    """Runs every coder once, untimed, before its first timed call: loading of weights and libraries."""

    def __init__(self) -> None:
        self._warm: set[str] = set()

    def __call__(self, coder: Coder, pixels: Pixels) -> None:
        """Run the coder unless it ran before."""
        if coder.name not in self._warm:
            self._warm.add(coder.name)
            coder.decode(coder.encode(pixels, coder.qualities[0]))


def _measure_one(
    name: str, item: str, pixels: Pixels, coder: Coder, quality: int, version: str, machine: str
) -> Row:
    start = perf_counter()
    data = coder.encode(pixels, quality)
    encoded = perf_counter()
    decoded = coder.decode(data)
    end = perf_counter()
    if decoded.shape != pixels.shape:
        raise SiglumError(f"{coder.name} at {quality} gave {name} back in shape {decoded.shape}")
    height, width = pixels.shape[:2]
    decibels = psnr(pixels, decoded)
    similarity = ms_ssim(pixels, decoded) if min(height, width) >= MS_SSIM_SMALLEST_SIDE else None
    return Row(
        item=name,
        item_sha256=item,
        width=width,
        height=height,
        codec=coder.name,
        quality=quality,
        settings=coder.settings,
        version=version,
        machine=machine,
        bytes=len(data),
        sha256=sha256(data).hexdigest(),
        encode_seconds=encoded - start,
        decode_seconds=end - encoded,
        psnr_db=decibels if math.isfinite(decibels) else None,
        ms_ssim=similarity,
    )


@dataclass(frozen=True)
class Mean:
    """Means over all pictures at one quality of one codec; None where a picture has no value.

    ``bpp``, ``psnr_db`` and ``ms_ssim`` are means of the pictures' values; ``ms_ssim_db`` is that mean
    MS-SSIM in dB. Speeds are all pixels by all seconds, in megapixels a second.
    """

    codec: str
    quality: int
    bpp: float
    psnr_db: float | None
    ms_ssim: float | None
    ms_ssim_db: float | None
    encode_mps: float
    decode_mps: float


def means(rows: Iterable[Row]) -> list[Mean]:
    """Return the means of every codec and quality, in the order in which they first occur."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.codec, row.quality), []).append(row)
    return [_mean(codec, quality, group) for (codec, quality), group in groups.items()]


def _mean(codec: str, quality: int, rows: Sequence[Row]) -> Mean:
    similarity = _mean_of([row.ms_ssim for row in rows])
    megapixels = sum(row.pixels for row in rows) / 1e6
    return Mean(
        codec,
        quality,
        bpp=float(np.mean([row.bpp for row in rows])),
        psnr_db=_mean_of([row.psnr_db for row in rows]),
        ms_ssim=similarity,
        ms_ssim_db=ms_ssim_db(similarity) if similarity is not None and similarity < 1 else None,
        encode_mps=megapixels / max(sum(row.encode_seconds for row in rows), 1e-9),
        decode_mps=megapixels / max(sum(row.decode_seconds for row in rows), 1e-9),
    )


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
