"""One executor for many items: in this process, or in several, of which one may crash and is replaced."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any, Generic, TypeVar

from siglum.errors import SiglumError

Task = TypeVar("Task")
Result = TypeVar("Result")


class ProcessDied(SiglumError):
    """The process that worked on an item ended without a word: killed, or crashed in compiled code."""


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What became of one item.

    Attributes
    ----------
    index
        Which one, counted from 0 in the order in which they were given.
    result
        What the work returned; None if it raised.
    error
        What it raised; None if it did not.
    """

    index: int
    result: Result | None
    error: Exception | None = None


def work_through(
    work: Callable[[Task], Result], items: Sequence[Task], *, jobs: int = 1, isolated: bool = False
) -> Iterator[Outcome[Result]]:
    """Do the same work on every item and yield what became of each, as it becomes known.

    An item that fails keeps no other from being done. A process that dies fails its item and is replaced.
    When the iteration is left, by an exception too, all processes end.

    Parameters
    ----------
    work
        Takes an item. With several processes it, the items and the results must be picklable.
    items
        What is to be done. They are begun in this order.
    jobs
        How many processes; 1 is this one, and the outcomes then come in order.
    isolated
        Whether a single job, too, has a process of its own, so that this one survives its crash.
    """
    if jobs == 1 and not isolated:
        for index, item in enumerate(items):
            yield _attempt(work, index, item)
        return
    waiting = iter(enumerate(items))
    workers = [_Worker(work) for _ in range(min(jobs, len(items)))]
    try:
        busy = [worker for worker in workers if worker.begin_next(waiting)]
        while busy:
            ready = wait([worker.connection for worker in busy])
            for worker in [worker for worker in busy if worker.connection in ready]:
                yield worker.outcome()
                if not worker.begin_next(waiting):
                    busy.remove(worker)
    finally:
        for worker in workers:
            worker.end()


class _Worker(Generic[Task, Result]):
    """A process, started when there is something for it to do; its index is that of its item, or -1."""

    process: SpawnProcess
    connection: Connection

    def __init__(self, work: Callable[[Task], Result]) -> None:
        self.work = work
        self.index = -1
        self.running = False

    def begin_next(self, waiting: Iterator[tuple[int, Task]]) -> bool:
        """Hand the next item over; False if there is none."""
        following = next(waiting, None)
        if following is None:
            return False
        if not self.running:
            self._start()
        self.index = following[0]
        # It may have died in between; reading its outcome finds that.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(following)
        return True

    def outcome(self) -> Outcome[Result]:
        """Return what became of the item that was handed over."""
        try:
            received: Outcome[Result] = self.connection.recv()
            self.index = -1
        except (EOFError, ConnectionResetError):
            index, self.index = self.index, -1
            self.end()
            return Outcome(index, None, ProcessDied(_epitaph(self.process.exitcode)))
        return received

    def end(self) -> None:
        """End the process, whatever it does."""
        if self.running:
            self.running = False
            self.connection.close()
            if self.index >= 0:
                self.process.terminate()
            self.process.join(5)
            self.process.kill()
            self.process.join()

    def _start(self) -> None:
        # Spawned, not forked: codecs have threads, which a fork would leave locked.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.work), daemon=True)
        self.process.start()
        theirs.close()
        self.running = True


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    # An interrupt from the keyboard reaches every process; the first one decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # And what is half done is undone, as after an exception.
    signal.signal(signal.SIGTERM, _leave)
    while True:
        try:
            index, item = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        outcome = _attempt(work, index, item)
        try:
            pickle.loads(pickle.dumps(outcome))
        except Exception as error:
            reason = error if outcome.error is None else outcome.error
            outcome = Outcome(index, None, RuntimeError(f"{type(reason).__name__}: {reason}"))
        try:
            connection.send(outcome)
        except (BrokenPipeError, ConnectionResetError):
            return


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _attempt(work: Callable[[Task], Result], index: int, item: Task) -> Outcome[Result]:
    try:
        return Outcome(index, work(item))
    except Exception as error:
        return Outcome(index, None, error)


def _epitaph(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"its process was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"its process was ended by signal {-code}"
    return f"its process ended with code {code}"
