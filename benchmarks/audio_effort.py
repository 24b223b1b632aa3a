"""What the audio codec's efforts gain and take.

    python -m siglum.benchmarks.audio_effort RECORDING… -b 3,6 -e 1,5,8

Whole files, one thread; PESQ-WB and STOI of the decoded recordings, and how many times faster than the sound both
directions are, by the time of the thread, the quicker of two calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click
import numpy as np

from siglum.benchmarks import audio_metrics
from siglum.benchmarks.audio import read_audio
from siglum.benchmarks.items import Audio
from siglum.benchmarks.machine import describe
from siglum.codecs.audio.codec import AudioCodec
from siglum.codecs.audio.recording import Recording

T = TypeVar("T")


def measure(recording: Audio, codec: AudioCodec) -> dict[str, float]:
    """What one recording costs and keeps with a codec."""
    data, encoding = _timed(lambda: codec.encode_audio(recording.samples.T, recording.rate))
    made, decoding = _timed(lambda: codec.decode_audio(data))
    decoded = _audio(made)
    return {
        "kbps": 8e-3 * len(data) / recording.seconds,
        "pesq": audio_metrics.pesq(recording, decoded),
        "stoi": audio_metrics.stoi(recording, decoded),
        "encode": recording.seconds / encoding,
        "decode": recording.seconds / decoding,
    }


def _audio(made: Recording) -> Audio:
    return Audio(np.ascontiguousarray(made.samples.T), made.rate)


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    times = []
    for _ in range(2):
        begin = time.thread_time()
        result = call()
        times.append(time.thread_time() - begin)
    return result, max(min(times), 1e-9)


def numbers(text: str) -> list[float]:
    """Numbers with commas between them."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise click.UsageError(f"{text!r} is no list of numbers") from None


@click.command()
@click.argument("recordings", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-b", "--bitrates", default="3,6", show_default=True, help="Kilobits a second.")
@click.option("-e", "--efforts", default="1,3,5,8", show_default=True)
@click.option("--model", default="speech", show_default=True)
def main(recordings: Sequence[Path], bitrates: str, efforts: str, model: str) -> None:
    """Means over recordings for every bit rate and effort."""
    heard = [read_audio(path) for path in recordings]
    print(describe(f"{len(heard)} recordings, model {model}, one thread, times of threads"))
    print(
        f"{'kbps':>6} {'effort':>6} {'kbps of files':>14} {'PESQ-WB':>8} {'STOI':>6} {'encode x':>9} {'decode x':>9}"
    )
    for bitrate in numbers(bitrates):
        for effort in numbers(efforts):
            codec = AudioCodec(bitrate=1000 * bitrate, model=model, effort=int(effort), threads=1)
            rows = [measure(each, codec) for each in heard]
            mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
            print(
                f"{bitrate:6g} {effort:6g} {mean['kbps']:14.2f} {mean['pesq']:8.3f} {mean['stoi']:6.3f} "
                f"{mean['encode']:9.0f} {mean['decode']:9.0f}"
            )


if __name__ == "__main__":
    main()
