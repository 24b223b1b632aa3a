"""The audio codecs that others are measured against: Opus, AAC and MP3 by FFmpeg (PyAV), Vorbis by libsndfile.

Every dial is a bit rate in kilobits a second for each channel, but Vorbis's, which is its quality. Files are
whole: Ogg, MPEG-4 and MP3 with what a player needs to drop the encoder's delay.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from siglum.benchmarks.audio import LAYOUTS, frame_of, read_audio, resample
from siglum.benchmarks.coder import Coder, Dial, MissingPeer, needs
from siglum.benchmarks.items import Audio

OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
# MPEG-1 Layer III and AAC have more; what is in between is resampled by FFmpeg's own choice of the next.
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_PAGE = {"page_duration": str(20_000_000)}  # microseconds: Ogg's pages cost 27 bytes each, 1 s is the default


def opus(name: str, threads: int) -> Coder:
    """Opus by libopus, variable rate, complexity 10, frames of 60 ms, its best; ``opus-voip`` is for speech."""
    voip = name == "opus-voip"
    options = {"vbr": "on", "compression_level": "10", "frame_duration": "60"}
    options["application"] = "voip" if voip else "audio"
    dials = (5, 6, 7, 8, 10, 12, 16, 24) if voip else (6, 8, 12, 16, 24, 32, 48, 64)
    return _by_ffmpeg(name, "libopus", "ogg", ".opus", dials, options, OPUS_RATES, extra=_PAGE)


def aac(name: str, threads: int) -> Coder:
    """AAC-LC by FFmpeg's own encoder, in MPEG-4."""
    options = {"aac_coder": "twoloop"}
    return _by_ffmpeg(
        name, "aac", "ipod", ".m4a", (8, 12, 16, 24, 32, 48, 64, 96), options, MP3_RATES, slack=2048
    )


def mp3(name: str, threads: int) -> Coder:
    """MP3 by LAME, average bit rate, its slowest search."""
    options = {"abr": "1", "compression_level": "0"}
    return _by_ffmpeg(
        name, "libmp3lame", "mp3", ".mp3", (8, 12, 16, 24, 32, 48, 64, 96), options, MP3_RATES, slack=1152
    )


def vorbis(name: str, threads: int) -> Coder:
    """Vorbis by libvorbis in libsndfile; its dial is the quality, 0 to 1."""
    soundfile = needs("soundfile", "soundfile", name)

    def encode(audio: Audio, dial: Dial) -> bytes:
        file = io.BytesIO()
        level = 1 - (dial or 0.0)
        soundfile.write(
            file, audio.samples.T, audio.rate, format="OGG", subtype="VORBIS", compression_level=level
        )
        return _with_serial(file.getvalue(), 1)

    def decode(data: bytes) -> Audio:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        return Audio(np.ascontiguousarray(samples.T), rate)

    dials = (0.0, 0.1, 0.25, 0.4, 0.6, 0.8)
    return Coder(
        name,
        "audio",
        ".ogg",
        dials,
        quick=dials[::2],
        version=f"soundfile {soundfile.__version__}, libsndfile {soundfile.__libsndfile_version__}",
        encode=encode,
        decode=decode,
        settings=lambda dial: {"quality": dial, "ogg_serial": 1},
        payload=packets,
    )


def _by_ffmpeg(
    name: str,
    codec: str,
    container: str,
    suffix: str,
    dials: tuple[float, ...],
    options: dict[str, str],
    rates: Sequence[int],
    slack: int = 0,
    extra: dict[str, str] | None = None,
) -> Coder:
    av = needs("av", "av", name)
    if codec not in av.codecs_available:
        raise MissingPeer(f"{name}: this PyAV was built without {codec}")
    muxing = extra or {}

    def encode(audio: Audio, dial: Dial) -> bytes:
        rate = min((r for r in rates if r >= audio.rate), default=max(rates))
        audio = resample(audio, rate)
        channels = len(audio.samples)
        file = io.BytesIO()
        # Without times and random serial numbers, so that the same sound gives the same bytes.
        with av.open(file, "w", format=container, container_options={"fflags": "+bitexact", **muxing}) as out:
            stream = out.add_stream(codec, rate=rate, options={"flags": "+bitexact", **options})
            stream.codec_context.layout = LAYOUTS[channels]
            stream.codec_context.bit_rate = round(1000 * (dial or 0.0) * channels)
            stream.codec_context.thread_count = 1
            for packet in [*stream.encode(frame_of(audio)), *stream.encode(None)]:
                out.mux(packet)
        return file.getvalue()

    libraries = av.library_versions
    numbers = ".".join(map(str, libraries["libavcodec"]))
    return Coder(
        name,
        "audio",
        suffix,
        dials,
        quick=(dials[1], dials[len(dials) // 2], dials[-2]),
        version=f"{codec} of libavcodec {numbers}, PyAV {av.__version__}",
        encode=encode,
        decode=lambda data: read_audio(io.BytesIO(data)),
        settings=lambda dial: {
            "codec": codec,
            "kbps_of_a_channel": dial,
            "container": container,
            **options,
            **muxing,
        },
        slack=slack,
        payload=packets,
    )


def packets(data: bytes) -> int:
    """Bytes of all packets of a file: what its container adds is the rest."""
    av = needs("av", "av", "reading sound")
    with av.open(io.BytesIO(data)) as file:
        return sum(packet.size for packet in file.demux(file.streams.audio[0]))


def _with_serial(data: bytes, serial: int) -> bytes:
    """Give all pages of an Ogg file with one stream a serial number; libsndfile draws it at random."""
    out, at = bytearray(data), 0
    while at < len(data):
        if data[at : at + 4] != b"OggS":
            raise ValueError("libsndfile wrote something else than Ogg pages")
        count = data[at + 26]
        end = at + 27 + count + sum(data[at + 27 : at + 27 + count])
        struct.pack_into("<I", out, at + 14, serial)
        struct.pack_into("<I", out, at + 22, 0)
        struct.pack_into("<I", out, at + 22, _ogg_crc(out[at:end]))
        at = end
    return bytes(out)


def _ogg_crc(page: Any) -> int:
    """CRC-32 of RFC 3533: polynomial 0x04C11DB7, most significant bit first, neither start nor end inverted."""
    crc = 0
    for byte in page:
        crc = (crc << 8) & 0xFFFFFFFF ^ _CRC_TABLE[crc >> 24 ^ byte]
    return crc


def _crc_entry(byte: int) -> int:
    crc = byte << 24
    for _ in range(8):
        crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


_CRC_TABLE = [_crc_entry(byte) for byte in range(256)]
