from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siglum.codecs.image_vq.codec import ImageVqCodec
from siglum.kernels import dispatch

FOLDER = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in FOLDER.glob("*.sgl"))


def test_there_are_golden_files() -> None:
    assert len(NAMES) == 8


@pytest.mark.parametrize("isa", dispatch.available_isas())
@pytest.mark.parametrize("name", NAMES)
def test_golden_files_decode_to_what_they_did(name: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGLUM_ISA", isa)
    with Image.open(FOLDER / f"{name}.png") as image:
        wanted = np.asarray(image)
    data = (FOLDER / f"{name}.sgl").read_bytes()
    for threads in (1, 2):
        pixels = ImageVqCodec(threads=threads).decode_array(data)  # symbols are checked by their CRCs inside
        assert pixels.shape == wanted.shape
        assert np.abs(pixels.astype(int) - wanted).max() <= 1
