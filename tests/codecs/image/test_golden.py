"""Golden files decode to what they did when they were written, whichever instruction set and threads run."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from siglum.codecs.image.codec import ImageCodec
from siglum.codecs.image.weights import load_by_name
from siglum.kernels import dispatch

GOLDEN = Path(__file__).parents[2] / "golden"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.sgl"))


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_golden", GOLDEN.parent / "make_golden.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_golden_files() -> None:
    assert len(NAMES) >= 12


@pytest.mark.parametrize("isa", dispatch.available_isas())
@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str, isa: str, maker: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGLUM_ISA", isa)
    data = (GOLDEN / f"{name}.sgl").read_bytes()
    with Image.open(GOLDEN / f"{name}.png") as image:
        expected = np.asarray(image)
    for threads in (1, 2) if name != "tiled" or isa == "scalar" else (2,):
        pixels = maker.shown(name, ImageCodec(threads=threads).decode_array(data))
        assert pixels.shape == expected.shape
        limit = 0 if name.startswith("lossless") else 1
        assert np.max(np.abs(pixels.astype(int) - expected)) <= limit


def test_golden_metadata() -> None:
    picture = ImageCodec().decode((GOLDEN / "metadata.sgl").read_bytes())
    assert picture.icc == b"profile"
    assert picture.exif is not None and picture.exif.startswith(b"II*\0")
    assert picture.source_format == "jpeg"


@pytest.mark.parametrize("isa", dispatch.available_isas())
def test_the_prior_answers_as_it_did(isa: str, maker: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGLUM_ISA", isa)
    expected = json.loads((GOLDEN / "EXPECTED.json").read_text())
    assert load_by_name("small").id.hex() == expected["model"]
    assert maker.prior_checksums() == expected["prior"]
