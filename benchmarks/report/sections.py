"""What the plots and the table of the entropy coder's health are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from siglum.benchmarks.report.board import Board
from siglum.benchmarks.report.load import Row
from siglum.benchmarks.report.measures import Metric
from siglum.benchmarks.report.plots import NARROW, WIDE, Plot, Series, plot
from siglum.benchmarks.report.published import Curve
from siglum.benchmarks.report.verdict import signed


@dataclass
class Figure:
    """A plot in both sizes, with what its caption says."""

    metric: Metric
    anchor: str
    drawings: list[Plot]
    notes: list[str]
    points: list[tuple[str, str, float, float]]  # codec, dial, x, y: the same as a table


@dataclass(frozen=True)
class Health:
    """Bits that a codec's coder needed, of those that it should."""

    codec: str
    dial: float | None
    items: int
    ideal: float
    actual: float
    rest: float
    others: dict[str, float]

    @property
    def over(self) -> float:
        """What is too much, in per cent of the ideal."""
        return 100 * (self.actual / self.ideal - 1) if self.ideal > 0 else math.nan


def rate_plots(board: Board, published: Sequence[Curve]) -> list[Figure]:
    """Return one figure a metric: quality over rate."""
    return [_rate_plot(board, metric, published) for metric in board.metrics]


def _rate_plot(board: Board, metric: Metric, published: Sequence[Curve]) -> Figure:
    drawn, notes, table = [], [], []
    for codec in reversed(board.codecs):  # ours come last, over the others
        samples = board.samples[metric.key][codec]
        means = zip(samples.dials, *samples.curve(), strict=True) if samples.items else ()
        points = []
        for dial, rate, value in means:
            setting = "" if dial is None else f", setting {dial:g}"
            text = f"{codec}{setting}: {rate:.4g} {board.unit}, {metric.label} {value:.{metric.digits}f}"
            points.append((float(rate), float(value), f"{text} {metric.unit}".strip()))
            table.append((codec, "–" if dial is None else f"{dial:g}", float(rate), float(value)))
        kind = "ours" if codec in board.ours else "classic" if board.classic(codec) else "run"
        drawn.append(Series(codec, points, board.style_of(codec), kind))
        if 0 < len(samples.items) < len(board.items):
            notes.append(f"{codec} over {len(samples.items)} of {len(board.items)} items")
        elif samples.left_out and not samples.items:
            notes.append(f"{codec} has no setting with a finite {metric.label} of most items")
        if samples.left_out and samples.items:
            notes.append(f"{samples.left_out} points of {codec} left out (exact copies, failed or partial)")
    for curve in published:
        if curve.metric == metric.key:
            unit = f" {metric.unit}" if metric.unit else ""
            on = f" on {curve.data}" if curve.data else ""
            points = [
                (x, y, f"{curve.codec}: {x:.4g} {board.unit}, {y:.2f}{unit}, published{on}")
                for x, y in curve.points
            ]
            drawn.insert(0, Series(curve.codec, points, 0, "published", curve.shown))
    y_label = f"{metric.label}{', ' + metric.unit if metric.unit else ''} ({metric.better} is better)"
    drawings = [
        plot(
            drawn,
            size,
            title=f"{metric.label} over rate",
            x_label=f"{board.rate_name}, logarithmic",
            y_label=y_label,
        )
        for size in (WIDE, NARROW)
    ]
    return Figure(metric, "", [one for one in drawings if one], notes, table)


def speed_plots(board: Board) -> list[Figure]:
    """Return one figure a metric and anchor: BD-rate over the speeds of encoder and decoder."""
    found = []
    for metric in board.metrics:
        for anchor in board.codecs:
            drawn, missing, table = [], [], []
            for codec in reversed(board.codecs):
                pair = board.compared[metric.key].get((codec, anchor))
                percent = 0.0 if codec == anchor else pair.percent if pair else None
                speed = board.speeds[codec]
                ends = [("decode", speed.decode), ("encode", speed.encode)]
                known = [(name, value) for name, value in ends if value]
                if percent is None or not known:
                    missing.append(codec)
                    continue
                texts = [f"{codec}, {name}: {value:.3g} {board.speed_unit}" for name, value in known]
                points = [
                    (value, percent, f"{text}, rate {signed(percent)} % against {anchor}")
                    for (_, value), text in zip(known, texts, strict=True)
                ]
                kind = "ours" if codec in board.ours else "run"
                hollow = [name == "encode" for name, _ in known]
                drawn.append(Series(codec, points, board.style_of(codec), kind, True, hollow))
                table += [(codec, name, value, percent) for name, value in known]
            notes = [f"not drawn, for want of a BD-rate or a time: {', '.join(missing)}"] if missing else []
            drawings = [
                plot(
                    drawn,
                    size,
                    title=f"BD-rate ({metric.label}) over speed, against {anchor}",
                    x_label=f"{board.speed_unit}, logarithmic (right is faster)",
                    y_label=f"BD-rate against {anchor}, % (down is less rate)",
                    zero=True,
                )
                for size in (WIDE, NARROW)
            ]
            found.append(Figure(metric, anchor, [one for one in drawings if one], notes, table))
    return found


def health(board: Board) -> list[Health]:
    """Return sums over the items of every codec and setting that tells of its coder."""
    groups: dict[tuple[str, float | None], list[Row]] = {}
    for row in board.rows:
        ideal, actual = row.health.get("ideal_bits", math.nan), row.health.get("actual_bits", math.nan)
        if math.isfinite(ideal) and math.isfinite(actual):
            groups.setdefault((row.codec, row.dial), []).append(row)
    found = []
    for (codec, dial), rows in groups.items():
        ideal = sum(row.health["ideal_bits"] for row in rows)
        actual = sum(row.health["actual_bits"] for row in rows)
        names = {name for row in rows for name in row.health} - {"ideal_bits", "actual_bits"}
        others = {
            name: sum(row.health.get(name, math.nan) for row in rows) / len(rows) for name in sorted(names)
        }
        rest = 8 * sum(row.bytes for row in rows) - actual
        found.append(Health(codec, dial, len(rows), ideal, actual, rest, others))
    return found
