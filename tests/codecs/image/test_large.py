"""A picture of 50 megapixels through the installed command line, in less than 2 GB."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CODEC = Path(sys.executable).with_name("codec")
LIMIT = 2 * 10**9

MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
usage = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(usage * (1 if sys.platform == "darwin" else 1024))
"""


def peak_of(*command: str) -> int:
    """Run a command; the most memory it had, in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], check=True, capture_output=True, text=True
    )
    return int(done.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fifty_megapixels(tmp_path: Path, photo: np.ndarray) -> None:
    assert resource.RLIMIT_AS  # this test is for POSIX
    large = Image.fromarray(np.tile(photo, (12, 11, 1)))  # 8448 x 6144 = 51.9 megapixels
    source, coded, out = tmp_path / "large.ppm", tmp_path / "large.sgl", tmp_path / "out.ppm"
    large.save(source)
    assert peak_of(str(CODEC), "encode", str(source), "-o", str(coded), "-q", "30", "-T", "2") < LIMIT
    assert peak_of(str(CODEC), "decode", str(coded), "-o", str(out), "-T", "2") < LIMIT
    picture, decoded = np.asarray(large), np.asarray(Image.open(out))
    part = np.s_[2048 - 64 : 2048 + 64, 4096 - 64 : 4096 + 64]  # where four tiles meet
    error = np.mean((decoded[part].astype(float) - picture[part]) ** 2)
    elsewhere = np.mean((decoded[1000:1512, 1000:1768].astype(float) - picture[1000:1512, 1000:1768]) ** 2)
    assert error < 4 * elsewhere + 20
