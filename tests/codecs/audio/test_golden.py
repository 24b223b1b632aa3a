"""Files that were written once decode to the same symbols on every instruction set, and to the same samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from siglum.codecs import container
from siglum.codecs.audio.codec import AudioCodec
from siglum.kernels import dispatch

FOLDER = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in FOLDER.glob("*.sgl"))


def test_there_are_all() -> None:
    kinds = [
        "cut",
        "fullband",
        "joined",
        "nothing",
        "resampled",
        "silence",
        "speech-3k",
        "speech-best",
        "stereo",
    ]
    assert kinds == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("threads", [1, 2])
def test_decodes(name: str, threads: int) -> None:
    data = (FOLDER / f"{name}.sgl").read_bytes()
    recording = AudioCodec(threads=threads).decode_audio(data)
    if name == "nothing":
        assert recording.samples.shape == (0, 1)
        return
    levels, rate = soundfile.read(FOLDER / f"{name}.flac", dtype="int16", always_2d=True)
    assert recording.rate == rate and recording.samples.shape == levels.shape
    assert np.abs(np.clip(recording.samples * 32768, -32768, 32767) - levels).max(initial=0) <= 1.5


@pytest.mark.parametrize("isa", dispatch.available_isas())
def test_symbols_are_those_of_every_instruction_set(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGLUM_ISA", isa)
    expected = json.loads((FOLDER / "SYMBOLS.json").read_text())
    for name in NAMES:
        data = (FOLDER / f"{name}.sgl").read_bytes()
        assert [chunk.symbols_crc for chunk in container.Reader(data).chunks()] == expected[name]
        AudioCodec().decode_audio(data)  # raises where a chunk does not decode to its checksum
