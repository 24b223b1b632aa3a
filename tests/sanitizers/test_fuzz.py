"""The fuzzers of the C++ decoders build with the sanitizers and find nothing. `make fuzz` runs many more inputs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.mark.slow
def test_damaged_payloads_under_the_sanitizers(tmp_path: Path) -> None:
    if shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler")
    probe = tmp_path / "probe.cpp"
    probe.write_text("int main() { return 0; }")
    command = ["c++", "-fsanitize=address,undefined", probe, "-o", tmp_path / "probe"]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("the compiler has no sanitizers")
    script = Path(__file__).parent / "run.sh"
    done = subprocess.run(
        [script, "30000", "3"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "BUILD": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "30000 inputs" in done.stdout
