"""The models' kernels built without Python, with the sanitizers where the compiler has them."""

import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[1] / "native"


@pytest.mark.slow
def test_models_under_sanitizers(tmp_path):
    compiler = shutil.which("c++")
    if not compiler:
        pytest.skip("no C++ compiler named c++")
    program = tmp_path / "check"
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run([NATIVE / "models_build.sh", program, compiler, *flags], check=True, timeout=300)
    done = subprocess.run([program, "300"], capture_output=True, text=True, timeout=120, check=True)
    assert "300 rounds" in done.stdout
