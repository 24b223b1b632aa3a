"""Curves that others published, to be drawn beside measured ones, and marked as what they are."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from siglum.benchmarks.report.load import number

KODAK = Path(__file__).parent.parent / "published" / "kodak_rd.json"
AUDIO = KODAK.with_name("audio.json")
PICTURES = 24
# Of what is published these are shown at first; the reader may choose others.
SHOWN = ("vtm", "bpg444", "mbt2018-mean", "elic2022", "mlicplusplus")


@dataclass(frozen=True)
class Curve:
    """A published curve: metric as in the rows, points (rate, value), its source, what it was measured on."""

    codec: str
    metric: str
    points: tuple[tuple[float, float], ...]
    source: str
    shown: bool = False
    data: str = ""


def kodak(items: list[str], path: Path | None = None) -> tuple[list[Curve], str]:
    """Return the curves for a run over the 24 Kodak pictures; else none, and why.

    Published curves are means over all 24: beside the mean of some of them they would mislead.
    """
    numbers = {match[1] for item in items if (match := re.search(r"kodim(\d\d)\.\w+$", item))}
    if not numbers:
        return [], ""
    if len(numbers) < PICTURES or len(items) > PICTURES:
        return [], (
            f"Published curves are not drawn: they are means over the {PICTURES} Kodak pictures, "
            f"and this run has {len(items)} items."
        )
    try:
        data = json.loads((path or KODAK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [], "Published curves are not drawn: their file is not there."
    listed = data if isinstance(data, list) else next(iter(_lists(data)), [])
    return _curves(listed), ""


def audio(path: Path | None = None) -> tuple[list[Curve], str]:
    """Return the published points of audio codecs and a caution: none was measured on the recordings of a run."""
    try:
        data = json.loads((path or AUDIO).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [], "Published points are not drawn: their file is not there."
    curves = [replace(curve, shown=True) for curve in _curves(next(iter(_lists(data)), []))]
    return curves, f"Published points are not of this run. {data['caution']}" if curves else ""


def _lists(data: Any) -> list[list[Any]]:
    return [value for value in data.values() if isinstance(value, list)] if isinstance(data, dict) else []


def _curves(listed: list[Any]) -> list[Curve]:
    found: list[Curve] = []
    for entry in listed:
        if not isinstance(entry, dict) or not isinstance(entry.get("points"), list):
            continue
        points = [tuple(map(number, point)) for point in entry["points"] if isinstance(point, list)]
        pairs = tuple(sorted((point[0], point[1]) for point in points if len(point) == 2))
        if pairs:
            metric = str(entry.get("metric", "psnr")).replace("-", "_")
            name, source, data = (str(entry.get(key, "")) for key in ("codec", "source", "data"))
            found.append(Curve(name or "?", metric, pairs, source, data=data))
    for name in SHOWN:
        # Of several curves of one codec, that which reaches the most: others were trained for another metric.
        for metric in {curve.metric for curve in found}:
            same = [
                i for i, curve in enumerate(found) if (curve.codec.lower(), curve.metric) == (name, metric)
            ]
            if same:
                best = max(same, key=lambda i: found[i].points[-1][1])
                found[best] = replace(found[best], shown=True)
    return found
