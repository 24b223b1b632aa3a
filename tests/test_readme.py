"""The Python example of the README runs, and every command that it names exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_python_example(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("image (256, 384, 3) ")


def test_every_verb_exists() -> None:
    verbs = set(re.findall(r"^codec ([a-z]+)", README, re.MULTILINE))
    assert {"encode", "decode", "info", "verify"} <= verbs
    codec = Path(sys.executable).with_name("codec")
    listed = subprocess.run([codec, "--help"], check=True, capture_output=True, text=True).stdout
    for verb in verbs:
        assert re.search(rf"^  {verb} ", listed, re.MULTILINE), verb


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in link:
            assert (Path(__file__).parent.parent / link).exists(), link
