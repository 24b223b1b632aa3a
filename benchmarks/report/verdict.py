"""The sentences at the head of the page: what beats what, by how much, and how sure that is."""

from __future__ import annotations

import re

from siglum.benchmarks.report.board import Board
from siglum.benchmarks.report.compare import Comparison


def subject_of(board: Board) -> str | None:
    """Return the codec that the verdict is about: the first of ours, or else that with the least rate."""
    if board.ours:
        return board.ours[0]
    if not board.metrics or len(board.codecs) < 2:
        return board.codecs[0] if board.codecs else None
    compared = board.compared[board.metrics[0].key]

    def total(codec: str) -> float:
        found = [pair.percent for (name, _), pair in compared.items() if name == codec]
        known = [percent for percent in found if percent is not None]
        return sum(known) / len(known) if known else float("inf")

    return min(board.codecs, key=total)


def sentences(board: Board) -> list[str]:
    """Return one sentence a metric for the subject against every other codec."""
    subject = subject_of(board)
    if subject is None:
        return []
    lines = []
    for metric in board.metrics:
        compared = board.compared[metric.key]
        pairs = [compared[subject, other] for other in board.codecs if other != subject]
        known = sorted(
            (pair for pair in pairs if pair.percent is not None), key=lambda pair: pair.percent or 0
        )
        parts = [_phrase(pair) for pair in known]
        if parts:
            text = re.sub(" (less|more) than", r" \1 rate than", _list(parts), count=1)
            refused = [pair.anchor for pair in pairs if pair.percent is None]
            rest = f" No figure against {_list(refused)}: the table says why." if refused else ""
            lines.append(f"At equal {metric.label}, {subject} needs {text}.{rest}")
    if lines:
        return lines
    if len(board.codecs) < 2:
        return [f"Only {subject} was measured: there is nothing to compare it with."]
    return [f"No two curves can be compared: the table of {board.medium} BD-rates says why."]


def signed(value: float | None, digits: int = 1) -> str:
    """Return a percentage with its sign, a proper minus and no minus zero."""
    if value is None:
        return "–"
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        text = f"{0:.{digits}f}"
    return text.replace("-", "−")


def _phrase(pair: Comparison) -> str:
    percent = pair.percent or 0.0
    spread = ""
    if pair.low is not None and pair.high is not None:
        spread = f" ({signed(pair.low)} to {signed(pair.high)})"
    if not pair.clear:
        return f"about as much as {pair.anchor} ({signed(percent)}\u00a0%{spread.replace(' (', ', ')[:-1]})"
    word = "less" if percent < 0 else "more"
    return f"{abs(percent):.1f}\u00a0% {word} than {pair.anchor}{spread}"


def _list(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
