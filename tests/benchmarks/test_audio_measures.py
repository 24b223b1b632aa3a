"""Efforts and exactness of the audio codec as benchmarks print them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from siglum.benchmarks import audio_effort, audio_exactness
from siglum.codecs.audio.codec import AudioCodec

ROOT = Path(__file__).parents[1]


def test_efforts_are_measured(tmp_path: Path) -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    talk = next(path for path in (ROOT / "media").glob("*.flac"))
    result = CliRunner().invoke(
        audio_effort.main, [str(talk), "-b", "3", "-e", "1,4"], catch_exceptions=False
    )
    lines = result.output.splitlines()[-2:]
    assert result.exit_code == 0 and [line.split()[:2] for line in lines] == [["3", "1"], ["3", "4"]]
    assert all(float(line.split()[2]) <= 3 and float(line.split()[3]) > 1 for line in lines)
    assert CliRunner().invoke(audio_effort.main, [str(talk), "-b", "three"]).exit_code == 2


def test_instruction_sets_are_compared(tmp_path: Path) -> None:
    tone = (0.2 * np.sin(np.arange(9000) * 0.1)).astype(np.float32)
    (tmp_path / "tone.sgl").write_bytes(AudioCodec(threads=1).encode_audio(tone, 16000))
    found = list(audio_exactness.differences([tmp_path / "tone.sgl"]))
    assert {(isa, threads) for isa, threads, _ in found} >= {("scalar", 1), ("scalar", 2)}
    assert all(worst < 0.5 for _, _, worst in found)
