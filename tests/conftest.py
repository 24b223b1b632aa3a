"""What every test needs: the repository's own folders must not hide other packages' (`datasets`, `kernels`)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]


@pytest.fixture(scope="session")
def photo_path() -> Path:
    """A real photograph: Kodak 23, 768x512."""
    return ROOT / "tests" / "media" / "kodim23.png"


@pytest.fixture(scope="session")
def photo(photo_path: Path) -> np.ndarray:
    """The photograph as (512, 768, 3) uint8."""
    with Image.open(photo_path) as image:
        return np.asarray(image.convert("RGB"))
