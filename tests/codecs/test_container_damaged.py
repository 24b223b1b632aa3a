from __future__ import annotations

import io
import json
import runpy
import time
import tracemalloc
from pathlib import Path

import pytest

from siglum import errors
from siglum.codecs.container import verify

FOLDER = Path(__file__).parents[1] / "damaged"
EXPECTED = json.loads((FOLDER / "EXPECTED.json").read_text(encoding="utf-8"))


class Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("make", [bytes, io.BytesIO, Pipe])
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_fails_with_its_error(name: str, make: type) -> None:
    source = make((FOLDER / name).read_bytes())
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(errors.BitstreamError) as caught:
            verify(source, codecs={1: 0})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert type(caught.value).__name__ == EXPECTED[name]
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) > 20
    assert peak < 4 << 20
    assert time.perf_counter() - start < 2


def test_files_are_those_of_the_script(tmp_path: Path) -> None:
    script = runpy.run_path(str(FOLDER.parent / "make_damaged.py"))
    script["main"](tmp_path)
    for made in tmp_path.iterdir():
        assert made.read_bytes() == (FOLDER / made.name).read_bytes(), (
            f"{made.name}: run tests/make_damaged.py"
        )
    assert {path.name for path in FOLDER.glob("*.sgl")} == set(EXPECTED)
