"""Recordings in files of other formats, read and written in pieces: WAV here, all others by libsndfile."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.codecs.audio.recording import Recording, as_samples, check_form
from siglum.codecs.audio.wav import UnknownWav, WavReader, WavWriter, quantised
from siglum.errors import SiglumError, UnsupportedInputError, UsageError

FORMATS = {".wav": "wav", ".flac": "flac", ".ogg": "ogg", ".oga": "ogg", ".raw": "raw", ".pcm": "raw"}
WRITTEN = ("wav", "flac", "ogg", "raw")
DEPTHS = (16, 24, 32)
_BLOCK = 2**15  # samples of each channel that libsndfile reads at once
_VORBIS_BLOCK = 4096  # ... and takes: libvorbis keeps what it is given at once on its stack
_DEPTHS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "ALAC_16": 16, "ALAC_24": 24}
_GUESSED = ("MP3",)  # formats of which libsndfile may only guess the length
_TALKATIVE = ("MP3",)  # ... and those whose libraries write to standard error themselves


@dataclass
class Original:
    """A recording that is being read.

    Attributes
    ----------
    rate, channels
        Of the recording.
    depth
        Bits of a sample where they are integers, or None.
    length
        Samples of each channel if that is sure, or None.
    """

    rate: int
    channels: int
    depth: int | None
    length: int | None
    _source: Any = field(repr=False)

    @property
    def notice(self) -> str | None:
        """What is to be said of the file once it has been read."""
        notice: str | None = self._source.notice
        return notice

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Samples (N, C), floats or signed integers of full scale, in pieces as they come."""
        blocks: Iterator[NDArray[Any]] = self._source.blocks()
        return blocks


class Writer(Protocol):
    """What takes the samples of a recording."""

    def write(self, samples: NDArray[np.float32]) -> None:
        """Add samples (N, C)."""

    def close(self) -> None:
        """End the file; the file object stays open."""


@contextmanager
def open_recording(file: BinaryIO, wav: bool) -> Iterator[Original]:
    """Open a recording for reading.

    Parameters
    ----------
    file
        A binary file object at the first byte. Where it cannot seek, a WAV file is read as it comes, and others are
        kept in a temporary file first.
    wav
        Whether it begins as a WAV file does.

    Raises
    ------
    UnsupportedInputError
        If it is no recording, damaged, or of a kind that is not read; or its rate or channels are none that are coded.
    SiglumError
        If soundfile is needed and is not installed.
    """
    with ExitStack() as stack:
        if not (wav or file.seekable()):
            file = _kept(file, stack)
        source: WavReader | _SoundFile
        start = file.tell() if file.seekable() else 0
        try:
            source = WavReader(file) if wav else _SoundFile(file)
        except UnknownWav:
            if not file.seekable():
                raise
            file.seek(start)
            source = _SoundFile(file)
        check_form(source.rate, source.channels)
        yield Original(source.rate, source.channels, source.depth, source.length, source)


def read_recording(file: BinaryIO, wav: bool) -> Recording:
    """All of a recording; parameters and errors as of `open_recording`."""
    with open_recording(file, wav) as original:
        blocks: list[ArrayLike] = [as_samples(block) for block in original.blocks()]
        empty = np.empty((0, original.channels), np.float32)
        return Recording(np.concatenate([empty, *blocks]), original.rate)


@contextmanager
def open_writer(
    file: BinaryIO, form: str, rate: int, channels: int, depth: int | None = None, length: int | None = None
) -> Iterator[Writer]:
    """Open a file for the samples of a recording; it is ended unless an exception passes.

    Parameters
    ----------
    file
        A binary file object. Where it cannot seek, FLAC and Ogg are made in a temporary file first.
    form
        One of `WRITTEN`.
    rate, channels
        Of the recording.
    depth
        Bits that its samples had; less than 16 are written as 16.
    length
        Samples of each channel, if that is known.

    Raises
    ------
    UsageError
        If the format does not hold such recordings.
    """
    bits = min((each for each in DEPTHS if each >= (depth or 0)), default=DEPTHS[-1])
    writer: Writer
    if form in ("wav", "raw"):
        writer = WavWriter(file, rate, channels, bits, length) if form == "wav" else _RawWriter(file, bits)
        yield writer
        writer.close()
        return
    with ExitStack() as stack:
        kept = file if file.seekable() else stack.enter_context(tempfile.TemporaryFile())
        writer = _SoundWriter(kept, form, rate, channels, bits)
        try:
            yield writer
        finally:
            writer.close()
        if kept is not file:
            kept.seek(0)
            shutil.copyfileobj(kept, file)


