"""From rows on disk to the page: what each section shows, handed to the templates."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from siglum.benchmarks.report import published as publications
from siglum.benchmarks.report.board import Board, boards_of
from siglum.benchmarks.report.codebooks import codebooks
from siglum.benchmarks.report.compare import CONFIDENCE, LEAST_OVERLAP, RESAMPLES
from siglum.benchmarks.report.load import Row, Rows, load
from siglum.benchmarks.report.media import Keep, pictures
from siglum.benchmarks.report.players import sounds
from siglum.benchmarks.report.plots import MARKERS
from siglum.benchmarks.report.sections import health, rate_plots, speed_plots
from siglum.benchmarks.report.verdict import sentences, signed, subject_of

TEMPLATES = Path(__file__).parent / "templates"
GREY_OVERLAP = 0.75


@dataclass
class Section:
    """One medium, as the template takes it."""

    board: Board
    anchor: str
    sentences: list[str]
    facing: dict[str, str]
    plots: list[Any]
    speeds: list[Any]
    published_note: str
    published: list[publications.Curve]
    health: list[Any]
    codebooks: list[Any]
    worst: dict[tuple[str, str], list[str]]
    viewer: dict[str, Any]
    players: dict[str, Any]


def render(
    rows_path: Path,
    out: Path,
    *,
    keep: Path | None = None,
    anchor: str = "jpeg",
    published: bool = True,
    embed: bool | None = None,
) -> None:
    """Make the page of a file of rows: one HTML file that needs nothing else and no network.

    Parameters
    ----------
    rows_path
        JSON lines as `codec bench --json` writes them. Lines that are no rows are listed as failures.
    out
        The page; it is replaced whole, or left as it was.
    keep
        Folder of streams and decoded media, which become the viewer and the players.
    anchor
        The codec that the page compares with at first; every other can be chosen on it.
    published
        Whether to draw published curves where they fit the data.
    embed
        Whether media are part of the page, then only of the worst, the median and the best item if they
        are large; or are referred to where they lie. By their size if None.

    Raises
    ------
    UsageError
        If the rows cannot be read.
    """
    html = page(load(rows_path), rows_path, out, keep, anchor, published, embed)
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(html)
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(out)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def page(
    found: Rows,
    rows_path: Path,
    out: Path,
    keep: Path | None,
    anchor: str,
    published: bool,
    embed: bool | None,
) -> str:
    """Return the page of rows as text; the parameters are those of `render`."""
    entries = found.run.get("data")
    data = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    kept = Keep(keep, out, [Path(str(entry["path"])) for entry in data if entry.get("path")])
    sections = [_section(board, kept, anchor, published, embed) for board in boards_of(found.rows)]
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "signed": signed,
        "value": _value,
        "dial": _dial,
        "short": _short,
        "aside": _aside,
    }
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # codecs keep their order
    return environment.get_template("page.html.j2").render(
        run=_run(found.run),
        data=data,
        rows_name=rows_path.name,
        rows_digest=hashlib.sha256(rows_path.read_bytes()).hexdigest(),
        failures=found.failures,
        sections=sections,
        count=len(found.rows),
        script=Markup(script),
        script_digest=digest,
        style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        markers=MARKERS,
        grey=GREY_OVERLAP,
        least=LEAST_OVERLAP,
        resamples=RESAMPLES,
        confidence=CONFIDENCE,
        speed_of=_speed_of,
        stream=lambda row: (path := kept.stream(row)) and kept.link(path),
        inf=math.inf,
    )


def _section(board: Board, keep: Keep, wanted: str, published: bool, embed: bool | None) -> Section:
    anchor = board.anchor(wanted)
    curves, note = _published(board) if published else ([], "")
    subject = subject_of(board)
    facing = {
        name: next((one for one in [subject, *board.codecs] if one is not None and one != name), "")
        for name in board.codecs
    }
    worst = {
        (name, metric.key): board.worst_first(facing[name], name, metric)
        for name in board.codecs
        for metric in board.metrics
    }
    keys = {metric.key for metric in board.metrics}
    items = worst[anchor, board.metrics[0].key] if board.metrics else board.items
    players = sounds(board, keep, items, embed) if board.medium == "audio" else {"items": []}
    viewer = pictures(board, keep, items, embed) if board.medium == "image" else {"items": []}
    return Section(
        board=board,
        anchor=anchor,
        sentences=sentences(board),
        facing=facing,
        plots=rate_plots(board, curves),
        speeds=speed_plots(board),
        published_note=note,
        published=list({curve.codec: curve for curve in reversed(curves) if curve.metric in keys}.values())[
            ::-1
        ],
        health=health(board),
        codebooks=codebooks(board, keep) if board.medium == "audio" else [],
        worst=worst,
        viewer=viewer,
        players=players,
    )


def _published(board: Board) -> tuple[list[publications.Curve], str]:
    """Return the published curves that fit a board, and what is to be said of them."""
    if board.medium == "image":
        return publications.kodak(board.items)
    if board.medium != "audio":
        return [], ""
    keys = {metric.key for metric in board.metrics}
    curves, note = publications.audio()
    fitting = [curve for curve in curves if curve.metric in keys]
    return fitting, note if fitting else ""


def _run(run: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what the run says of itself, as names and texts."""
    machine = run.get("machine")
    if isinstance(machine, dict):
        names = {"cores": "{} cores", "python": "Python {}", "isa": "ISA {}"}
        parts = [names.get(key, "{}").format(value) for key, value in machine.items() if value is not None]
        machine = ", ".join(parts)
    versions = run.get("versions")
    if isinstance(versions, dict):
        versions = ", ".join(f"{name} {value}" for name, value in versions.items())
    known = {
        "Date": run.get("date"),
        "Commit": run.get("commit") or "none recorded",
        "Machine": machine,
        "Versions": versions,
        "Threads": run.get("threads"),
        "Seed": run.get("seed"),
        "Command": run.get("command"),
    }
    return [(name, str(value)) for name, value in known.items() if value is not None]


def _aside(text: str) -> Markup:
    """Mark what stands in brackets, so that it can be printed lighter."""
    return Markup(re.sub(r"(\([^()]*\))", r'<span class="aside">\1</span>', str(escape(text))))


def _value(value: float | None, digits: int = 2) -> str:
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value and abs(value) < 10.0**-digits:
        return f"{value:.2e}".replace("-", "−")
    return f"{value:.{digits}f}".replace("-", "−")


def _short(value: float | None) -> str:
    """Return a number of three digits, for speeds and times."""
    if value is None or not math.isfinite(value):
        return "–"
    digits = 0 if value >= 100 else max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{min(digits, 6)}f}"


def _dial(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _speed_of(row: Row, seconds: float, unit: str) -> str:
    scale = 1.0 if unit == "kbps" else 1e6
    return _short(row.units / seconds / scale if seconds > 0 else None)
