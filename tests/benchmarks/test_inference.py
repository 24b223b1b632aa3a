from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siglum.benchmarks import inference


def test_every_line_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "small.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(picture)
    assert inference.main([str(picture), "--repeats", "1", "--cold", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("machine")
    for work in ("analysis", "synthesis", "encode", "decode"):
        assert sum(line.startswith(f"{work} ") for line in lines) == 2
    assert any(line.startswith("scalar") and line.endswith("GFLOP/s") for line in lines)


def test_the_made_picture_is_of_kodaks_size() -> None:
    assert inference.picture_of(None).shape == (512, 768, 3)