def _kept(file: BinaryIO, stack: ExitStack) -> BinaryIO:
    """All that a pipe holds, in a temporary file."""
    kept: BinaryIO = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    shutil.copyfileobj(file, kept)
    kept.seek(0)
    return kept


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # the library itself may be what is missing
        raise SiglumError("FLAC, Ogg, MP3 and AIFF need soundfile: pip install soundfile") from error
    return soundfile


class _SoundFile:
    """A recording that libsndfile reads."""

    def __init__(self, file: BinaryIO) -> None:
        library = _soundfile()
        self._error = library.LibsndfileError
        try:
            with _silence():
                self._file = library.SoundFile(file)
        except self._error as error:
            raise UnsupportedInputError(
                f"it cannot be read: damaged, or of a kind that libsndfile does not know ({_reason(error)})"
            ) from error
        self.rate, self.channels = int(self._file.samplerate), int(self._file.channels)
        self.depth = _DEPTHS.get(self._file.subtype)
        announced = int(self._file.frames)
        self._announced = announced if 0 <= announced < 2**40 else None
        self.length = None if self._file.format in _GUESSED else self._announced
        self.notice: str | None = None

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Samples (N, C) in pieces."""
        count = 0
        while True:
            try:
                with _silence() if self._file.format in _TALKATIVE else nullcontext():
                    block = self._file.read(_BLOCK, dtype="float32", always_2d=True)
            except self._error as error:
                raise UnsupportedInputError(
                    f"it cannot be read on from {count / self.rate:.2f} s: it is damaged ({_reason(error)})"
                ) from error
            if not len(block):
                break
            count += len(block)
            yield block
        if self._announced is not None and count < self._announced:
            text = (
                f"it announces {self._announced / self.rate:.2f} s, and ends after {count / self.rate:.2f} s"
            )
            if self.length is not None:
                raise UnsupportedInputError(f"{text}: it is damaged or cut off, get it again")
            self.notice = f"{text}: what came was taken"


class _SoundWriter:
    """A recording that libsndfile writes."""

    def __init__(self, file: BinaryIO, form: str, rate: int, channels: int, depth: int) -> None:
        library = _soundfile()
        kind = "VORBIS" if form == "ogg" else f"PCM_{min(depth, 24)}"
        try:
            self._file = library.SoundFile(
                file, "w", samplerate=rate, channels=channels, format=form.upper(), subtype=kind
            )
        except (library.LibsndfileError, ValueError, TypeError) as error:
            raise UsageError(
                f"{form.upper()} does not hold {channels} channels at {rate} Hz: write WAV"
            ) from error

    def write(self, samples: NDArray[np.float32]) -> None:
        """Add samples (N, C), clipped to full scale."""
        clipped = np.clip(samples, -1, 1)
        for at in range(0, len(clipped), _VORBIS_BLOCK):
            self._file.write(clipped[at : at + _VORBIS_BLOCK])

    def close(self) -> None:
        """End the file; the file object stays open."""
        self._file.close()


class _RawWriter:
    """Samples alone, little-endian integers, channel by channel."""

    def __init__(self, file: BinaryIO, depth: int) -> None:
        self._file, self._depth = file, depth

    def write(self, samples: NDArray[np.float32]) -> None:
        """Add samples (N, C)."""
        self._file.write(quantised(samples, self._depth))

    def close(self) -> None:
        """Do nothing: samples alone have no end."""


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what C libraries write to standard error from being seen; what is wrong they also return."""
    try:
        before = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nothing)


def _reason(error: Exception) -> str:
    """What libsndfile says, without its frame."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".").lower()
