"""Entropy coders beside each other: ``codec bench entropy``, or ``python -m siglum.benchmarks.entropy``.

All coders of a task take turns, so that whatever else the machine does meets all of them; the least time of
each counts. With one thread it is the thread's CPU time, with more wall time. No speed is printed of a coder
that does not give the symbols back.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter, thread_time

import numpy as np

from siglum.benchmarks import entropy_sources as sources
from siglum.benchmarks.entropy_coders import Absent, Coder, Ready, own_coders
from siglum.benchmarks.entropy_peers import peer_coders
from siglum.benchmarks.entropy_sources import Task
from siglum.errors import SiglumError

PACKAGES = ("siglum", "numpy", "torch", "constriction", "compressai", "torch-ans", "zstandard", "triton")
SHORTEST = 1e-3  # seconds of one measurement: several calls where one is shorter
LONG = 0.05  # seconds of a call for which the state of the caches before it does not matter
FAILURES = (SiglumError, ImportError, RuntimeError, ValueError, TypeError, AttributeError, OSError)


@dataclass(frozen=True)
class Row:
    """One coder on one task.

    Attributes
    ----------
    task, symbols
        What was coded, and how many symbols of it.
    coder, settings, version, threads, isa
        By whom.
    clock
        "cpu" or "wall".
    encode_msps, decode_msps
        Millions of symbols a second; None if the coder is absent or failed.
    bytes
        Of the coded symbols.
    source_bits, table_bits
        Information in the symbols, under the source and under siglum's integer tables.
    note
        Why there are no figures.
    """

    task: str
    symbols: int
    coder: str
    settings: str
    version: str
    threads: int
    isa: str
    clock: str
    encode_msps: float | None = None
    decode_msps: float | None = None
    bytes: int | None = None
    source_bits: float | None = None
    table_bits: float | None = None
    note: str = ""

    @property
    def over_percent(self) -> float | None:
        """How much longer the coded symbols are than their information."""
        if self.bytes is None or not self.source_bits or self.coder == "memcpy":
            return None
        return 100 * (8 * self.bytes / self.source_bits - 1)


def tasks(quick: bool, seed: int = 0, scale: float = 1.0) -> Iterator[tuple[Task, bool]]:
    """What is measured; with each task whether only the coders for every size take part.

    Parameters
    ----------
    quick : bool
        A quarter of the symbols, and fewer sizes.
    seed : int
    scale : float
        Of the numbers of symbols, for tests.
    """
    large, middle = (int(scale * n / (4 if quick else 1)) for n in (4_000_000, 1_000_000))
    short = [int(scale * n) for n in ((1000,) if quick else (1000, 65_536))]
    yield sources.gaussian(large, seed), False
    for bits in (4.0, 2.0, 0.5):
        yield sources.laplace(bits, large, seed), False
    yield sources.indexed(middle, seed), False
    for count in [*short, *([] if quick else [middle])]:
        yield sources.laplace(4.0, count, seed), True
    for count in [*short, *([] if quick else [large])]:
        yield sources.indexed(count, seed), True


def run(
    chosen: Sequence[tuple[Task, bool]] | Iterator[tuple[Task, bool]],
    repeats: int = 100,
    seconds: float = 1.5,
    progress: Callable[[str], None] = lambda line: None,
) -> Iterator[Row]:
    """Measure every coder on every task.

    Parameters
    ----------
    chosen : iterable of (Task, bool)
        As `tasks` gives them.
    repeats : int
        Turns of each coder, at most.
    seconds : float
        After so many seconds in a task a coder, if it has had 3 turns, takes no further ones.
    progress : callable
        Gets a line for every task.
    """
    everyone = [*own_coders(), *peer_coders()]
    for task, few in chosen:
        progress(f"{task.name}, {task.count} symbols")
        yield from _measure(
            task, [coder for coder in everyone if coder.every_size or not few], repeats, seconds
        )


class _Turns:
    """The measurements of one coder on one task."""

    def __init__(self, coder: Coder, ready: Ready, task: Task) -> None:
        self.coder, self.ready = coder, ready
        self.clock = thread_time if coder.threads == 1 and coder.settings != "triton" else perf_counter
        self.least = [float("inf"), float("inf")]
        self.calls = [1, 1]
        self.spent, self.turns = 0.0, 0
        with _forced(coder.isa):
            payload = ready.encode()
            found = ready.array(ready.decode(payload))
        if not np.array_equal(found, task.symbols):
            raise ValueError("it does not give the symbols back")
        self.payload, self.size = payload, ready.size(payload)

    def take(self) -> None:
        with _forced(self.coder.isa):
            for k, call in enumerate((self.ready.encode, lambda: self.ready.decode(self.payload))):
                if self.least[k] < LONG:
                    call()  # the coder before has left its own data in the caches
                while True:
                    start = self.clock()
                    for _ in range(self.calls[k]):
                        call()
                    elapsed = self.clock() - start
                    self.spent += elapsed
                    if elapsed >= SHORTEST or self.turns:
                        break
                    self.calls[k] *= 2 if elapsed > SHORTEST / 4 else 4
                self.least[k] = min(self.least[k], max(elapsed, 1e-9) / self.calls[k])
        self.turns += 1


def _measure(task: Task, coders: Sequence[Coder], repeats: int, seconds: float) -> Iterator[Row]:
    table: dict[int, Row] = {}
    taking: dict[int, _Turns] = {}
    for place, coder in enumerate(coders):
        try:
            with _forced(coder.isa):
                ready = coder.prepare(task)
            if ready is not None:
                taking[place] = _Turns(coder, ready, task)
        except Absent as error:
            table[place] = _row(task, coder, note=str(error))
        except FAILURES as error:
            reason = (str(error) or repr(error)).splitlines()[0]
            table[place] = _row(task, coder, note=f"failed: {reason}")
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(repeats):
            for turns in taking.values():
                if turns.turns < 3 or turns.spent < seconds:
                    turns.take()
    finally:
        if collecting:
            gc.enable()
    table_bits = task.tables.bits(task.symbols, 0 if task.indexes is None else task.indexes)
    for place, turns in taking.items():
        encoding, decoding = (task.count / least / 1e6 for least in turns.least)
        table[place] = _row(task, turns.coder, encoding, decoding, turns.size, table_bits)
    for place in sorted(table):
        yield table[place]


def _row(
    task: Task,
    coder: Coder,
    encoding: float | None = None,
    decoding: float | None = None,
    size: int | None = None,
    table_bits: float | None = None,
    note: str = "",
) -> Row:
    from siglum.kernels import dispatch

    try:
        found = version(coder.package)
    except PackageNotFoundError:
        found = "absent"
    return Row(
        task=task.name,
        symbols=task.count,
        coder=coder.name,
        settings=coder.settings,
        version=found,
        threads=coder.threads,
        isa=(coder.isa or dispatch.isa()) if coder.name == "siglum" else "",
        clock="cpu" if coder.threads == 1 and coder.settings != "triton" else "wall",
        encode_msps=encoding,
        decode_msps=decoding,
        bytes=size,
        source_bits=task.source_bits,
        table_bits=table_bits,
        note=note,
    )


@contextmanager
def _forced(isa: str) -> Iterator[None]:
    """Run with this instruction set, if one is named."""
    before = os.environ.get("SIGLUM_ISA")
    if isa:
        os.environ["SIGLUM_ISA"] = isa
    try:
        yield
    finally:
        if isa and before is None:
            del os.environ["SIGLUM_ISA"]
        elif isa and before is not None:
            os.environ["SIGLUM_ISA"] = before


def main() -> None:
    """Print the table; all options are those of ``codec bench entropy``."""
    from siglum.cli.bench import entropy

    entropy()


if __name__ == "__main__":
    main()
