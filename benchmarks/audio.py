"""Recordings by PyAV: files into samples, and samples at another rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.benchmarks.coder import needs
from siglum.benchmarks.items import Audio
from siglum.errors import UnsupportedInputError

LAYOUTS = {1: "mono", 2: "stereo"}


def read_audio(file: Path | Any) -> Audio:
    """Return the samples of a sound file, float32.

    Parameters
    ----------
    file
        A path, or a binary file.

    Raises
    ------
    UnsupportedInputError
        If it holds no sound of one or two channels.
    """
    av = needs("av", "av", "reading sound")
    with av.open(str(file) if isinstance(file, Path) else file) as container:
        if not container.streams.audio:
            raise UnsupportedInputError("there is no sound in it")
        stream = container.streams.audio[0]
        rate = stream.codec_context.sample_rate
        plain = av.AudioResampler(format="fltp")
        parts = [part for frame in container.decode(stream) for part in plain.resample(frame)]
        parts += plain.resample(None)
    blocks = [part.to_ndarray() for part in parts]
    if not blocks or blocks[0].shape[0] not in LAYOUTS:
        raise UnsupportedInputError("sound of one or two channels is coded, and this is none")
    return Audio(np.ascontiguousarray(np.concatenate(blocks, axis=1), np.float32), rate)


def frame_of(audio: Audio) -> Any:
    """Return all of it as one frame of PyAV."""
    av = needs("av", "av", "coding sound")
    samples = np.ascontiguousarray(audio.samples, np.float32)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=LAYOUTS[len(samples)])
    frame.sample_rate = audio.rate
    frame.pts = 0
    return frame


def resample(audio: Audio, rate: int) -> Audio:
    """Return it with another number of samples a second, by FFmpeg's swresample."""
    if rate == audio.rate:
        return audio
    av = needs("av", "av", "resampling")
    converter = av.AudioResampler(format="fltp", rate=rate)
    parts = converter.resample(frame_of(audio)) + converter.resample(None)
    samples: NDArray[np.float32] = np.concatenate([part.to_ndarray() for part in parts], axis=1)
    return Audio(samples, rate)


def fit(audio: Audio, length: int) -> Audio:
    """Return it cut to a length, or with silence at its end."""
    samples = audio.samples[:, :length]
    missing = length - samples.shape[1]
    return Audio(np.pad(samples, ((0, 0), (0, missing))) if missing else samples, audio.rate)
