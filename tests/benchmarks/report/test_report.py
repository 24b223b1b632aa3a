from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siglum.benchmarks.report import render
from siglum.benchmarks.report.board import boards_of
from siglum.benchmarks.report.compare import compare, samples_of
from siglum.benchmarks.report.load import load
from siglum.benchmarks.report.measures import metrics_of
from siglum.benchmarks.report.plots import NARROW, WIDE, Series, plot
from siglum.benchmarks.report.published import audio, kodak
from siglum.benchmarks.report.sound import Sound, loudest, read_sound
from siglum.benchmarks.report.verdict import sentences, signed
from siglum.errors import UsageError

Rows = list[dict[str, Any]]
Make = Callable[..., Rows]
Write = Callable[[Path, Sequence[dict[str, Any]]], Path]

SOME = [("image", 0.7, 2.0, 3.0), ("jpeg", 1.0, 50.0, 90.0), ("webp", 0.8, 4.0, 70.0)]
VOID = {"meta", "img", "input", "br", "link", "hr", "path"}
HOSTILE = "\"'><script>alert(1)</script></script><img src=x onerror=alert(2)>{{ 7*7 }}.png"


class Outline(HTMLParser):
    """The elements of a page; what is open must be closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.stack.pop() == tag


def outline(html: str) -> Outline:
    parser = Outline()
    parser.feed(html)
    parser.close()
    assert not parser.stack
    return parser


@pytest.fixture
def page(tmp_path: Path, write: Write) -> Callable[..., str]:
    def make(rows: Rows, **options: Any) -> str:
        source = write(tmp_path / "rows.jsonl", rows)
        render(source, tmp_path / "report.html", **options)
        html = (tmp_path / "report.html").read_text(encoding="utf-8")
        outline(html)
        return html

    return make


def test_a_large_run_is_a_small_page_in_little_time(page: Callable[..., str], make_images: Make) -> None:
    started = time.process_time()
    html = page(make_images(24, dials=6))
    assert time.process_time() - started < 10
    assert len(html.encode()) < 2 * 2**20
    assert "At equal PSNR, image needs" in html
    for what in ("0123456789abcdef", "Test CPU", "pillow 12.0", "ab" * 32, "codec bench kodak -c image,jpeg"):
        assert what in html
    for anchor in ("image", "jpeg", "webp", "avif", "jxl", "jpeg2000"):
        assert f"<caption>Against {anchor}</caption>" in html


def test_the_page_needs_nothing_from_elsewhere(page: Callable[..., str], make_images: Make) -> None:
    found = outline(page(make_images(3, SOME, 3)))
    addresses = [
        value for _, names in found.tags for name, value in names.items() if name in ("src", "href") and value
    ]
    assert addresses
    assert all(address.startswith("#") for address in addresses)
    policy = next(names["content"] for tag, names in found.tags if tag == "meta" and "http-equiv" in names)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy


def test_names_are_text_wherever_they_stand(
    tmp_path: Path, page: Callable[..., str], make_images: Make, make_media: Any
) -> None:
    rows = make_images(3, [("image", 1.0, 1, 1), ("jpeg", 1.2, 1, 1)], 4)
    data, kept = make_media(tmp_path, rows)
    rows[0]["run"] |= {"command": HOSTILE, "machine": {"cpu": HOSTILE}, "versions": {HOSTILE: HOSTILE}}
    rows[0]["run"]["data"] = [{"path": str(data), "items": HOSTILE, "sha256": HOSTILE}]
    for row in rows[1:]:
        row["version"], row["settings"] = HOSTILE, {HOSTILE: HOSTILE}
        row["sha256"] = HOSTILE
        row["metrics"][HOSTILE] = row["metrics"]["psnr"]
        if row["codec"] == "jpeg":
            row["codec"] = HOSTILE
    rows[1] |= {"item": HOSTILE}
    rows.append({"item": HOSTILE, "codec": HOSTILE, "failure": {"stage": HOSTILE, "message": HOSTILE}})
    html = page(rows, keep=kept)
    found = outline(html)
    scripts = [names for tag, names in found.tags if tag == "script"]
    assert [names.get("type") for names in scripts].count(None) == 1
    assert all(names.get("type") in (None, "application/json") for names in scripts)
    assert not any(name.startswith("on") for _, names in found.tags for name in names)
    assert "alert(1)</script>" not in html.replace("&lt;", "<<")
    assert "49.png" not in html
    (viewer,) = re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert any(HOSTILE in json.dumps(item) or item["item"] for item in json.loads(viewer)["items"])


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/passwd", ".."])
def test_an_item_names_nothing_outside_of_its_folder(
    tmp_path: Path, page: Callable[..., str], make_images: Make, make_media: Any, name: str
) -> None:
    rows = make_images(2, [("image", 1.0, 1, 1)], 3)
    data, kept = make_media(tmp_path / "a", rows)
    (tmp_path / "secret.png").write_bytes(b"secret")
    rows[0]["run"]["data"][0]["path"] = str(data)
    rows[1]["item"] = rows[1]["codec"] = name
    html = page(rows, keep=kept)
    assert "secret.png&#34;" not in html
    assert "c2VjcmV0" not in html
    assert "passwd\\" not in html


def _nothing(rows: Rows) -> Rows:
    return []


def _only_the_run(rows: Rows) -> Rows:
    return rows[:1]


def _one_codec(rows: Rows) -> Rows:
    return [row for row in rows if row.get("codec") in (None, "image")]


def _one_row(rows: Rows) -> Rows:
    return rows[:2]


def _two_points(rows: Rows) -> Rows:
    return [row for row in rows if row.get("dial") in (None, 10, 25)]


def _odd_values(rows: Rows) -> Rows:
    odd = [math.nan, math.inf, -math.inf, None, "inf", "none", True, [1]]
    for i, row in enumerate(rows[1:]):
        row["metrics"]["psnr"] = odd[i % len(odd)]
        row["encode_s"], row["units"] = odd[(i + 1) % len(odd)], odd[(i + 2) % len(odd)]
        row["health"] = {"ideal_bits": odd[i % 8], "actual_bits": 0}
    return rows


def _failures_only(rows: Rows) -> Rows:
    failed = [
        {**row, "rate": None, "metrics": {}, "failure": {"stage": "encode", "message": "it threw"}}
        for row in rows[1:]
    ]
    return [*rows[:1], *failed, {"codec": "jxl", "item": None, "failure": {"stage": "missing"}}]


def _no_metrics(rows: Rows) -> Rows:
    return [{**row, "metrics": {}} for row in rows]


def _crossed(rows: Rows) -> Rows:
    for row in rows[1:]:
        if row["codec"] == "webp":
            row["metrics"]["psnr"] = 40 - row["metrics"]["psnr"]
    return rows


def _odd_lines(rows: Rows) -> Rows:
    broken: list[Any] = [
        {"run": 3},
        {"item": 3},
        {"item": "a", "codec": "b", "rate": -1},
        {},
        [1],
        "x",
        7,
        None,
    ]
    mixed = [{**row, "metrics": 3, "settings": [], "health": "x", "failure": "oh"} for row in rows[1:3]]
    return [*rows, *broken, *mixed]


@pytest.mark.parametrize(
    "change",
    [
        _nothing,
        _only_the_run,
        _one_codec,
        _one_row,
        _two_points,
        _odd_values,
        _failures_only,
        _no_metrics,
        _crossed,
        _odd_lines,
    ],
)
def test_whatever_the_rows_the_page_stands(
    change: Callable[[Rows], Rows], page: Callable[..., str], make_images: Make
) -> None:
    html = page(change(make_images(4, SOME, 5)))
    assert "<h1>" in html
    assert ">nan<" not in html.lower()
    assert "None" not in re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL).replace("None: every", "")


def test_failures_come_first_and_say_what_happened(page: Callable[..., str], make_images: Make) -> None:
    rows = make_images(2, SOME, 3)
    assert html_order(page(rows)) == ["run", "failures"]
    rows[3]["failure"] = {"stage": "determinism", "message": "two calls, two files"}
    rows.append({"codec": "heif", "item": None, "failure": {"stage": "missing", "message": "pip install it"}})
    html = page(rows)
    assert html_order(html) == ["failures", "run"]
    for text in ("not deterministic", "two calls, two files", "codec missing", "pip install it"):
        assert text in html


def html_order(html: str) -> list[str]:
    return re.findall(r'<section id="(run|failures)"', html)


def test_a_refused_comparison_says_whose_curve_and_why(
    make_images: Make, tmp_path: Path, write: Write
) -> None:
    found = load(write(tmp_path / "r", _crossed(make_images(3, SOME, 5))))
    (board,) = boards_of(found.rows)
    pair = board.compared["psnr"]["webp", "jpeg"]
    assert pair.percent is None
    assert pair.refusal.startswith("webp: ")
    assert board.compared["ms_ssim"]["webp", "jpeg"].percent is not None


def test_exchanging_codec_and_anchor_gives_the_reciprocal(
    make_images: Make, tmp_path: Path, write: Write
) -> None:
    rows = load(write(tmp_path / "r", make_images(5, SOME, 5))).rows
    (metric,) = metrics_of({"psnr"})
    one, other = samples_of(rows, "image", metric), samples_of(rows, "jpeg", metric)
    there, back = compare(one, other, 5), compare(other, one, 5).reversed()
    assert there.percent == pytest.approx(back.percent)
    assert there.low is not None
    assert there.percent is not None
    assert there.low < there.percent < (there.high or 0)


def test_items_that_failed_count_for_neither(make_images: Make, tmp_path: Path, write: Write) -> None:
    rows = make_images(4, SOME, 4)
    lost = next(row for row in rows[1:] if row["codec"] == "webp" and row["item"] == "kodim02.png")
    lost |= {"failure": {"stage": "decode", "message": "x"}}
    (board,) = boards_of(load(write(tmp_path / "r", rows)).rows)
    pair = board.compared["psnr"]["webp", "jpeg"]
    assert (pair.items, pair.of) == (3, 4)
    assert board.compared["psnr"]["image", "jpeg"].items == 4


def test_the_verdict_names_what_is_unsure(make_images: Make, tmp_path: Path, write: Write) -> None:
    codecs = [("image", 1.0, 1, 1), ("jpeg", 1.0, 1, 1), ("webp", 2.0, 1, 1)]
    (board,) = boards_of(load(write(tmp_path / "r", make_images(8, codecs, 5))).rows)
    text = sentences(board)[0]
    assert "about as much as jpeg" in text
    assert re.search(r"% less (rate )?than webp", text)
    assert signed(-0.04) == "0.0"
    assert signed(-3.14) == "−3.1"


def test_media_are_found_and_told_apart(
    tmp_path: Path, page: Callable[..., str], make_images: Make, make_sounds: Make, make_media: Any
) -> None:
    rows = make_sounds(2) + make_images(2, SOME, 3)[1:]
    data, kept = make_media(tmp_path, rows)
    rows[0]["run"]["data"] = [{"path": str(data), "items": 4, "sha256": ""}]
    html = page(rows, keep=kept)
    viewers = [json.loads(t) for t in re.findall(r'"application/json">(.*?)</script>', html, re.DOTALL)]
    sounds, pictures = viewers
    assert sounds["embedded"]
    assert sounds["items"][0]["original"]["src"].startswith("data:audio/wav;base64,")
    assert sounds["items"][0]["original"]["spectrogram"].startswith("data:image/png;base64,")
    assert len(pictures["items"][0]["codecs"]["image"]) == 3
    html = page(rows, keep=kept, embed=False)
    pictures = json.loads(re.findall(r'"application/json">(.*?)</script>', html, re.DOTALL)[1])
    for item in pictures["items"]:
        assert item["original"]["src"] == f"data/{item['item']}"
        for codec, versions in item["codecs"].items():
            assert all((tmp_path / one["src"]).is_file() for one in versions), codec
            assert [one["rate"] for one in versions] == sorted(one["rate"] for one in versions)
    assert 'href="kept/image/10/kodim01.png.bin"' in html


def test_published_curves_are_for_the_whole_of_kodak_and_marked(
    tmp_path: Path, page: Callable[..., str], make_images: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kodak.json"
    entry = {"codec": "VTM", "metric": "psnr", "points": [[0.2, 30], [0.5, 34], [1, 37]], "source": "a paper"}
    file.write_text(json.dumps([entry, {"codec": "broken"}, 3]))
    names = [f"kodim{i:02}.png" for i in range(1, 25)]
    curves, note = kodak(names, file)
    assert [curve.codec for curve in curves] == ["VTM"]
    assert curves[0].shown
    assert not note
    assert kodak(names[:3], file)[0] == []
    assert "24" in kodak(names[:3], file)[1]
    assert kodak(["a.png"], file) == ([], "")
    monkeypatch.setattr("siglum.benchmarks.report.published.KODAK", file)
    rows = make_images(24, [("image", 0.6, 1, 1), ("jpeg", 1.0, 1, 1)], 4)
    html = page(rows)
    assert html.count("published, not run here") >= 2 and html.count("dB, published<") > 3
    assert "published, not run here" not in page(rows, published=False)


def test_large_recordings_become_excerpts_of_the_same_seconds(
    tmp_path: Path,
    page: Callable[..., str],
    make_sounds: Make,
    make_media: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = make_sounds(5)
    data, kept = make_media(tmp_path, rows)
    rows[0]["run"]["data"] = [{"path": str(data), "items": 5, "sha256": ""}]
    monkeypatch.setattr("siglum.benchmarks.report.players.EMBED_BYTES", 150_000)
    monkeypatch.setattr("siglum.benchmarks.report.players.SHORTEST", 0.25)
    html = page(rows, keep=kept)
    (players,) = (json.loads(t) for t in re.findall(r'"application/json">(.*?)</script>', html, re.DOTALL))
    assert players["embedded"] and 0.25 <= players["seconds"] < 1
    assert 1 <= len(players["items"]) <= 3
    for item in players["items"]:
        sounds = [item["original"], *(one for several in item["codecs"].values() for one in several)]
        assert {one["src"][:16] for one in sounds} <= {"data:audio/flac;", "data:audio/wav;b"}
        assert all(one["spectrogram"].startswith("data:image/png") for one in sounds)
        assert len(item["codecs"]["opus"]) == 3  # the least, a middle and the highest rate
    assert "Excerpts of the loudest" in html and "0 to 4 kHz upwards" in html
    html = page(rows, keep=kept, embed=False)
    assert "The sounds lie beside this page" in html and "data:audio" not in html


def test_the_loudest_seconds_are_found() -> None:
    samples = np.full((2, 4000), 0.01, np.float32)
    samples[:, 2500:3000] = 0.5
    sound = Sound(samples, 1000)
    assert loudest(sound, 0.5) == 2.5 and loudest(sound, 9.0) == loudest(sound, math.inf) == 0.0
    assert sound.part(2.5, 0.5).rms == pytest.approx(0.5) and sound.part(0, math.inf).samples.shape == (
        2,
        4000,
    )


def test_published_points_of_audio_carry_a_caution(page: Callable[..., str], make_sounds: Make) -> None:
    curves, note = audio()
    assert "other recordings" in note
    assert all(curve.data and curve.source and curve.points and curve.shown for curve in curves)
    assert {curve.metric for curve in curves} == {"pesq", "stoi", "visqol", "si_sdr"}
    html = page(make_sounds(2))
    assert (
        "Published points are not of this run" in html
        and "DAC: 5.33 kbps, 4.09 MOS, published on 10 s of speech" in html
    )
    assert "SI-SDR" not in html  # the rows have none, so its points are not drawn
    assert "Published points" not in page(make_sounds(2), published=False)


def test_rates_without_containers_are_listed(page: Callable[..., str], make_sounds: Make) -> None:
    rows = make_sounds(2)
    assert "without container" not in page(rows)
    for row in rows[1:]:
        row["payload_bytes"] = row["bytes"] // 2
    assert "without container, kbps" in page(rows)


def test_plots_of_odd_points() -> None:
    assert plot([], WIDE, title="", x_label="", y_label="") is None
    bad = [(math.nan, 1.0, ""), (0.0, 1.0, ""), (-1.0, 1.0, ""), (1.0, math.inf, "")]
    assert plot([Series("a", bad)], WIDE, title="", x_label="", y_label="") is None
    for points in ([(1.0, 5.0, "one")], [(1.0, 5.0, ""), (1.0, 5.0, "")], [(1e-9, 1e9, ""), (1e9, -1e9, "")]):
        drawn = plot([Series("a" * 50, points)], NARROW, title="", x_label="", y_label="", zero=True)
        assert drawn is not None
        assert all(0 <= dot.x <= NARROW.width for dot in drawn.lines[0].dots)
        assert all(0 <= dot.y <= NARROW.height for dot in drawn.lines[0].dots)
        assert drawn.x_ticks


def test_labels_do_not_cover_one_another() -> None:
    curves = [
        Series(f"codec{i}", [(0.1, 20.0 + i / 9, ""), (1.0 + i / 50, 40.0 + i / 20, "")]) for i in range(8)
    ]
    drawn = plot(curves, WIDE, title="", x_label="", y_label="")
    assert drawn is not None
    heights = sorted(line.label_y for line in drawn.lines)
    assert min(b - a for a, b in pairwise(heights)) > 9


def test_a_spectrogram_shows_the_tone(tmp_path: Path, make_sounds: Make, make_media: Any) -> None:
    import io

    import numpy as np
    from PIL import Image

    data, _ = make_media(tmp_path, make_sounds(1))
    sound = read_sound(data / "kodim01.wav")
    assert sound is not None
    assert sound.rms == pytest.approx(9000 / 32768 / math.sqrt(2), rel=0.01)
    with Image.open(io.BytesIO(sound.spectrogram())) as image:
        levels = np.asarray(image)
    loudest = levels.astype(int).sum(axis=1).argmax()
    assert (127.5 - loudest) / 128 * 4000 == pytest.approx(440, abs=40)
    assert Sound(np.zeros(0, np.float32), 16000).rms == 0.0
    assert Sound(np.zeros(3, np.float32), 48000).spectrogram()[:4] == b"\x89PNG"
    assert read_sound(tmp_path / "absent.wav") is None


def test_no_rows_no_page(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no rows"):
        render(tmp_path / "absent.jsonl", tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_the_difference_at_equal_rate_stands_beside_that_at_equal_quality(
    page: Callable[..., str], make_images: Make
) -> None:
    html = page(make_images(6, [("image", 0.6, 1, 1), ("jpeg", 1.0, 1, 1)], 4))
    ours, theirs = (html.split(f'data-anchor="{name}"')[1].split("</table>")[0] for name in ("jpeg", "image"))
    assert "at equal rate +" in ours and "at equal rate −" in theirs
