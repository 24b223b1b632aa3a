from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from siglum.datasets import corpora
from siglum.errors import UsageError

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")

TREES = {
    "librispeech": [
        "LibriSpeech/train-clean-100/19/198/19-198-0001.flac",
        "LibriSpeech/train-clean-100/26/495/26-495-0000.flac",
        "LibriSpeech/dev-clean/84/121123/84-121123-0000.flac",
    ],
    "vctk": [
        "VCTK-Corpus-0.92/wav48_silence_trimmed/p225/p225_001_mic1.flac",
        "VCTK-Corpus-0.92/wav48_silence_trimmed/p225/p225_001_mic2.flac",
        "VCTK-Corpus-0.92/wav48_silence_trimmed/p280/p280_001_mic1.flac",
        "VCTK-Corpus-0.92/wav48_silence_trimmed/p315/p315_001_mic2.flac",
    ],
    "ljspeech": ["LJSpeech-1.1/wavs/LJ001-0001.wav", "LJSpeech-1.1/wavs/LJ001-0002.wav"],
    "musdb": [
        "musdb18hq/train/A Band - A Song/mixture.wav",
        "musdb18hq/train/A Band - A Song/vocals.wav",
        "musdb18hq/train/A Band - Another/mixture.wav",
        "musdb18hq/test/Someone - Else/mixture.wav",
    ],
}
RATES = {"librispeech": 16000, "vctk": 48000, "ljspeech": 22050, "musdb": 44100}


def make(root: Path, name: str) -> None:
    channels = 2 if name == "musdb" else 1
    tone = 0.3 * np.sin(np.arange(RATES[name] // 10)[:, None] * np.array([[0.05, 0.07]]))[:, :channels]
    for path in TREES[name]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / path, tone, RATES[name])


@pytest.mark.parametrize("name", TREES)
def test_a_corpus_on_disk_is_read(name: str, tmp_path: Path) -> None:
    make(tmp_path, name)
    pieces = corpora.CORPORA[name](tmp_path)
    wanted = {
        "librispeech": [("19-198-0001.flac", "19"), ("26-495-0000.flac", "26")],
        "vctk": [("p225_001_mic2.flac", "p225")],
        "ljspeech": [("LJ001-0001.wav", "LJ"), ("LJ001-0002.wav", "LJ")],
        "musdb": [("mixture.wav", "A Band"), ("mixture.wav", "A Band")],
    }
    assert [(piece.path.name, piece.speaker) for piece in pieces] == wanted[name]
    assert pieces[0].rate == RATES[name]
    assert pieces[0].samples().shape == (RATES[name] // 10, 2 if name == "musdb" else 1)
    assert len(pieces[0].samples(16000)) == 1600


def test_parts_of_corpora_are_chosen(tmp_path: Path) -> None:
    for name in TREES:
        make(tmp_path, name)
    assert [piece.speaker for piece in corpora.librispeech(tmp_path, "dev-clean")] == ["84"]
    assert [piece.speaker for piece in corpora.vctk(tmp_path, "mic1")] == ["p225", "p280"]
    assert [piece.path.stem for piece in corpora.musdb(tmp_path, sources=("vocals", "bass"))] == ["vocals"]
    assert [piece.speaker for piece in corpora.musdb(tmp_path, "test")] == ["Someone"]
    with pytest.raises(ValueError, match="sources has piano"):
        corpora.musdb(tmp_path, sources=("piano",))


def test_the_first_vctk_is_read_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "VCTK-Corpus" / "wav48" / "p225"
    folder.mkdir(parents=True)
    soundfile.write(folder / "p225_001.wav", np.zeros(4800), 48000)
    assert [piece.speaker for piece in corpora.vctk(tmp_path)] == ["p225"]


@pytest.mark.parametrize("name", TREES)
def test_nothing_is_downloaded_unless_it_is_asked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match="is not there: unpack the corpus"):
        corpora.CORPORA[name](tmp_path)
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    monkeypatch.setitem(sys.modules, "torchaudio.datasets", None)
    with pytest.raises(UsageError, match=r"siglum\[torchaudio\]"):
        corpora.CORPORA[name](tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []

    asked: list[str] = []

    class Sets(ModuleType):
        def __getattr__(self, corpus: str) -> Any:
            def fetch(root: str, *_: Any, download: bool, **__: Any) -> None:
                assert download
                asked.append(corpus)
                make(Path(root), name)

            return fetch

    monkeypatch.setitem(sys.modules, "torchaudio", ModuleType("torchaudio"))
    monkeypatch.setitem(sys.modules, "torchaudio.datasets", Sets("torchaudio.datasets"))
    assert corpora.CORPORA[name](tmp_path, download=True)
    assert asked == [
        {"librispeech": "LIBRISPEECH", "vctk": "VCTK_092", "ljspeech": "LJSPEECH", "musdb": "MUSDB_HQ"}[name]
    ]


def test_an_empty_corpus_is_none(tmp_path: Path) -> None:
    (tmp_path / "LJSpeech-1.1" / "wavs").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="holds no recording"):
        corpora.ljspeech(tmp_path)
