"""Everything that the page says of one medium, worked out from its rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from siglum.benchmarks.report.compare import Comparison, Samples, all_pairs, compare, samples_of
from siglum.benchmarks.report.load import Row
from siglum.benchmarks.report.measures import Metric, metrics_of

# Codecs that are no research: drawn dashed, so that the eye has something to hold on to.
CLASSICS = (
    *("jpeg", "webp", "avif", "heif", "heic", "jxl", "png", "bpg"),
    *("opus", "aac", "mp3", "vorbis", "flac", "zstd", "lz4", "zfp", "gzip"),
)
RATE_NAMES = {"bpp": "bits per pixel", "kbps": "kbit/s", "bpe": "bits per element"}
SPEEDS = {"bpp": ("MP/s", 1e6), "kbps": ("× real time", 1.0), "bpe": ("million elements/s", 1e6)}


@dataclass(frozen=True)
class Speed:
    """How fast a codec is: units by seconds, over all of its rows; None where no time is known."""

    encode: float | None
    decode: float | None
    threads: str


@dataclass
class Board:
    """One medium: its codecs, curves, comparisons and speeds.

    Attributes
    ----------
    samples
        By metric key, then codec; only codecs with points.
    compared
        By metric key, then (codec, anchor).
    by_item
        By metric key, then (codec, anchor), then item: BD-rate in per cent, None where refused.
    """

    medium: str
    rows: list[Row]
    codecs: list[str]
    items: list[str]
    metrics: list[Metric]
    unit: str
    ours: list[str]
    samples: dict[str, dict[str, Samples]] = field(default_factory=dict)
    compared: dict[str, dict[tuple[str, str], Comparison]] = field(default_factory=dict)
    by_item: dict[str, dict[tuple[str, str], dict[str, float | None]]] = field(default_factory=dict)
    speeds: dict[str, Speed] = field(default_factory=dict)

    @property
    def rate_name(self) -> str:
        """The rate's unit in words."""
        return RATE_NAMES.get(self.unit, self.unit)

    @property
    def speed_unit(self) -> str:
        """What speeds are counted in."""
        return SPEEDS.get(self.unit, ("units/s", 1.0))[0]

    def style_of(self, codec: str) -> int:
        """Return the number of a codec's colour and marker."""
        return self.codecs.index(codec) % 8

    def classic(self, codec: str) -> bool:
        """Whether a codec is drawn dashed."""
        return codec not in self.ours and codec.lower().startswith(CLASSICS)

    def anchor(self, wanted: str) -> str:
        """Return the anchor of this name if it was measured, else the first other codec there is."""
        if wanted in self.codecs:
            return wanted
        others = [codec for codec in self.codecs if codec not in self.ours]
        return (others or self.codecs)[0]

    def worst_first(self, subject: str, anchor: str, metric: Metric) -> list[str]:
        """Return the items in the order in which a codec does worst against an anchor."""
        found = self.by_item.get(metric.key, {}).get((subject, anchor), {})

        def badness(item: str) -> tuple[bool, float]:
            percent = found.get(item)
            return (percent is None, 0.0 if percent is None else -percent)

        return sorted(self.items, key=badness)


def boards_of(rows: Sequence[Row]) -> list[Board]:
    """Return one board for each medium, in the order in which they first occur."""
    media: dict[str, list[Row]] = {}
    for row in rows:
        media.setdefault(row.medium, []).append(row)
    return [_board(medium, group) for medium, group in media.items()]


def _board(medium: str, rows: list[Row]) -> Board:
    names = list(dict.fromkeys(row.codec for row in rows))
    ours = [codec for codec in names if any(row.codec == codec and _is_ours(row) for row in rows)]
    keys = {key for row in rows for key, value in row.metrics.items() if not math.isnan(value)}
    board = Board(
        medium=medium,
        rows=rows,
        codecs=ours + [codec for codec in names if codec not in ours],
        items=sorted({row.item for row in rows}),
        metrics=metrics_of(keys),
        unit=rows[0].rate_unit,
        ours=ours,
    )
    by_codec = {codec: [row for row in rows if row.codec == codec] for codec in board.codecs}
    for metric in board.metrics:
        found = {codec: samples_of(by_codec[codec], codec, metric) for codec in board.codecs}
        board.samples[metric.key] = found
        count = len(board.items)
        pairs = all_pairs(list(found.values()), count)
        board.compared[metric.key] = {(pair.codec, pair.anchor): pair for pair in pairs}
        board.by_item[metric.key] = _by_item(list(found.values()))
    board.speeds = {codec: _speed(group, board.unit) for codec, group in by_codec.items()}
    return board


def _by_item(samples: Sequence[Samples]) -> dict[tuple[str, str], dict[str, float | None]]:
    found: dict[tuple[str, str], dict[str, float | None]] = {}
    for i, anchor in enumerate(samples):
        for codec in samples[i + 1 :]:
            shared = [item for item in codec.items if item in set(anchor.items)]
            for item in shared:
                there = compare(codec.only([item]), anchor.only([item]), 1, confident=False)
                found.setdefault((codec.codec, anchor.codec), {})[item] = there.percent
                found.setdefault((anchor.codec, codec.codec), {})[item] = there.reversed().percent
    return found


def _is_ours(row: Row) -> bool:
    return row.version.lower().startswith("siglum") or row.codec == "siglum"


def _speed(rows: Sequence[Row], unit: str) -> Speed:
    scale = SPEEDS.get(unit, ("", 1.0))[1]

    def of(name: str) -> float | None:
        timed = [(row.units, getattr(row, name)) for row in rows]
        timed = [(units, s) for units, s in timed if math.isfinite(units) and math.isfinite(s) and s > 0]
        return sum(units for units, _ in timed) / sum(s for _, s in timed) / scale if timed else None

    threads = sorted({row.threads for row in rows if row.threads is not None})
    return Speed(of("encode_s"), of("decode_s"), ", ".join(map(str, threads)) or "?")
