"""Write tests/codecs/audio/golden: files that must decode for as long as their format version and model live.

Run it only when the format or the shipped model changes, and say so in CHANGELOG.md:
    python tests/codecs/audio/make_golden.py
Each NAME.sgl has NAME.flac beside it, what it decoded to (none for no samples), and SYMBOLS.json
the checksums of its chunks' symbols.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import soundfile

from siglum.codecs import container
from siglum.codecs.audio.codec import AudioCodec
from siglum.codecs.audio.edit import Coded, join

FOLDER = Path(__file__).parent / "golden"
MEDIA = Path(__file__).parents[2] / "media"


def files() -> dict[str, bytes]:
    """What is written, by name."""
    speech, rate = soundfile.read(MEDIA / "sense-and-sensibility.flac", dtype="float32")
    short = speech[: 3 * rate]
    stereo = np.stack([short, np.roll(short, 40) * 0.5], 1)[:rate]
    at = np.arange(2 * 44100) / 44100
    chord = sum(np.sin(2 * np.pi * f * at) for f in (220.0, 277.2, 329.6, 6000.0)) * np.exp(-3 * (at % 0.5))
    noise = np.random.default_rng(0).standard_normal(len(at)) * 0.02
    music = np.stack([0.1 * chord + noise, 0.1 * chord - noise], 1).astype(np.float32)
    tone = 0.2 * np.sin(np.arange(44100) * 0.05).astype(np.float32)
    long = AudioCodec(bitrate=2000, frames=50).encode_audio(speech[: 5 * rate], rate)
    part, whole = io.BytesIO(), io.BytesIO()
    Coded(io.BytesIO(long)).cut(20000, 60000, part)
    join([("part", Coded(io.BytesIO(part.getvalue()))), ("long", Coded(io.BytesIO(long)))], whole)
    return {
        "speech-3k": AudioCodec(bitrate=3000).encode_audio(short, rate),
        "speech-best": AudioCodec(quality=100, effort=6).encode_audio(short[:rate], rate),
        "stereo": AudioCodec(quality=40).encode_audio(stereo, rate),
        "resampled": AudioCodec(bitrate=4000).encode_audio(tone, 44100),
        "fullband": AudioCodec(bitrate=16000).encode_audio(music, 44100),
        "nothing": AudioCodec().encode_audio(np.zeros(0, np.float32), 16000),
        "silence": AudioCodec().encode_audio(np.zeros((8000, 1), np.float32), 8000),
        "cut": part.getvalue(),
        "joined": whole.getvalue(),
    }


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    symbols = {}
    for name, data in files().items():
        (FOLDER / f"{name}.sgl").write_bytes(data)
        recording = AudioCodec().decode_audio(data)
        levels = np.clip(np.rint(recording.samples * 32768), -32768, 32767).astype(np.int16)
        if levels.size:
            soundfile.write(FOLDER / f"{name}.flac", levels, recording.rate, subtype="PCM_16")
        symbols[name] = [chunk.symbols_crc for chunk in container.Reader(data).chunks()]
    (FOLDER / "SYMBOLS.json").write_text(json.dumps(symbols, indent=1) + "\n")


if __name__ == "__main__":
    main()
