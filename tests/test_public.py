"""The public face in a fresh process: submodules come when they are asked for, torch does not."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
import siglum
assert "siglum.codecs" not in sys.modules and "numpy" not in sys.modules
siglum.codecs.names()
siglum.entropy.rans.encode
assert siglum.__version__
assert "torch" not in sys.modules
try:
    siglum.nothing
except AttributeError:
    print("ok")
"""


def test_submodules_are_there_when_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True)
    assert done.stdout == "ok\n"
