from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from siglum.benchmarks import audio_codes
from siglum.benchmarks.report.board import boards_of
from siglum.benchmarks.report.codebooks import codebooks
from siglum.benchmarks.report.load import Row
from siglum.benchmarks.report.media import Keep
from siglum.codecs import container
from siglum.codecs.audio import frame
from siglum.codecs.audio.plain import PlainCodes
from siglum.codecs.audio.presets import PRESETS

PRESET = PRESETS["speech"]


def write(path: Path, seed: int, stages: int, model: bytes = bytes(8)) -> None:
    """A file of 20 frames and two channels, of which the second is silent."""
    random = np.random.default_rng(seed)
    codes = random.integers(0, PRESET.codewords, (20, PRESET.codes))
    parts = [PlainCodes(PRESET).encode(codes, np.full(20, count)) for count in (stages, 0)]
    form = frame.Form(16000, 2, 50, 6400)
    payload = frame.pack(frame.Head(True, 0, (), 20, 6400), parts)
    chunk = container.Chunk(container.ChunkType.DATA, 0, payload)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(container.write(frame.header_of(form, model, 3000), [chunk], frame.LIMITS))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = SimpleNamespace(preset=PRESET, prior=PlainCodes(PRESET))
    monkeypatch.setattr(audio_codes, "load_by_id", lambda model: weights)


def test_codes_of_files_are_counted(
    tmp_path: Path, installed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        write(tmp_path / f"{seed}.sgl", seed, stages=2)
    found = audio_codes.used(sorted(tmp_path.glob("*.sgl")))
    assert found.frames == 3 * 20 * 2
    assert found.counts.sum(axis=1).tolist() == [60] * 2 * PRESET.groups + [0] * (
        PRESET.codes - 2 * PRESET.groups
    )
    assert np.all(found.shares[:4] > 50 / 1024) and np.all(found.shares[4:] == 0)
    assert np.all((found.perplexities[:4] > 40) & (found.perplexities[:4] < 60.01))
    assert np.all(found.perplexities[4:] == 1)
    assert audio_codes.main([str(tmp_path)]) == 0
    assert "3 files, 120 frames" in capsys.readouterr().out


def test_files_that_do_not_fit_together_are_refused(
    tmp_path: Path, installed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a.sgl", 0, 1)
    write(tmp_path / "b.sgl", 0, 1, b"otherone")
    with pytest.raises(ValueError, match="of another model"):
        audio_codes.used([tmp_path / "a.sgl", tmp_path / "b.sgl"])
    (tmp_path / "b.sgl").write_bytes(b"nothing of the kind")
    assert audio_codes.main([str(tmp_path / "b.sgl")]) == 1
    (tmp_path / "none").mkdir()
    assert audio_codes.main([str(tmp_path / "none")]) == 1
    assert "no files of recordings" in capsys.readouterr().err


def test_the_report_has_a_line_a_setting(tmp_path: Path, installed: None) -> None:
    rows = []
    for dial in (1.0, 2.0):
        for item in ("a.flac", "b.flac"):
            write(tmp_path / "audio" / f"{dial:g}" / f"{item}.sgl", len(rows), round(dial))
            empty: dict[str, Any] = {"settings": {}, "metrics": {}, "health": {}}
            rows.append(
                Row(
                    item,
                    "audio",
                    "audio",
                    dial,
                    version="siglum 0",
                    bytes=1,
                    units=1.0,
                    rate=dial,
                    rate_unit="kbps",
                    encode_s=1.0,
                    decode_s=1.0,
                    threads=1,
                    sha256="",
                    payload=1.0,
                    **empty,
                )
            )
    (board,) = boards_of(rows)
    one, two = codebooks(board, Keep(tmp_path, tmp_path / "page.html", []))
    assert (one.dial, one.files, one.frames, one.of) == (1.0, 2, 80, PRESET.codes)
    assert one.stages == PRESET.groups / 2 and two.stages == PRESET.groups  # half of the channels are silent
    assert 30 / 1024 < one.least <= one.mean <= 40 / 1024 and 30 < one.perplexity < 40.01
    assert codebooks(board, Keep(None, tmp_path / "page.html", [])) == []
    (tmp_path / "audio" / "1" / "a.flac.sgl").write_bytes(b"damaged")
    assert [line.dial for line in codebooks(board, Keep(tmp_path, tmp_path / "page.html", []))] == [2.0]
