"""Golden files decode to what they did when they were written, whichever instruction set and threads run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siglum.codecs.image_fast.codec import ImageFastCodec
from siglum.kernels import dispatch

HERE = Path(__file__).parent
SPEC = importlib.util.spec_from_file_location("make_golden_fast", HERE / "make_golden.py")
assert SPEC is not None and SPEC.loader is not None
maker = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(maker)
NAMES = sorted(path.stem for path in (HERE / "golden").glob("*.sgl"))


@pytest.mark.parametrize("isa", dispatch.available_isas())
@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGLUM_ISA", isa)
    data = (HERE / "golden" / f"{name}.sgl").read_bytes()
    with Image.open(HERE / "golden" / f"{name}.png") as image:
        expected = np.asarray(image)
    for threads in (1, 2) if name != "tiled" else (2,):
        pixels = maker.shown(name, ImageFastCodec(threads=threads).decode_array(data))
        assert pixels.shape == expected.shape
        assert np.max(np.abs(pixels.astype(int) - expected)) <= 1


@pytest.mark.parametrize("isa", dispatch.available_isas())
def test_encoders_write_the_golden_files(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGLUM_ISA", isa)
    assert len(NAMES) >= 8
    for name, (codec, picture) in maker.pictures().items():
        assert codec.encode(picture) == (HERE / "golden" / f"{name}.sgl").read_bytes()
