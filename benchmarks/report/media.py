"""Decoded media: found beside the rows; pictures for the viewer, embedded or referred to."""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from siglum.benchmarks.report.board import Board
from siglum.benchmarks.report.load import Row

EMBED_BYTES = 6 * 2**20  # with less than this the page carries everything itself
BROWSER_PICTURES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".gif": "gif"}
Versions = dict[str, list[tuple[Row, Path]]]


class Keep:
    """The folder of streams and decoded media, ``<codec>/<dial>/<item>.*``, as the page sees it.

    Parameters
    ----------
    folder
        None if nothing was kept.
    page
        The file of the page; files that are not embedded are named relative to it.
    data
        Paths of the datasets, where the originals are.
    """

    def __init__(self, folder: Path | None, page: Path, data: Sequence[Path]) -> None:
        self.folder, self.page, self.data = folder, page, list(data)

    def decoded(self, row: Row, suffix: str) -> Path | None:
        """Return the decoded medium of a row, if it was kept."""
        return next((path for path in self._candidates(row, suffix) if path.is_file()), None)

    def stream(self, row: Row) -> Path | None:
        """Return the compressed file of a row, if it was kept."""
        for folder in self._folders(row):
            item = folder / row.item
            if _inside(item, folder) and item.parent.is_dir():
                for path in sorted(item.parent.iterdir()):
                    named = path.stem in (item.name, item.stem) and path.suffix not in (".png", ".wav")
                    if named and path.is_file():
                        return path
        return None

    def original(self, item: str) -> Path | None:
        """Return the item itself, if its dataset is still where it was."""
        for root in self.data:
            path = root / item
            if _inside(path, root) and path.is_file():
                return path
            if root.is_file() and root.name == Path(item).name:
                return root
        return None

    def link(self, path: Path) -> str:
        """Return the address of a file relative to the page."""
        try:
            relative = os.path.relpath(path.resolve(), self.page.resolve().parent)
        except ValueError:  # on another drive
            return path.resolve().as_uri()
        return quote(Path(relative).as_posix())

    def _candidates(self, row: Row, suffix: str) -> list[Path]:
        found = []
        for folder in self._folders(row):
            for path in (folder / (row.item + suffix), (folder / row.item).with_suffix(suffix)):
                if _inside(path, folder):
                    found.append(path)
        return found

    def _folders(self, row: Row) -> list[Path]:
        if self.folder is None:
            return []
        dials = ("none", "None", "null", "-") if row.dial is None else (f"{row.dial:g}", str(row.dial))
        return [
            self.folder / row.codec / dial for dial in dials if _inside(self.folder / row.codec, self.folder)
        ]


def gather(board: Board, keep: Keep, items: Sequence[str], suffix: str) -> dict[str, Versions]:
    """Return by item what was decoded, by codec in order of rate; items in the order given."""
    found: dict[str, Versions] = {}
    for row in sorted(board.rows, key=lambda row: row.rate):
        path = keep.decoded(row, suffix)
        if path is not None:
            found.setdefault(row.item, {}).setdefault(row.codec, []).append((row, path))
    return {item: found[item] for item in items if item in found}


def few(items: Sequence[str]) -> list[str]:
    """Return the first, the middle and the last of items."""
    return list(dict.fromkeys([items[0], items[len(items) // 2], items[-1]]))


def pictures(board: Board, keep: Keep, items: Sequence[str], embed: bool | None) -> dict[str, Any]:
    """Return what the image viewer shows: items, worst first, each with its versions in order of rate.

    Parameters
    ----------
    embed
        Whether pictures become part of the page, then of a few items only; by size if None.
    """
    found = gather(board, keep, items, ".png")
    order = list(found)
    originals = {item: keep.original(item) for item in order}
    files = [path for codecs in found.values() for several in codecs.values() for _, path in several]
    size = sum(path.stat().st_size for path in [*files, *filter(None, originals.values())])
    if embed is None:
        embed = size <= EMBED_BYTES
    elif embed and size > EMBED_BYTES:
        order = few(order)
        found = {item: _matched(found[item]) for item in order}

    def source(path: Path) -> str | None:
        kind = BROWSER_PICTURES.get(path.suffix.lower())
        if kind is None:
            return _converted(path)
        if embed:
            return f"data:image/{kind};base64," + base64.b64encode(path.read_bytes()).decode()
        return keep.link(path)

    listed = []
    for item in order:
        original = originals[item]
        entry: dict[str, Any] = {"item": item, "original": None, "codecs": {}}
        if original is not None and (address := source(original)):
            entry["original"] = {"src": address}
        for codec in board.codecs:
            versions = [
                {"dial": row.dial, "rate": row.rate, "quality": quality(board, row), "src": source(path)}
                for row, path in found[item].get(codec, [])
            ]
            if versions:
                entry["codecs"][codec] = versions
        listed.append(entry)
    return {"unit": board.unit, "items": listed, "embedded": embed}


def _matched(codecs: Versions) -> Versions:
    """Return one version a codec, all of about the rate that is in the middle of the first one's."""
    first = next(iter(codecs.values()))
    target = math.log(first[len(first) // 2][0].rate)
    return {
        codec: [min(versions, key=lambda version: abs(math.log(version[0].rate) - target))]
        for codec, versions in codecs.items()
    }


def quality(board: Board, row: Row) -> str:
    """Return the first metrics of a row as a line of text."""
    texts = []
    for metric in board.metrics[:3]:
        value = row.metrics.get(metric.key, math.nan)
        if not math.isnan(value):
            shown = "exact" if math.isinf(value) else f"{value:.{metric.digits}f} {metric.unit}".strip()
            texts.append(f"{metric.label} {shown}")
    return ", ".join(texts)


def _converted(path: Path) -> str | None:
    """Return a picture that no browser shows as a PNG in the page."""
    from PIL import Image

    file = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.convert("RGB").save(file, "PNG")
    except (OSError, ValueError):
        return None
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _inside(path: Path, folder: Path) -> bool:
    """Whether a path made with a name from the rows stays in its folder."""
    return Path(os.path.normpath(path)).is_relative_to(os.path.normpath(folder))
