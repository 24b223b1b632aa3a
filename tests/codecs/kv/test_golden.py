from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siglum import kv
from siglum.codecs.kv.cache import as_float
from siglum.kernels import dispatch

FOLDER = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in FOLDER.glob("*.sgl"))


def test_there_are_golden_files() -> None:
    assert len(NAMES) == 6


@pytest.mark.parametrize("isa", dispatch.available_isas())
@pytest.mark.parametrize("name", NAMES)
def test_golden_files_decode(name: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Symbols are checked by the checksums inside; numbers may differ by what float sums do."""
    monkeypatch.setenv("SIGLUM_ISA", isa)
    for threads in (1, 2):
        calibration = FOLDER / "synthetic.kvcal.safetensors" if name in ("calibrated", "factored") else None
        got = kv.decompress(FOLDER / f"{name}.sgl", calibration=calibration, threads=threads)
        expected = kv.read_cache(FOLDER / f"{name}.safetensors")
        for one, other in zip(got.layers, expected.layers, strict=True):
            assert one.rope == other.rope
            for a, b in zip(one[:2], other[:2], strict=True):
                if name == "lossless":
                    assert np.array_equal(a, b)
                x, y = as_float(a, got.dtype), as_float(b, expected.dtype)
                assert np.sqrt(np.mean(np.square(x - y))) < 0.005 * np.sqrt(np.mean(np.square(y)))
