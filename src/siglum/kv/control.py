"""What to load and what to compute anew, when a prompt must be there by a deadline (after CacheGen, arXiv 2310.07240).

A prompt is a row of chunks, each stored at several qualities. Chunks come one after the other over a link, and are
decoded, or computed anew from their tokens, one after the other by one processor, while the link goes on. Plans are
ordered from the best to the last resort: all chunks at the best quality; the first ones at a quality and the rest one
lower; all at the lowest; the first ones computed anew and the rest at the lowest; all computed anew. `choose` takes the
first plan that keeps the deadline. All laws follow from that order: with more bandwidth each plan takes less time, so
that no chunk that is loaded gets a lower quality, and no more chunks are computed anew. Where chunks have equally many
tokens, computing the first ones anew is the fastest way to compute so many, so that a deadline that can be kept is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from siglum.errors import UsageError

__all__ = ["RECOMPUTE", "Chunk", "Costs", "Plan", "choose"]

RECOMPUTE = -1
"""In place of a quality: compute the chunk anew from its tokens."""


@dataclass(frozen=True)
class Chunk:
    """A run of a prompt's tokens.

    Attributes
    ----------
    tokens
        How many.
    sizes
        Bytes at each quality, the lowest quality first; they do not fall.
    """

    tokens: int
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.tokens < 1 or not self.sizes or min(self.sizes) < 0 or list(self.sizes) != sorted(self.sizes):
            raise UsageError(f"{self}: needs tokens, and sizes that do not fall with quality")


@dataclass(frozen=True)
class Costs:
    """What a processor needs.

    Attributes
    ----------
    decode
        Seconds to decode a token.
    compute
        Seconds to compute a token anew, with none before it.
    attend
        Seconds more for each token before it.
    latency
        Seconds until the first byte comes.
    """

    decode: float
    compute: float
    attend: float = 0.0
    latency: float = 0.0

    def __post_init__(self) -> None:
        if not all(
            isfinite(cost) and cost >= 0 for cost in (self.decode, self.compute, self.attend, self.latency)
        ):
            raise UsageError(f"{self}: costs are seconds, 0 or more")

    def recompute(self, start: int, tokens: int) -> float:
        """Seconds to compute tokens start to start + tokens - 1 anew."""
        return tokens * (self.compute + self.attend * (start + (tokens - 1) / 2))


@dataclass(frozen=True)
class Plan:
    """What to do with each chunk.

    Attributes
    ----------
    choices
        For each chunk the number of its quality, 0 being the lowest, or `RECOMPUTE`.
    seconds
        Until all of it is there.
    keeps_deadline
        Whether that is in time.
    """

    choices: tuple[int, ...]
    seconds: float
    keeps_deadline: bool


def choose(
    bandwidth: float,
    deadline: float,
    chunks: Sequence[Chunk],
    costs: Costs,
    *,
    done: int = 0,
    busy: float = 0.0,
    can_recompute: bool = True,
) -> Plan:
    """The best plan that keeps the deadline, or the fastest if none does.

    Parameters
    ----------
    bandwidth
        Bytes a second.
    deadline
        Seconds from now.
    chunks
        Those that are still to come; all with equally many qualities.
    costs
        Of the processor.
    done
        Tokens that stand before the first of `chunks`.
    busy
        Seconds for which the processor still works on what came before.
    can_recompute
        False: there is nothing to compute with.

    Examples
    --------
    >>> chunks = [Chunk(256, (100_000, 200_000))] * 3
    >>> costs = Costs(decode=1e-5, compute=1e-3)
    >>> choose(1e6, 0.5, chunks, costs).choices
    (1, 0, 0)
    >>> choose(1e5, 1.2, chunks, costs).choices
    (-1, -1, 0)
    """
    if not chunks or len({len(chunk.sizes) for chunk in chunks}) != 1:
        raise UsageError("chunks are at least one, all with equally many qualities")
    if not (bandwidth >= 0 and deadline >= 0 and busy >= 0 and done >= 0):
        raise UsageError("bandwidth, deadline, busy and done are 0 or more")
    ladder = range((len(chunks[0].sizes) - 1) * len(chunks) + 1)

    def planned(choices: tuple[int, ...]) -> Plan:
        seconds = seconds_of(choices, bandwidth, chunks, costs, done, busy)
        return Plan(choices, seconds, seconds <= deadline)

    def loaded(rung: int) -> Plan:
        return planned(_rung(rung, len(chunks), len(chunks[0].sizes)))

    first = bisect_left(
        ladder, True, key=lambda rung: loaded(rung).keeps_deadline
    )  # a lower rung takes no longer
    if first < len(ladder):
        return loaded(first)
    resorts = [loaded(len(ladder) - 1)]
    for anew in range(1, len(chunks) + 1 if can_recompute else 1):
        resorts.append(planned((RECOMPUTE,) * anew + (0,) * (len(chunks) - anew)))
        if resorts[-1].keeps_deadline:
            return resorts[-1]
    return min(resorts, key=lambda plan: plan.seconds)


def seconds_of(
    choices: Sequence[int],
    bandwidth: float,
    chunks: Sequence[Chunk],
    costs: Costs,
    done: int = 0,
    busy: float = 0.0,
) -> float:
    """Seconds until the last chunk is there."""
    link, processor, position = costs.latency, busy, done
    for choice, chunk in zip(choices, chunks, strict=True):
        if choice == RECOMPUTE:
            processor += costs.recompute(position, chunk.tokens)
        else:
            size = chunk.sizes[choice]
            link += size / bandwidth if bandwidth else float("inf") if size else 0.0
            processor = max(processor, link) + chunk.tokens * costs.decode
        position += chunk.tokens
    return processor


def _rung(rung: int, count: int, qualities: int) -> tuple[int, ...]:
    """Plans without computing anew, the best being 0."""
    lowered, lower = divmod(rung, count)
    quality = qualities - 1 - lowered
    return (quality,) * (count - lower) + (quality - 1,) * lower
