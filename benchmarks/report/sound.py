"""Sounds for the players: their loudness, and spectrograms as small PNGs."""

from __future__ import annotations

import io
import math
import wave
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from siglum.errors import SiglumError

FLOOR_DB = -80.0
WIDTH, HEIGHT = 480, 128
# Dark to light, growing in lightness throughout: readable without colours too.
_STOPS = (
    *((0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99)),
    *((212, 72, 66), (245, 125, 21), (250, 193, 39), (252, 255, 164)),
)


@dataclass(frozen=True)
class Sound:
    """Samples (channels, n) from -1 to 1, or (n,), at a rate in Hz."""

    samples: NDArray[np.float32]
    rate: int

    @property
    def channels(self) -> int:
        """Number of channels."""
        return 1 if self.samples.ndim == 1 else len(self.samples)

    @property
    def mono(self) -> NDArray[np.float32]:
        """The mean of the channels, (n,)."""
        return self.samples if self.samples.ndim == 1 else self.samples.mean(axis=0)

    @property
    def rms(self) -> float:
        """Root of the mean square, for players to be set equally loud."""
        mono = self.mono
        return float(np.sqrt(np.mean(np.square(mono, dtype=np.float64)))) if len(mono) else 0.0

    def part(self, start: float, seconds: float) -> Sound:
        """Return so many seconds from a time on."""
        first = round(start * self.rate)
        return Sound(self.samples[..., first : first + round(min(seconds, 1e6) * self.rate)], self.rate)

    def packed(self) -> tuple[str, bytes]:
        """Return a type and a file of 16 bits a sample: FLAC where libsndfile is there, else WAV."""
        samples = np.rint(np.clip(np.atleast_2d(self.samples).T, -1, 1) * 32767).astype("<i2")
        file = io.BytesIO()
        try:
            soundfile = import_module("soundfile")
        except (ImportError, OSError):
            with wave.open(file, "wb") as out:
                out.setnchannels(self.channels)
                out.setsampwidth(2)
                out.setframerate(self.rate)
                out.writeframes(samples.tobytes())
            return "wav", file.getvalue()
        soundfile.write(file, samples, self.rate, format="FLAC", subtype="PCM_16")
        return "flac", file.getvalue()

    def spectrogram(self) -> bytes:
        """Return a PNG: time to the right, frequency up to half the rate, 80 dB from dark to light."""
        window = 1024 if self.rate > 20000 else 512
        samples = self.mono
        samples = np.pad(samples, (0, max(0, window - len(samples))))
        starts = np.linspace(0, len(samples) - window, min(WIDTH, len(samples) // 64 + 1)).astype(int)
        frames = samples[starts[:, None] + np.arange(window)] * np.hanning(window).astype(np.float32)
        power = np.abs(np.fft.rfft(frames, axis=1))[:, : window // 2] / (window / 4)
        bands = power.reshape(len(starts), HEIGHT, -1).max(axis=2)
        decibels = 20 * np.log10(np.maximum(bands, 10 ** (FLOOR_DB / 20)))
        levels = np.clip((1 - decibels / FLOOR_DB) * 31, 0, 31).astype(np.uint8).T[::-1]
        image = Image.fromarray(np.ascontiguousarray(levels), "L").convert("P")
        image.putdata(levels.reshape(-1).tolist())
        image.putpalette(_palette())
        file = io.BytesIO()
        image.save(file, "PNG", optimize=True, bits=5)
        return file.getvalue()


def loudest(sound: Sound, seconds: float) -> float:
    """Return the time at which the loudest so many seconds begin."""
    length = round(min(seconds, 1e6) * sound.rate)
    energy = np.concatenate([[0.0], np.cumsum(np.square(sound.mono, dtype=np.float64))])
    if len(energy) <= length + 1:
        return 0.0
    return float(np.argmax(energy[length:] - energy[:-length])) / sound.rate


def read_sound(path: Path) -> Sound | None:
    """Return a file's sound: WAV of whole numbers, and what PyAV reads if it is there; else None."""
    return _read_wave(path) or _read_other(path)


def _read_other(path: Path) -> Sound | None:
    try:
        audio = import_module("siglum.benchmarks.audio").read_audio(path)
    except (ImportError, SiglumError, OSError, ValueError):  # PyAV's errors are OSErrors or ValueErrors
        return None
    return Sound(np.asarray(audio.samples, np.float32), int(audio.rate))


def _read_wave(path: Path) -> Sound | None:
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = np.frombuffer(file.readframes(file.getnframes()), np.uint8)
    except (OSError, EOFError, wave.Error):
        return None
    if width not in (1, 2, 3, 4) or not channels or not math.isfinite(rate) or rate <= 0:
        return None
    whole = data[: len(data) - len(data) % (width * channels)].reshape(-1, width)
    if width == 1:
        samples = (whole[:, 0].astype(np.float32) - 128) / 128
    else:
        padded = np.zeros((len(whole), 4), np.uint8)
        padded[:, 4 - width :] = whole
        samples = padded.view("<i4")[:, 0].astype(np.float32) / 2**31
    return Sound(np.ascontiguousarray(samples.reshape(-1, channels).T), rate)


def _palette() -> list[int]:
    at = np.linspace(0, len(_STOPS) - 1, 32)
    stops = np.array(_STOPS, np.float64)
    colours = np.stack([np.interp(at, np.arange(len(_STOPS)), stops[:, c]) for c in range(3)], axis=1)
    return [int(value) for value in colours.round().reshape(-1)]
