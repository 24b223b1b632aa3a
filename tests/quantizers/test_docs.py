"""The examples of the document run."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
PATH = Path(__file__).parents[2] / "docs" / "quantizers.md"


def test_the_examples_in_the_documentation() -> None:
    result = doctest.testfile(str(PATH), module_relative=False)
    assert result.attempted > 20
    assert result.failed == 0


def test_every_structure_is_described() -> None:
    from siglum import quantizers

    text = PATH.read_text()
    for name in quantizers.names():
        assert f"| `{name}` |" in text and re.search(rf"^\*\*{name}\*\*|\*\*{name}\*\* \(", text, re.M), name
