from __future__ import annotations

import math
import operator
import os
import signal
from functools import partial

import pytest

from siglum.executor import ProcessDied, work_through


def test_in_this_process_the_outcomes_come_in_order() -> None:
    outcomes = list(work_through(math.sqrt, [4.0, -1.0, 9.0]))
    assert [outcome.result for outcome in outcomes] == [2.0, None, 3.0]
    assert isinstance(outcomes[1].error, ValueError) and outcomes[0].error is None
    assert list(work_through(math.sqrt, [])) == list(work_through(math.sqrt, [], jobs=3)) == []


def test_processes_share_the_items_and_one_that_fails_keeps_no_other() -> None:
    outcomes = sorted(work_through(math.sqrt, [4.0, -1.0, 9.0, 16.0], jobs=2), key=lambda one: one.index)
    assert [outcome.index for outcome in outcomes] == [0, 1, 2, 3]
    assert [outcome.result for outcome in outcomes] == [2.0, None, 3.0, 4.0]
    assert isinstance(outcomes[1].error, ValueError)


def test_a_process_that_dies_fails_its_item_and_is_replaced() -> None:
    raised = partial(signal.raise_signal)
    outcomes = list(work_through(raised, [signal.SIGCONT, signal.SIGKILL, signal.SIGCONT], isolated=True))
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].error, ProcessDied) and "SIGKILL" in str(outcomes[1].error)
    left = list(work_through(os._exit, [3], isolated=True))
    assert str(left[0].error) == "its process ended with code 3"


def test_what_cannot_be_sent_back_is_an_error() -> None:
    outcomes = list(work_through(operator.methodcaller("items"), [{}, {1: 2}], isolated=True))
    assert all(isinstance(outcome.error, RuntimeError) for outcome in outcomes)
    assert "cannot pickle" in str(outcomes[0].error)


def test_processes_end_when_the_iteration_is_left() -> None:
    outcomes = work_through(operator.methodcaller("__call__"), [os.getpid, os.getpid], isolated=True)
    pid = next(outcomes).result
    assert pid is not None and pid != os.getpid()
    outcomes.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
