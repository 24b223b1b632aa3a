"""The examples run, and print what they claim."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str) -> str:
    """Run an example as a user does; what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, text
    return float(found[1].replace(",", ""))


def test_static_symbols() -> None:
    out = run("static_symbols")
    assert 0 < number(r"bytes, ([\d.]+)% over", out) <= 0.45
    assert (
        number(r"1,000 symbols -> (\d+) bytes", out) <= number(r"([\d.]+) of them information", out) + 6
    )  # head, states, filling


def test_gaussian_latents() -> None:
    out = run("gaussian_latents")
    assert 0 < number(r"([\d.]+)% over", out) <= 0.5
    assert number(r"reconstruction: ([\d.]+)", out) <= 0.5
    assert "one bit flipped:" in out


def test_torch_tensors() -> None:
    pytest.importorskip("torch")
    out = run("torch_tensors")
    assert "torch.uint8 (64, 64, 64) torch.int16 (64, 128, 128)" in out


def test_bits_back() -> None:
    out = run("bits_back")
    named, back = number(r"named: +([\d.]+)", out), number(r"bits back: +([\d.]+)", out)
    assert back < named - 0.3
    assert abs(number(r"block, ([+-][\d.]+)%", out)) < 0.2


def test_replace_compressai_coder() -> None:
    pytest.importorskip("torch")
    out = run("replace_compressai_coder")
    assert "siglum" in out and "a string cut off:" in out
    assert "the same strings: True" in out or "stand-in" in out


def test_the_document_of_the_coder() -> None:
    """Its code runs, one block after the other, and its links lead somewhere."""
    path = EXAMPLES.parent / "docs" / "entropy.md"
    text = path.read_text()
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, path.name, "exec"), names)
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (path.parent / link).exists(), link
