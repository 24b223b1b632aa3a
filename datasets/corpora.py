"""Corpora of speech and music in the folders that torchaudio keeps them in: LibriSpeech, VCTK, LJ Speech, MUSDB18-HQ.

Reading needs no torchaudio, only the files: the layouts are plain. It is asked for only where files are to be
downloaded, which never happens unless ``download`` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.datasets.audio import load
from siglum.errors import UsageError

SOURCES = ("bass", "drums", "other", "vocals")
MIXTURE = "mixture"


@dataclass(frozen=True)
class Piece:
    """One recording of a corpus.

    Attributes
    ----------
    path
        Its file.
    speaker
        Who speaks, as the corpus calls them; of music the artist. Whoever is held out is held out by this.
    """

    path: Path
    speaker: str

    @property
    def rate(self) -> int:
        """Samples a second of the file."""
        import soundfile

        return int(soundfile.info(self.path).samplerate)

    def samples(self, rate: int | None = None) -> NDArray[np.float32]:
        """All channels (N, C), float32, at the file's rate or another."""
        return load(self.path, self.rate if rate is None else rate)


def librispeech(root: Path | str, subset: str = "train-clean-100", *, download: bool = False) -> list[Piece]:
    """LibriSpeech (Panayotov et al. 2015), 16 kHz: ``LibriSpeech/SUBSET/SPEAKER/CHAPTER/*.flac``.

    Parameters
    ----------
    root
        The folder that holds ``LibriSpeech``, as torchaudio takes it.
    subset
        Such as "train-clean-100", "dev-clean" or "test-clean".
    download
        Whether torchaudio may fetch what is not there.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    UsageError
        If it is to be downloaded and torchaudio cannot.
    """
    folder = Path(root) / "LibriSpeech" / subset
    _fetch(folder, download, lambda sets: sets.LIBRISPEECH(str(root), url=subset, download=True), root)
    return _found(folder, ((path, path.parts[-3]) for path in folder.glob("*/*/*.flac")))


def vctk(root: Path | str, microphone: str = "mic2", *, download: bool = False) -> list[Piece]:
    """VCTK 0.92 (Yamagishi et al. 2019), 48 kHz, or the first release where that is there; parameters as above.

    ``VCTK-Corpus-0.92/wav48_silence_trimmed/SPEAKER/*_MICROPHONE.flac``, or ``VCTK-Corpus/wav48/SPEAKER/*.wav``.
    Speaker p280 has no second microphone and p315 no texts: torchaudio leaves both out, and so does this.

    Parameters
    ----------
    microphone
        "mic1" or "mic2"; the first release has one.
    """
    new = Path(root) / "VCTK-Corpus-0.92" / "wav48_silence_trimmed"
    old = Path(root) / "VCTK-Corpus" / "wav48"
    if not new.is_dir() and old.is_dir():
        return _found(old, ((path, path.parent.name) for path in old.glob("*/*.wav")))
    _fetch(new, download, lambda sets: sets.VCTK_092(str(root), mic_id=microphone, download=True), root)
    left_out = {"p315"} | ({"p280"} if microphone == "mic2" else set())
    files = ((path, path.parent.name) for path in new.glob(f"*/*_{microphone}.flac"))
    return _found(new, (each for each in files if each[1] not in left_out))


def ljspeech(root: Path | str, *, download: bool = False) -> list[Piece]:
    """LJ Speech (Ito and Johnson 2017), 22.05 kHz, one speaker: ``LJSpeech-1.1/wavs/*.wav``; parameters as above."""
    folder = Path(root) / "LJSpeech-1.1" / "wavs"
    _fetch(folder, download, lambda sets: sets.LJSPEECH(str(root), download=True), root)
    return _found(folder, ((path, "LJ") for path in folder.glob("*.wav")))


def musdb(
    root: Path | str, subset: str = "train", sources: tuple[str, ...] = (MIXTURE,), *, download: bool = False
) -> list[Piece]:
    """MUSDB18-HQ (Rafii et al. 2019), 44.1 kHz stereo: ``musdb18hq/SUBSET/ARTIST - TITLE/SOURCE.wav``.

    Parameters
    ----------
    root, download
        As above.
    subset
        "train" or "test".
    sources
        "mixture", or some of "bass", "drums", "other", "vocals".
    """
    unknown = set(sources) - {MIXTURE, *SOURCES}
    if unknown:
        raise ValueError(
            f"sources has {', '.join(sorted(unknown))}, wanted {MIXTURE} or {', '.join(SOURCES)}"
        )
    folder = Path(root) / "musdb18hq" / subset
    _fetch(folder, download, lambda sets: sets.MUSDB_HQ(str(root), subset, download=True), root)
    files = (path for path in folder.glob("*/*.wav") if path.stem in sources)
    return _found(folder, ((path, path.parent.name.split(" - ")[0]) for path in files))


CORPORA: dict[str, Callable[..., list[Piece]]] = {
    "librispeech": librispeech,
    "vctk": vctk,
    "ljspeech": ljspeech,
    "musdb": musdb,
}


def _found(folder: Path, files: Iterator[tuple[Path, str]]) -> list[Piece]:
    pieces = [Piece(path, speaker) for path, speaker in sorted(files)]
    if not pieces:
        raise FileNotFoundError(f"{folder} holds no recording of this corpus")
    return pieces


def _fetch(folder: Path, download: bool, fetch: Callable[[Any], Any], root: Path | str) -> None:
    """Let torchaudio download a corpus that is not there, if that is wanted."""
    if folder.is_dir():
        return
    if not download:
        raise FileNotFoundError(
            f"{folder} is not there: unpack the corpus below {root}, or pass download=True to have torchaudio fetch it"
        )
    try:
        sets = import_module("torchaudio.datasets")
    except (ImportError, OSError, RuntimeError) as error:  # absent, or built for another torch
        raise UsageError(
            f"downloading a corpus needs torchaudio ({error}): pip install 'siglum[torchaudio]', or unpack the corpus "
            f"below {root} yourself"
        ) from error
    Path(root).mkdir(parents=True, exist_ok=True)
    fetch(sets)
