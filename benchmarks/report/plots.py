"""The geometry of the plots: scales, ticks, curves, and labels that do not cover one another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

MARKERS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",  # circle
    "M-3.6-3.6h7.2v7.2h-7.2z",  # square
    "M0-4.8L4.6 3.6H-4.6z",  # triangle
    "M0-5L5 0L0 5L-5 0z",  # diamond
    "M0 4.8L4.6-3.6H-4.6z",  # triangle, down
    "M-1.6-4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2z",  # plus
    "M-4.4-2.5L0-5L4.4-2.5V2.5L0 5L-4.4 2.5z",  # hexagon
    "M0-5L1.5-1.5L5 0L1.5 1.5L0 5L-1.5 1.5L-5 0L-1.5-1.5z",  # star
)
LINE = 15.0  # between the baselines of two labels
LETTER = 6.7  # width of one of their letters, about


@dataclass(frozen=True)
class Size:
    """A drawing's size in CSS pixels, and the margins of its frame."""

    name: str
    width: float
    height: float
    left: float = 46.0
    right: float = 84.0
    top: float = 14.0
    bottom: float = 44.0


WIDE = Size("wide", 560, 390)
NARROW = Size("narrow", 350, 330, left=40, right=62)


@dataclass(frozen=True)
class Series:
    """Points to draw: (x, y, what to say of it), and how."""

    name: str
    points: Sequence[tuple[float, float, str]]
    style: int = 0
    kind: str = "run"  # ours, run, classic or published
    shown: bool = True
    hollow: Sequence[bool] = ()


@dataclass(frozen=True)
class Dot:
    """A point in the drawing."""

    x: float
    y: float
    title: str
    hollow: bool


@dataclass
class Line:
    """A curve in the drawing, its points and its label."""

    series: Series
    path: str
    dots: list[Dot]
    label: str
    label_x: float = 0.0
    label_y: float = 0.0
    leader: str = ""

    @property
    def end(self) -> Dot:
        """The point at the right end, where the label belongs."""
        return max(self.dots, key=lambda dot: dot.x)


