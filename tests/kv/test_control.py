"""Laws of the controller, and what the simulator says of policies."""

from __future__ import annotations

import doctest
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.errors import UsageError
from siglum.kv import control, simulate
from siglum.kv.control import RECOMPUTE, Chunk, Costs, choose, seconds_of
from siglum.kv.simulate import Trace, adaptive, always

seconds = st.floats(0, 2)
costs = st.builds(
    Costs, st.floats(0, 1e-3), st.floats(0, 5e-3), st.floats(0, 1e-5), st.floats(0, 0.2)
)  # fmt: skip


@st.composite
def prompts(draw: st.DrawFn, most: int = 6) -> list[Chunk]:
    qualities, tokens = draw(st.integers(1, 3)), draw(st.integers(1, 512))
    sizes = st.lists(st.integers(0, 10**6), min_size=qualities, max_size=qualities).map(sorted).map(tuple)
    return draw(st.lists(sizes.map(lambda s: Chunk(tokens, s)), min_size=1, max_size=most))


@settings(deadline=None, max_examples=200)
@given(prompts(), costs, seconds, st.floats(1e3, 1e7), st.floats(1, 100), st.integers(0, 4096), seconds)
def test_more_bandwidth_never_lowers_quality(
    chunks: list[Chunk], cost: Costs, deadline: float, slow: float, times: float, done: int, busy: float
) -> None:
    less, more = (choose(rate, deadline, chunks, cost, done=done, busy=busy) for rate in (slow, slow * times))
    assert more.keeps_deadline or not less.keeps_deadline
    if less.keeps_deadline:
        assert more.choices.count(RECOMPUTE) <= less.choices.count(RECOMPUTE)
        assert all(b >= a for a, b in zip(less.choices, more.choices, strict=True) if a != RECOMPUTE)


@settings(deadline=None, max_examples=200)
@given(prompts(), costs, seconds, seconds, st.floats(1e3, 1e7))
def test_more_time_never_lowers_quality(
    chunks: list[Chunk], cost: Costs, deadline: float, extra: float, rate: float
) -> None:
    less, more = (choose(rate, time, chunks, cost) for time in (deadline, deadline + extra))
    if less.keeps_deadline:
        assert more.keeps_deadline
        assert all(b >= a for a, b in zip(less.choices, more.choices, strict=True) if a != RECOMPUTE)


@settings(deadline=None, max_examples=150)
@given(
    st.integers(1, 5), st.integers(1, 512), st.lists(st.integers(0, 10**6), min_size=1, max_size=2),
    costs, seconds, st.floats(1e4, 1e7),
)  # fmt: skip
def test_a_deadline_that_can_be_kept_is(
    count: int, tokens: int, sizes: list[int], cost: Costs, deadline: float, rate: float
) -> None:
    chunks = [Chunk(tokens, tuple(sorted(sizes)))] * count
    plan = choose(rate, deadline, chunks, cost)
    everything = product((RECOMPUTE, *range(len(sizes))), repeat=count)
    fastest = min(seconds_of(choices, rate, chunks, cost) for choices in everything)
    assert plan.keeps_deadline or fastest > deadline - 1e-9
    if not plan.keeps_deadline:
        assert plan.seconds <= fastest + 1e-9


def test_without_a_processor_nothing_is_computed_anew() -> None:
    chunks = [Chunk(64, (1000,))] * 3
    plan = choose(0, 1, chunks, Costs(0, 0), can_recompute=False)
    assert plan.choices == (0, 0, 0) and not plan.keeps_deadline and plan.seconds == float("inf")
    assert choose(0, 1, chunks, Costs(0, 1e-3)).choices == (RECOMPUTE,) * 3


@settings(deadline=None, max_examples=100)
@given(prompts(), costs, seconds, st.floats(1e3, 1e7))
def test_on_a_steady_link_the_simulation_is_the_plan(
    chunks: list[Chunk], cost: Costs, deadline: float, rate: float
) -> None:
    plan = choose(rate, deadline, chunks, cost)
    run = simulate.simulate(Trace((0.0,), (rate,)), deadline, chunks, cost, adaptive(), guess=rate)
    if plan.keeps_deadline and deadline - plan.seconds > 1e-6:
        assert not run.missed
        assert sum(run.choices) >= sum(plan.choices) - 1e-9 or run.choices.count(RECOMPUTE)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.floats(0.01, 2), st.floats(0, 1e6)), max_size=5), st.floats(1, 1e6),
    seconds, st.integers(0, 10**6), st.integers(0, 10**6),
)  # fmt: skip
def test_traces_add_up(steps: list[tuple[float, float]], last: float, start: float, a: int, b: int) -> None:
    times, now = [0.0], 0.0
    for length, _ in steps:
        now += length
        times.append(now)
    trace = Trace(tuple(times), (*(rate for _, rate in steps), last))
    middle = trace.arrival(start, a)
    assert start <= middle and trace.arrival(middle, b) == pytest.approx(
        trace.arrival(start, a + b), rel=1e-6
    )


def test_adapting_keeps_a_deadline_that_fixed_choices_miss() -> None:
    chunks = [Chunk(256, (150_000, 300_000, 600_000))] * 8
    cost = Costs(decode=2e-5, compute=1e-3, attend=1e-7)
    falling = Trace((0.0, 0.4), (4e6, 1.2e6))
    runs = {
        name: simulate.simulate(falling, 1.5, chunks, cost, policy, guess=4e6)
        for name, policy in {
            "adaptive": adaptive(),
            "best": always(2),
            "recompute": always(RECOMPUTE),
        }.items()
    }
    assert not runs["adaptive"].missed and runs["best"].missed and runs["recompute"].missed
    lowest = simulate.simulate(falling, 1.5, chunks, cost, always(0), guess=4e6)
    assert not lowest.missed and lowest.loaded < runs["adaptive"].loaded


def test_what_is_refused() -> None:
    cost = Costs(0, 0)
    for chunks in ([], [Chunk(1, (1,)), Chunk(1, (1, 2))]):
        with pytest.raises(UsageError):
            choose(1, 1, chunks, cost)
    for make in (
        lambda: Chunk(0, (1,)), lambda: Chunk(1, (2, 1)), lambda: Chunk(1, ()), lambda: Costs(-1, 0),
        lambda: Costs(0, float("inf")), lambda: Trace((0.0,), (0.0,)), lambda: Trace((1.0,), (1.0,)),
        lambda: choose(-1, 1, [Chunk(1, (1,))], cost),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            make()


def test_examples() -> None:
    for module in (control, simulate):
        assert doctest.testmod(module).failed == 0
