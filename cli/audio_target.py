"""The smallest coded recording that sounds so well, or the best that is so small."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from siglum.cli.audio_measure import measure, require, speech_of
from siglum.cli.target import Target
from siglum.cli.units import format_size
from siglum.errors import SiglumError, UnsupportedInputError

if TYPE_CHECKING:
    from siglum.cli.audio import AudioSettings, Stopwatch
    from siglum.codecs.audio.files import Original

MOST_SECONDS = 600.0  # of a recording that is decoded and measured again and again
_LEAST, _MOST = 100.0, 1e6  # bits a second that the codec takes


def search(
    file: BinaryIO, wav: bool, goal: Target, settings: AudioSettings, watch: Stopwatch
) -> tuple[bytes, Original, int, dict[str, Any]]:
    """Find a file: it, what the original is, its samples, and what was reached.

    Raises
    ------
    SiglumError
        If there is none; the message says what can be had.
    """
    if goal.kind == "size":
        return _within(file, wav, goal.value, settings, watch)
    return _reaching(file, wav, goal, settings, watch)


def _within(
    file: BinaryIO, wav: bool, limit: float, settings: AudioSettings, watch: Stopwatch
) -> tuple[bytes, Original, int, dict[str, Any]]:
    """The best quality of so many bytes: the bit rate that the length leaves."""
    from siglum.cli.audio import code
    from siglum.codecs.audio.files import open_recording

    with open_recording(file, wav) as original:
        samples = original.length
        if samples is None:
            samples = sum(len(block) for block in original.blocks())
    bitrate = _MOST if not samples else min(8 * limit * original.rate / samples, _MOST)
    smallest = 0.0
    for each in (bitrate, 0.97 * bitrate):
        if each < _LEAST:
            break
        file.seek(0)
        with open_recording(file, wav) as original, tempfile.TemporaryFile() as kept:
            _, written = code(settings.codec(bitrate=each), original, cast(BinaryIO, kept), False, watch)
            kept.seek(0)
            if written <= limit:
                return kept.read(), original, samples, {"asked_kbps": each / 1000}
            smallest = written
    least = f": the smallest that was found has {format_size(smallest)}" if smallest else ""
    raise SiglumError(
        f"no file within {format_size(limit)} is possible for {samples / original.rate:.1f} s{least}"
    )


def _reaching(
    file: BinaryIO, wav: bool, goal: Target, settings: AudioSettings, watch: Stopwatch
) -> tuple[bytes, Original, int, dict[str, Any]]:
    """The lowest quality with which what is decoded measures so well."""
    import numpy as np

    from siglum.codecs.audio.files import open_recording
    from siglum.codecs.audio.recording import Recording, as_samples
    from siglum.codecs.search import TargetNotReached, smallest_level_reaching

    require(goal.kind)
    blocks, count = [], 0
    with open_recording(file, wav) as original:
        for block in original.blocks():
            blocks.append(as_samples(block))
            count += len(block)
            if count > MOST_SECONDS * original.rate:
                raise UnsupportedInputError(
                    f"--target {goal.kind} takes recordings of {MOST_SECONDS / 60:.0f} minutes at most: find the "
                    "quality with a part of this one, and give it with -q"
                )
    samples = np.concatenate([np.empty((0, original.channels), np.float32), *blocks])
    heard = speech_of(Recording(samples, original.rate))
    made: dict[int, bytes] = {}

    def reached(level: int) -> float:
        codec = settings.codec(quality=float(level), model=settings.speech_model)
        with watch:
            made[level] = codec.encode_audio(samples, original.rate, original.depth)
            decoded = codec.decode_audio(made[level])
        return measure(goal.kind, heard, speech_of(decoded))

    try:
        trial = smallest_level_reaching(goal.value, reached, 0, 100)
    except TargetNotReached as error:
        raise SiglumError(
            f"{goal.kind.upper()} {goal.value:g} cannot be reached, the best quality has {error.nearest:.2f}"
        ) from error
    return made[trial.level], original, count, {"quality": trial.level, goal.kind: trial.value}