@dataclass
class Plot:
    """A drawing, ready for the template."""

    size: Size
    x_label: str
    y_label: str
    title: str
    x_ticks: list[tuple[float, str]] = field(default_factory=list)
    y_ticks: list[tuple[float, str]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    zero: float | None = None


def plot(
    series: Sequence[Series], size: Size, *, title: str, x_label: str, y_label: str, zero: bool = False
) -> Plot | None:
    """Lay out curves over a logarithmic x axis; None if there is no point to draw.

    Parameters
    ----------
    zero
        Whether y = 0 belongs into the picture, as a line.
    """
    clean = [_clean(one) for one in series]
    # What was measured sets the frame: of published curves the part within it is drawn.
    points = [point for one in clean if one.kind != "published" for point in one.points]
    if not points:
        return None
    xs = [point[0] for point in points]
    ys = [point[1] for point in points] + ([0.0] if zero else [])
    low_x, high_x = _widened(math.log10(min(xs)), math.log10(max(xs)), 0.05)
    low_y, high_y = _widened(min(ys), max(ys), 0.05)
    y_ticks = [(value, _tick(value, step)) for value, step in _ticks(low_y, high_y, 6)]
    widest = max((len(text) for _, text in y_ticks), default=0)
    size = replace(size, left=max(size.left, 12 + LETTER * widest))
    drawing = Plot(size, x_label, y_label, title)

    def across(value: float) -> float:
        share = (math.log10(value) - low_x) / (high_x - low_x)
        return round(size.left + share * (size.width - size.left - size.right), 1)

    def down(value: float) -> float:
        share = (value - low_y) / (high_y - low_y)
        return round(size.height - size.bottom - share * (size.height - size.top - size.bottom), 1)

    most = 7 if size.width > 400 else 5
    drawing.x_ticks = [(across(v), f"{v:g}") for v in _log_ticks(10**low_x, 10**high_x, most)]
    drawing.y_ticks = [(down(value), text) for value, text in y_ticks]
    drawing.zero = down(0.0) if zero else None
    for one in clean:
        if one.kind == "published":
            kept = [p for p in one.points if low_x <= math.log10(p[0]) <= high_x and low_y <= p[1] <= high_y]
            one = Series(one.name, kept, one.style, one.kind, one.shown)
        if one.points:
            hollow = [*one.hollow, *[False] * len(one.points)]
            dots = [Dot(across(x), down(y), text, hollow[i]) for i, (x, y, text) in enumerate(one.points)]
            path = "M" + "L".join(f"{dot.x:g} {dot.y:g}" for dot in dots) if len(dots) > 1 else ""
            drawing.lines.append(Line(one, path, dots, one.name))
    _place_labels(drawing)
    return drawing


def _clean(series: Series) -> Series:
    kept = [p for p in series.points if math.isfinite(p[0]) and math.isfinite(p[1]) and p[0] > 0]
    return Series(series.name, kept, series.style, series.kind, series.shown, series.hollow)


def _place_labels(drawing: Plot) -> None:
    """Put labels beside the ends of their curves where nothing is in the way, else at the right edge.

    Those at the edge are joined to their curves by a thin line.
    """
    size = drawing.size
    taken: list[tuple[float, float, float, float]] = []
    ink = [point for line in drawing.lines if line.series.shown for point in _ink(line)]
    column = size.width - size.right + 10
    for shown in (True, False):  # curves that are hidden at first take no room from others
        crowded = []
        for line in sorted(drawing.lines, key=lambda one: -one.end.x):
            if line.series.shown is not shown:
                continue
            end, width = line.end, LETTER * len(line.label)
            spot = (end.x + 9, end.y + 4)
            if not _is_free(spot, width, ink, taken, size):
                crowded.append(line)
                continue
            line.label_x, line.label_y = round(spot[0], 1), round(spot[1], 1)
            if shown:
                taken.append(_box(spot, width))
        for line in sorted(crowded, key=lambda one: (one.end.y // LINE, one.end.x)):
            line.label = _shortened(line.label, size.width - column - 4)
            width = LETTER * len(line.label)
            left = min(column, line.end.x + 14)  # the joining line should not run over other labels
            spot = (column, _free_height(left, column + width - left, line.end.y + 4, taken, size))
            line.label_x, line.label_y = column, round(spot[1], 1)
            line.leader = f"M{line.end.x + 6:g} {line.end.y:g}L{column - 3:g} {spot[1] - 4:g}"
            if shown:
                taken.append(_box(spot, width))


def _ink(line: Line) -> list[tuple[float, float]]:
    """Return points along a curve, so close that no label fits between two."""
    found = [(dot.x, dot.y) for dot in line.dots]
    for one, other in zip(line.dots, line.dots[1:], strict=False):
        steps = int(max(abs(other.x - one.x), abs(other.y - one.y)) // 5) + 1
        for i in range(1, steps):
            share = i / steps
            found.append((one.x + share * (other.x - one.x), one.y + share * (other.y - one.y)))
    return found


def _box(spot: tuple[float, float], width: float) -> tuple[float, float, float, float]:
    return spot[0] - 2, spot[1] - LINE + 3, spot[0] + width + 2, spot[1] + 3


def _is_free(
    spot: tuple[float, float],
    width: float,
    ink: Sequence[tuple[float, float]],
    taken: Sequence[tuple[float, float, float, float]],
    size: Size,
) -> bool:
    left, top, right, bottom = _box(spot, width)
    if left < size.left or right > size.width or top < 0 or bottom > size.height - size.bottom:
        return False
    if any(left < x < right and top < y < bottom for x, y in ink):
        return False
    return not any(left < box[2] and box[0] < right and top < box[3] and box[1] < bottom for box in taken)


def _free_height(
    x: float, width: float, wanted: float, taken: Sequence[tuple[float, float, float, float]], size: Size
) -> float:
    """Return the height nearest to where a label belongs that no other label has."""
    for shift in sorted(range(-30, 31), key=abs):
        y = wanted + shift * LINE / 3
        if size.top <= y <= size.height - size.bottom and _is_free((x, y), width, (), taken, size):
            return y
    return wanted


def _shortened(text: str, room: float) -> str:
    most = max(int(room / LETTER), 4)
    return text if len(text) <= most else text[: most - 1] + "…"


def _widened(low: float, high: float, share: float) -> tuple[float, float]:
    room = (high - low) * share or max(abs(high) * share, 0.05)
    return low - room, high + room


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return 1, 2, 5 of every power of ten within a range, or fewer, or finer ones in a short range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        found = [d * 10.0**p for p in powers for d in digits if low <= d * 10.0**p <= high]
        if len(found) <= most:
            break
    if len(found) > most:
        found = found[:: math.ceil(len(found) / most)]
    if len(found) < 2:
        found = [value for value, _ in _ticks(low, high, 4)]
    return [float(f"{value:.6g}") for value in found if value > 0]


def _ticks(low: float, high: float, most: int) -> list[tuple[float, float]]:
    """Return round values within a range, each with their distance."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step)
    return [(i * step, step) for i in range(first, math.floor(high / step) + 1)]


def _tick(value: float, step: float) -> str:
    digits = max(0, -math.floor(math.log10(step)))
    if digits > 6 or abs(value) >= 1e6:
        return f"{value:.2g}".replace("-", "−")
    return f"{value:.{digits}f}".replace("-", "−")
