"""Rows as text: means of every setting, speeds, Bjøntegaard differences with intervals, failures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.benchmarks.bd_rate import BdRate, bootstrap, compare_curves, compare_qualities
from siglum.benchmarks.metric_list import METRICS
from siglum.benchmarks.rows import Row
from siglum.errors import UsageError

Floats = NDArray[np.float64]
RESAMPLES = 200
NOUNS = {"image": "picture", "audio": "recording", "tensor": "array"}
SPEEDS = {"image": ("MP/s", 1e6), "audio": ("x real time", 1.0), "tensor": ("M/s", 1e6)}


@dataclass(frozen=True)
class Samples:
    """What was measured of the items that a codec has coded at every one of its dials.

    Attributes
    ----------
    items, dials
        Digests of the items (N,), and the dials (D,) in order of mean rate.
    rates, values
        (N, D) each; a value may be NaN.
    """

    items: tuple[str, ...]
    dials: tuple[float | None, ...]
    rates: Floats
    values: Floats

    def of(self, items: Sequence[str]) -> Samples:
        """Return the part of some of the items."""
        chosen = [self.items.index(item) for item in items]
        return Samples(tuple(items), self.dials, self.rates[chosen], self.values[chosen])

    def curve(self, metric: str, drawn: NDArray[np.int64] | None = None) -> tuple[Floats, Floats]:
        """Return mean rates and mean values, of which more is better, over all items or some by index."""
        rates = self.rates if drawn is None else self.rates[drawn]
        values = self.values if drawn is None else self.values[drawn]
        known = METRICS.get(metric)
        falls = known is not None and not known.higher_is_better
        means = mean_of(metric, values)
        # A distance that halves is as much of a gain wherever it was: its curve is straight in log.
        return rates.mean(axis=0), -10 * np.log10(np.maximum(means, 1e-300)) if falls else means


def mean_of(metric: str, values: Floats) -> Floats:
    """Return means over the first axis; of MS-SSIM those of the similarity itself, in dB again."""
    if metric == "ms_ssim":
        with np.errstate(divide="ignore"):
            return np.asarray(-10 * np.log10((10 ** (-values / 10)).mean(axis=0)))
    return np.asarray(values.mean(axis=0))


def samples_of(rows: Sequence[Row], codec: str, metric: str) -> Samples:
    """Return the samples of a codec under a metric."""
    found: dict[str, dict[float | None, tuple[float, float]]] = {}
    dials: dict[float | None, None] = {}
    for row in rows:
        if row.codec == codec and row.item_sha256 is not None and row.rate is not None:
            value = row.metrics.get(metric)
            dials[row.dial] = None
            found.setdefault(row.item_sha256, {})[row.dial] = (row.rate, math.nan if value is None else value)
    items = tuple(item for item, got in found.items() if len(got) == len(dials))
    cube = np.array([[found[item][dial] for dial in dials] for item in items], np.float64)
    cube = cube.reshape(len(items), len(dials), 2)
    order = np.argsort(cube[..., 0].mean(axis=0)) if items else np.arange(len(dials))
    ordered = tuple(list(dials)[i] for i in order)
    return Samples(items, ordered, cube[:, order, 0], cube[:, order, 1])


def compare(
    rows: Sequence[Row], codec: str, anchor: str, metric: str
) -> tuple[BdRate, tuple[float, float] | None]:
    """Return the BD-rate of a codec against an anchor, and its 95 % interval over the items.

    The curves are those of means over the items that both have at every dial. There is no interval for one
    item, or where few items, drawn anew, make no curve.

    Raises
    ------
    UsageError
        If the curves cannot be compared.
    """
    mine, theirs = (samples_of(rows, name, metric) for name in (codec, anchor))
    shared = [item for item in theirs.items if item in set(mine.items)]
    if not shared:
        raise UsageError("there is no item that both have coded at every setting")
    mine, theirs = mine.of(shared), theirs.of(shared)

    def result(drawn: NDArray[np.int64] | None = None) -> BdRate:
        return compare_curves(*theirs.curve(metric, drawn), *mine.curve(metric, drawn))

    def statistic(drawn: NDArray[np.int64]) -> float:
        return result(drawn).percent

    whole = result()
    try:
        return whole, bootstrap(statistic, len(shared), resamples=RESAMPLES) if len(shared) > 1 else None
    except UsageError:
        return whole, None


def text(rows: Sequence[Row], anchor: str) -> str:
    """Return the whole summary; codecs are compared with the anchor, where it was measured."""
    lines: list[str] = []
    measured = [row for row in rows if row.item is not None]
    for medium in dict.fromkeys(row.medium for row in measured):
        here = [row for row in measured if row.medium == medium]
        lines += [*_table(here), "", *_comparisons(here, anchor), ""]
    return "\n".join(lines + failures(rows)).rstrip()


def failures(rows: Sequence[Row]) -> list[str]:
    """Return a line for each row that failed, and one that counts them."""
    failed = [row for row in rows if row.failure is not None]
    lines = []
    for row in failed:
        what = dict(row.failure or {})
        place = "" if row.item is None else f" {row.item}"
        dial = "" if row.dial is None else f" at {row.dial:g}"
        lines.append(f"{what['stage']}: {row.codec}{dial}{place}: {what['message']}")
    return ["failures", *(f"  {line}" for line in lines)] if lines else []


def _table(rows: list[Row]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    unit = next((row.rate_unit for row in rows if row.rate_unit), "") or ""
    speed, scale = SPEEDS[rows[0].medium or "image"]
    items = len({row.item for row in rows})
    wide = max(9, *(len(row.codec) for row in rows))
    payload = any(row.payload_bytes is not None for row in rows)
    inner = f"{'payload':>8}  " if payload else ""
    widths = [max(len(name), 8) for name in names]
    head = "  ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))
    lines = [
        f"{items} {NOUNS[rows[0].medium or 'image']}{'s' if items != 1 else ''}; means over them, speeds in {speed}",
        f"{'codec':<{wide}}  {'dial':>6}  {unit:>8}  {inner}{head}    encode    decode",
    ]
    groups: dict[tuple[str, float | None], list[Row]] = {}
    for row in rows:
        if row.rate is not None:
            groups.setdefault((row.codec, row.dial), []).append(row)
    for (codec, dial), group in groups.items():
        cells = [f"{_cell(group, name):>{width}}" for name, width in zip(names, widths, strict=True)]
        rate = float(np.mean([row.rate for row in group if row.rate is not None]))
        shown = "-" if dial is None else f"{dial:g}"
        speeds = [
            _speed(group, lambda row: row.encode_s, scale),
            _speed(group, lambda row: row.decode_s, scale),
        ]
        inner = f"{_payload(group):>8}  " if payload else ""
        lines.append(
            f"{codec:<{wide}}  {shown:>6}  {rate:8.4f}  {inner}{'  '.join(cells)}  {speeds[0]:>8}  {speeds[1]:>8}"
        )
    return lines


def _cell(rows: list[Row], metric: str) -> str:
    values = [row.metrics.get(metric) for row in rows]
    known = np.array([value for value in values if value is not None], np.float64)
    return f"{float(mean_of(metric, known)):.6g}" if len(known) == len(values) else "-"


def _payload(rows: list[Row]) -> str:
    """The mean rate of what is coded signal."""
    rates = [
        row.rate * row.payload_bytes / row.bytes
        for row in rows
        if row.payload_bytes and row.bytes and row.rate
    ]
    return f"{np.mean(rates):.4f}" if len(rates) == len(rows) else "-"


def _speed(rows: list[Row], seconds: Callable[[Row], float | None], scale: float) -> str:
    pairs = [(row.units or 0.0, value) for row in rows if (value := seconds(row)) is not None]
    total = sum(value for _, value in pairs)
    return f"{sum(units for units, _ in pairs) / scale / total:.2f}" if total > 0 else "-"


def _comparisons(rows: list[Row], anchor: str) -> list[str]:
    codecs = list(dict.fromkeys(row.codec for row in rows))
    if len(codecs) < 2:
        return []
    if anchor not in codecs:
        anchor = codecs[0]
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    wide = max(9, *map(len, codecs))
    lines = [
        f"BD-rate against {anchor}: mean difference in rate at equal quality, PCHIP on log rate; "
        "95 % intervals by bootstrap over the items"
    ]
    for codec in codecs:
        if codec != anchor:
            lines += [f"  {codec:<{wide}} {name}: {_compared(rows, codec, anchor, name)}" for name in names]
    return lines


def _compared(rows: list[Row], codec: str, anchor: str, metric: str) -> str:
    try:
        result, interval = compare(rows, codec, anchor, metric)
    except UsageError as error:
        return f"no figure: {error}"
    curves: list[Any] = []
    for name in (anchor, codec):
        curves += samples_of(rows, name, metric).curve(metric)
    try:
        gain = f", at equal rate {compare_qualities(*curves).difference:+.2f}"
    except UsageError:
        gain = ""
    spread = "" if interval is None else f" ({interval[0]:+.1f} to {interval[1]:+.1f})"
    crossed = ""
    if result.crossings:
        crossed = f"; the curves cross at {', '.join(f'{at:.2f}' for at in result.crossings)}"
    return (
        f"{result.percent:+.1f} %{spread}{gain}; overlap {100 * result.overlap:.0f} %, "
        f"{result.low:.2f} to {result.high:.2f}{crossed}"
    )
