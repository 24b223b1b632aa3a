"""The document for those who serve models, and the example of the store."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_document() -> None:
    """Its code runs, one block after the other, and its links lead somewhere."""
    path = ROOT / "docs" / "kv-serving.md"
    text = path.read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (path.parent / link).exists(), link
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed (extra llm)")
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, path.name, "exec"), names)


def test_the_example() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / "kv_store.py"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"stored: 128 of \d+ tokens, [\d,]+ bytes", done.stdout), done.stdout
    assert "found: 64 tokens" in done.stdout and "left: 64 tokens" in done.stdout
    assert re.search(
        r"damaged: entry [0-9a-f]{16}… \(tokens 64-127\) is damaged and was removed", done.stdout
    )


def test_the_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    from siglum.benchmarks.kv_serving import links, main, measure_controller

    assert len(links(3)) == 3 and callable(main)
    measure_controller(ROOT / "tests" / "media" / "smollm2-kv.safetensors", 10)
    assert re.search(r"adaptive +\d+\.\d%", capsys.readouterr().out)
