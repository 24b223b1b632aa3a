"""Teams of threads: results, their number, several callers at once, forks, the end of a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from siglum.entropy.integer_network import Depthwise, IntegerNetwork, Pointwise

TASKS = Path("/proc/self/task")
SETUP = """
import os, sys, threading
import numpy as np
from siglum.entropy.integer_network import IntegerNetwork, Pointwise
random = np.random.default_rng(0)
weight = random.integers(-128, 128, (96, 96)).astype(np.int8)
layer = Pointwise(weight, np.zeros(96, np.int32), np.full(96, 2**30, np.int32), 40)
network = IntegerNetwork([layer, layer], 2**15)
x = random.integers(-2**15, 2**15, (64, 64, 96)).astype(np.int16)
expected = network(x, threads=1)
"""


def large() -> tuple[IntegerNetwork, np.ndarray]:
    """A network and an input that are worth threads."""
    random = np.random.default_rng(1)
    layers = [
        Pointwise(
            random.integers(-128, 128, (48, 40)).astype(np.int8),
            random.integers(-999, 999, 48).astype(np.int32),
            random.integers(0, 2**31, 48).astype(np.int32),
            40,
        ),
        Depthwise(
            random.integers(-128, 128, (3, 3, 48)).astype(np.int8),
            random.integers(-999, 999, 48).astype(np.int32),
            random.integers(0, 2**31, 48).astype(np.int32),
            38,
        ),
    ]
    x = random.integers(-(2**15), 2**15, (93, 101, 40)).astype(np.int16)
    return IntegerNetwork(layers, 2**15), x


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    network, x = large()
    expected = network(x, threads=1)
    for threads in (2, 4, 7, 2, 1):
        assert np.array_equal(network(x, threads=threads), expected)


def test_callers_at_once_have_teams_of_their_own() -> None:
    network, x = large()
    expected = network(x, threads=1)
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda number: network(x, threads=1 + number % 4), range(60)))
    assert all(np.array_equal(result, expected) for result in results)


@pytest.mark.skipif(not TASKS.exists(), reason="counts threads as Linux lists them")
def test_threads_are_used_again() -> None:
    network, x = large()
    network(x, threads=3)
    before = len(list(TASKS.iterdir()))
    for _ in range(20):
        network(x, threads=3)
    assert len(list(TASKS.iterdir())) <= before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_workers_of_its_own() -> None:
    script = """
network(x, threads=3)
stop = threading.Event()
def busy():
    while not stop.is_set():
        network(x, threads=2)
other = threading.Thread(target=busy)
other.start()
for _ in range(5):
    child = os.fork()
    if not child:
        same = all((network(x, threads=t) == expected).all() for t in (1, 2, 3))
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.set()
other.join()
assert (network(x, threads=3) == expected).all()
"""
    run(script)


def test_a_process_ends_while_workers_wait() -> None:
    run("network(x, threads=4)")
    run("""
threads = [threading.Thread(target=network, args=(x,), kwargs={"threads": 3}) for _ in range(3)]
for thread in threads:
    thread.start()
""")


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_teams_under_sanitizers(tmp_path: Path, sanitizer: str) -> None:
    compiler = shutil.which("c++")
    if not compiler:
        pytest.skip("no C++ compiler named c++")
    root = Path(__file__).parents[2]
    sources = [root / "kernels/cpu/parallel.cpp", root / "tests/native/team_check.cpp"]
    flags = ["-std=c++17", "-O1", "-g", f"-fsanitize={sanitizer}", f"-I{root / 'kernels/cpu'}", "-pthread"]
    program = tmp_path / "check"
    subprocess.run([compiler, *flags, *sources, "-o", program], check=True, timeout=120)
    fixed = shutil.which("setarch")  # ThreadSanitizer knows fewer layouts of memory than Linux has
    command = [fixed, "-R", program] if fixed else [program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "0 failures\n"), done.stderr


def run(script: str) -> None:
    """A process of its own that must end well, and soon."""
    command = [sys.executable, "-W", "ignore", "-c", SETUP + script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
