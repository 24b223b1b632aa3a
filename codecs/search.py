"""Find the quality level that meets a size or a fidelity, with few evaluations.

Levels are integers; the size of the file and its fidelity grow with the level. Both searches keep a bracket
(a level that is known to be low enough and one that is too high), guess the crossing by a secant in between,
and bisect when the secant does not halve the bracket. The answer is exact: the neighbouring level was
tried and is on the other side. Where the curve has small dents, the answer is one of its crossings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from siglum.errors import SiglumError

LOWEST_LEVEL, HIGHEST_LEVEL = 0, 255


class TargetNotReached(SiglumError):
    """No level meets the target. ``nearest`` is the measure of the level that comes nearest."""

    def __init__(self, message: str, nearest: float) -> None:
        super().__init__(message)
        self.nearest = nearest


@dataclass(frozen=True)
class Trial:
    """The level that was found.

    Attributes
    ----------
    level
        Quality level, ``lowest`` to ``highest``.
    value
        What was measured there: bytes, or the fidelity in its own unit.
    evaluations
        How many levels were tried on the way.
    """

    level: int
    value: float
    evaluations: int


def largest_level_within(
    limit: float, measure: Callable[[int], float], lowest: int = LOWEST_LEVEL, highest: int = HIGHEST_LEVEL
) -> Trial:
    """Return the largest level whose measure (usually a size in bytes) does not exceed ``limit``.

    Raises
    ------
    TargetNotReached
        If the lowest level is above the limit already.
    """
    values, below, _ = _bracket(limit, measure, lowest, highest, beyond=lambda value: value > limit)
    if below is None:
        raise TargetNotReached(
            f"even the lowest level gives {values[lowest]:g}, above the limit of {limit:g}", values[lowest]
        )
    return Trial(below, values[below], len(values))


def smallest_level_reaching(
    target: float, measure: Callable[[int], float], lowest: int = LOWEST_LEVEL, highest: int = HIGHEST_LEVEL
) -> Trial:
    """Return the smallest level whose measure (usually PSNR in dB) is at least ``target``.

    Raises
    ------
    TargetNotReached
        If the highest level stays below the target.
    """
    values, _, above = _bracket(target, measure, lowest, highest, beyond=lambda value: value >= target)
    if above is None:
        raise TargetNotReached(
            f"even the highest level gives {values[highest]:g}, below {target:g}", values[highest]
        )
    return Trial(above, values[above], len(values))


def _bracket(
    goal: float, measure: Callable[[int], float], lowest: int, highest: int, beyond: Callable[[float], bool]
) -> tuple[dict[int, float], int | None, int | None]:
    """Return all measured values and the two neighbouring levels around the first one that is beyond."""
    values: dict[int, float] = {}

    def is_beyond(level: int) -> bool:
        values[level] = float(measure(level))
        return beyond(values[level])

    # The middle first: most goals lie inside, and then the ends are often never needed.
    middle = (lowest + highest) // 2
    below: int | None = None
    above: int | None = None
    if is_beyond(middle):
        above = middle
    else:
        below = middle
    bisect = False
    while below is None or above is None or above - below > 1:
        if below is None:
            if above == lowest:
                break
            level = _towards(lowest, above, goal, values)
        elif above is None:
            if below == highest:
                break
            level = _towards(highest, below, goal, values)
        else:
            level = (below + above) // 2 if bisect else _secant(below, above, goal, values)
        width = None if below is None or above is None else above - below
        if is_beyond(level):
            above = level
        else:
            below = level
        bisect = width is not None and above is not None and below is not None and 2 * (above - below) > width
    return values, below, above


def _towards(end: int, known: int | None, goal: float, values: dict[int, float]) -> int:
    """Return the next level on the way from the known side to an end, at least half of the way."""
    assert known is not None
    step = (end - known) // 2 if end > known else -((known - end) // 2)
    return known + step if step else end


def _secant(below: int, above: int, goal: float, values: dict[int, float]) -> int:
    """Return the level where a straight line (of the logarithms, if positive) meets the goal."""
    low, high = values[below], values[above]
    if min(low, high, goal) > 0 and math.isfinite(high):
        low, high, goal = math.log(low), math.log(high), math.log(goal)
    if not math.isfinite(high) or high <= low:
        return (below + above) // 2
    guess = below + (above - below) * (goal - low) / (high - low)
    return min(max(round(guess), below + 1), above - 1)
