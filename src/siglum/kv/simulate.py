"""Loading a prompt over a link whose bandwidth changes: time to first token and deadlines missed, by policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from siglum.errors import UsageError
from siglum.kv.control import RECOMPUTE, Chunk, Costs, choose

__all__ = ["Policy", "Run", "Situation", "Trace", "adaptive", "always", "simulate"]


@dataclass(frozen=True)
class Situation:
    """What a policy sees before a chunk.

    Attributes
    ----------
    bandwidth
        Of the chunk that came last, in bytes a second.
    left
        Seconds until the deadline.
    chunks
        Those to come.
    costs
        Of the processor; without latency once the first byte has come.
    done
        Tokens before them.
    busy
        Seconds for which the processor still works on those.
    """

    bandwidth: float
    left: float
    chunks: Sequence[Chunk]
    costs: Costs
    done: int
    busy: float


Policy = Callable[[Situation], int]
"""What to do with the next chunk: the number of a quality, or `RECOMPUTE`."""


def adaptive(share: float = 1.0, *, can_recompute: bool = True) -> Policy:
    """The policy of `choose`, which counts on a share of the bandwidth seen last."""

    def policy(seen: Situation) -> int:
        plan = choose(
            share * seen.bandwidth, seen.left, seen.chunks, seen.costs,
            done=seen.done, busy=seen.busy, can_recompute=can_recompute,
        )  # fmt: skip
        return plan.choices[0]

    return policy


def always(choice: int) -> Policy:
    """The policy that does the same with every chunk."""
    return lambda seen: choice


@dataclass(frozen=True)
class Trace:
    """Bandwidth over time, constant between given moments; the last one lasts for ever.

    Attributes
    ----------
    times
        Seconds at which it changes; the first is 0.
    rates
        Bytes a second from then on; the last is more than 0.
    """

    times: tuple[float, ...]
    rates: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.times, self.times[1:], strict=False))
        if len(self.times) != len(self.rates) or not self.times or self.times[0] != 0 or not rising:
            raise UsageError("a trace has as many rates as times, which rise from 0")
        if min(self.rates) < 0 or not self.rates[-1]:
            raise UsageError("rates of a trace are 0 or more, the last one more than 0")

    def arrival(self, start: float, size: int) -> float:
        """When the last of `size` bytes is there that were asked for at `start`."""
        now, left = start, float(size)
        for index, rate in enumerate(self.rates):
            end = self.times[index + 1] if index + 1 < len(self.times) else float("inf")
            if end <= now or not left:
                continue
            if rate and now + left / rate <= end:
                return now + left / rate
            left -= rate * (end - now)
            now = end
        return now


@dataclass(frozen=True)
class Run:
    """What became of a prompt.

    Attributes
    ----------
    seconds
        Until the last chunk is there: the time to first token, but for that token's own.
    missed
        Whether that is after the deadline.
    choices
        What was done with each chunk.
    loaded
        Bytes that came over the link.
    """

    seconds: float
    missed: bool
    choices: tuple[int, ...]
    loaded: int


def simulate(
    trace: Trace, deadline: float, chunks: Sequence[Chunk], costs: Costs, policy: Policy, *, guess: float
) -> Run:
    """Load a prompt; before each chunk the policy sees the bandwidth of the last one that came.

    Parameters
    ----------
    guess
        Bandwidth that the policy sees before the first chunk has come, in bytes a second.

    Examples
    --------
    >>> chunks = [Chunk(256, (100_000, 200_000))] * 3
    >>> slowing = Trace((0.0, 0.3), (1e6, 4e5))
    >>> simulate(slowing, 1.0, chunks, Costs(1e-5, 1e-3), adaptive(0.7), guess=1e6).choices
    (1, 1, 0)
    """
    link, processor, done, seen, loaded = 0.0, 0.0, 0, guess, 0
    choices = []
    for number, chunk in enumerate(chunks):
        left, busy = max(deadline - link, 0.0), max(processor - link, 0.0)
        choice = policy(Situation(seen, left, chunks[number:], costs, done, busy))
        choices.append(choice)
        if choice == RECOMPUTE:
            processor += costs.recompute(done, chunk.tokens)
        else:
            start = link + costs.latency
            costs = replace(costs, latency=0.0)
            link = trace.arrival(start, chunk.sizes[choice])
            loaded += chunk.sizes[choice]
            seen = chunk.sizes[choice] / (link - start) if link > start else seen
            processor = max(processor, link) + chunk.tokens * costs.decode
        done += chunk.tokens
    return Run(processor, processor > deadline, tuple(choices), loaded)
