"""The search built without Python: equal bits on this machine, and on ARM under an emulator where there is one."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "kernels" / "cpu"
AVX2 = ["-mavx2", "-mfma", "-mbmi2"]
AVX512 = [*AVX2, *(f"-mavx512{part}" for part in ("f", "bw", "vl", "dq", "vnni"))]


def built(folder, compiler, *flags):
    """The program of the check, compiled file by file with the flags of each instruction set."""
    target = subprocess.run([compiler, "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    extra = {"avx2": AVX2, "avx512": AVX512} if target.startswith("x86_64") else {}
    objects = []
    for source in [
        *KERNELS.glob("nearest*.cpp"),
        KERNELS / "isa.cpp",
        KERNELS / "parallel.cpp",
        ROOT / "tests/native/nearest_check.cpp",
    ]:
        variant = source.stem.rpartition("_")[2]
        if variant == "bindings":
            continue
        objects.append(folder / f"{source.stem}.o")
        command = [compiler, "-std=c++17", "-O2", "-ffp-contract=off", *flags, *extra.get(variant, [])]
        subprocess.run([*command, f"-I{KERNELS}", "-c", source, "-o", objects[-1]], check=True, timeout=120)
    subprocess.run([compiler, *flags, *objects, "-pthread", "-o", folder / "check"], check=True, timeout=120)
    return folder / "check"


@pytest.mark.slow
def test_every_instruction_set_under_sanitizers(tmp_path):
    if not shutil.which("c++"):
        pytest.skip("no C++ compiler named c++")
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    program = built(tmp_path, "c++", *flags)
    done = subprocess.run([program], capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.endswith("different 0\n")


@pytest.mark.slow
def test_neon_under_an_emulator(tmp_path):
    compiler = shutil.which("aarch64-linux-gnu-g++")
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if not compiler or not emulator:
        pytest.skip("needs Debian's g++-aarch64-linux-gnu and qemu-user-static")
    program = built(tmp_path, compiler, "-static")
    done = subprocess.run([emulator, program], capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout == "scalar neon different 0\n"
