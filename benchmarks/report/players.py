"""What the audio players play: whole recordings where they are small, else excerpts that the page carries itself."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from siglum.benchmarks.report.board import Board
from siglum.benchmarks.report.load import Row
from siglum.benchmarks.report.media import EMBED_BYTES, Keep, Versions, few, gather, quality
from siglum.benchmarks.report.sound import Sound, loudest, read_sound

SPECTROGRAMS = 150
RATES = 3  # of the first codec, to each of which the nearest of the others are played, where not all can be
LONGEST, SHORTEST = 8.0, 2.0  # seconds of an excerpt
FLAC_SHARE = 0.6  # about what FLAC leaves of samples of 16 bits
TYPES = {".wav": "wav", ".flac": "flac", ".mp3": "mpeg", ".ogg": "ogg", ".opus": "ogg", ".m4a": "mp4"}


def sounds(board: Board, keep: Keep, items: Sequence[str], embed: bool | None) -> dict[str, Any]:
    """Return items, worst first, with their versions in order of rate, a spectrogram and a loudness of each.

    Parameters
    ----------
    embed
        False: files are referred to. Otherwise they are part of the page: if they are large, excerpts of the worst,
        the median and the best item, as FLAC, all of an item from the same place, that of the loudest seconds.
    """
    found = gather(board, keep, items, ".wav")
    originals = {item: keep.original(item) for item in found}
    files = [path for codecs in found.values() for several in codecs.values() for _, path in several]
    large = sum(path.stat().st_size for path in [*files, *filter(None, originals.values())]) > EMBED_BYTES
    cut = large and embed is not False
    seconds = math.inf
    if cut:
        found = {item: _thinned(found[item]) for item in few(list(found))}
        found, seconds = _fitting(found)
    left = SPECTROGRAMS
    listed = []
    for item, codecs in found.items():
        paths: list[tuple[str, Row | None, Path]] = []
        if (path := originals[item]) is not None:
            paths.append(("", None, path))
        paths += [(codec, row, path) for codec in board.codecs for row, path in codecs.get(codec, [])]
        entry: dict[str, Any] = {"item": item, "original": None, "codecs": {}}
        start: float | None = None
        for codec, row, path in paths:
            sound = read_sound(path)
            if sound is not None and start is None:
                start = loudest(sound, seconds)
                entry["about"] = _about(sound)
            part = sound.part(start or 0.0, seconds) if sound is not None and cut else sound
            made = {"src": _source(path, part, cut, keep, embed), **_described(part, left > 0)}
            left -= 1
            if made["src"] is None:
                continue
            if row is None:
                entry["original"] = made
            else:
                made = {"dial": row.dial, "rate": row.rate, "quality": quality(board, row), **made}
                entry["codecs"].setdefault(codec, []).append(made)
        listed.append(entry)
    return {
        "unit": board.unit,
        "items": listed,
        "embedded": embed is not False,
        "seconds": seconds if cut else None,
        "khz": max((sound["khz"] for one in listed for sound in _all(one) if "khz" in sound), default=0),
    }


def _about(sound: Sound) -> str:
    """Duration, rate and channels of a recording in words."""
    channels = {1: "mono", 2: "stereo"}.get(sound.channels, f"{sound.channels} channels")
    return f"{sound.samples.shape[-1] / sound.rate:.1f} s, {sound.rate / 1000:g} kHz, {channels}"


def _all(entry: dict[str, Any]) -> list[dict[str, Any]]:
    versions = [one for several in entry["codecs"].values() for one in several]
    return [*([entry["original"]] if entry["original"] else []), *versions]


def _thinned(codecs: Versions) -> Versions:
    """Return the least, a middle and the highest rate of the first codec, and of others what is nearest to these."""
    first = next(iter(codecs.values()))
    places = sorted({round(i * (len(first) - 1) / (RATES - 1)) for i in range(RATES)})
    targets = [math.log(first[place][0].rate) for place in places]
    kept: Versions = {}
    for codec, versions in codecs.items():
        nearest = [min(versions, key=lambda one: abs(math.log(one[0].rate) - target)) for target in targets]
        kept[codec] = [one for one in versions if one in nearest]
    return kept


def _fitting(found: dict[str, Versions]) -> tuple[dict[str, Versions], float]:
    """Return what can be embedded, and of how many seconds each: fewer items where seconds would be too few."""
    while True:
        second = 0.0  # bytes of a second of all of it
        for codecs in found.values():
            (_, path), *rest = [one for several in codecs.values() for one in several]
            sound = read_sound(path)
            second += 0.0 if sound is None else 2 * sound.rate * sound.channels * FLAC_SHARE * (2 + len(rest))
        seconds = EMBED_BYTES / max(second, 1.0)
        if seconds >= SHORTEST or len(found) == 1:
            return found, min(max(seconds, SHORTEST), LONGEST)
        found = dict(list(found.items())[:-1])


def _source(path: Path, part: Sound | None, cut: bool, keep: Keep, embed: bool | None) -> str | None:
    if cut and part is not None:
        kind, data = part.packed()
        return f"data:audio/{kind};base64," + base64.b64encode(data).decode()
    if path.suffix.lower() not in TYPES:
        return None
    if embed is False:
        return keep.link(path)
    return f"data:audio/{TYPES[path.suffix.lower()]};base64," + base64.b64encode(path.read_bytes()).decode()


def _described(sound: Sound | None, draw: bool) -> dict[str, Any]:
    if sound is None:
        return {}
    described: dict[str, Any] = {"rms": sound.rms, "khz": sound.rate / 2000}
    if draw:
        described["spectrogram"] = "data:image/png;base64," + base64.b64encode(sound.spectrogram()).decode()
    return described
