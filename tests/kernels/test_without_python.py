"""The table coder built without Python: on this machine, and for ARM under an emulator where both are installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[1] / "native"


def built(tmp_path, *compiler):
    program = tmp_path / "check"
    subprocess.run([NATIVE / "build.sh", program, *compiler], check=True, capture_output=True, timeout=300)
    return program


@pytest.mark.slow
def test_every_instruction_set_of_this_machine(tmp_path):
    if not shutil.which("c++"):
        pytest.skip("no C++ compiler named c++")
    done = subprocess.run([built(tmp_path)], capture_output=True, text=True, timeout=120, check=True)
    assert "rounds, scalar" in done.stdout


@pytest.mark.slow
def test_neon_under_an_emulator(tmp_path):
    compiler = shutil.which("aarch64-linux-gnu-g++")
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if not compiler or not emulator:
        pytest.skip("needs Debian's g++-aarch64-linux-gnu and qemu-user-static")
    program = built(tmp_path, compiler, "-static")
    done = subprocess.run([emulator, program], capture_output=True, text=True, timeout=240, check=True)
    assert "scalar neon" in done.stdout
