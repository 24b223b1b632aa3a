"""A picture of 50 megapixels through the installed command line, in less than 2 GB."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CODEC = Path(sys.executable).with_name("codec")
LIMIT = 2 * 10**9


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fifty_megapixels(tmp_path: Path, photo: np.ndarray, peak_of: Callable[..., int]) -> None:
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
