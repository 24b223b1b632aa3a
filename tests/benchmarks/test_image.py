from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from siglum.benchmarks import image, peers
from siglum.benchmarks.metrics import psnr
from siglum.benchmarks.peers import Coder
from siglum.benchmarks.rows import means
from siglum.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:180, :190]
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(2):
        waves = np.stack([np.sin(x / (9 + i)), np.cos(y / 7), np.sin((x + y) / 13)], axis=-1)
        pixels = np.clip(128 + 60 * waves + rng.normal(0, 5, waves.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(pictures / f"{i}.png")
    return pictures


class Fake:
    """In place of siglum: samples rounded to steps, and what was asked of it."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def encode(self, pixels: np.ndarray, level: int) -> bytes:
        self.calls.append(level)
        step = 70 - 10 * level
        height, width = pixels.shape[:2]
        symbols = ((pixels.astype(int) + step // 2) // step).astype(np.uint8)
        return bytes([step, *height.to_bytes(2, "big"), *width.to_bytes(2, "big")]) + zlib.compress(symbols)

    def decode(self, data: bytes) -> np.ndarray:
        shape = (int.from_bytes(data[1:3], "big"), int.from_bytes(data[3:5], "big"), 3)
        symbols = np.frombuffer(zlib.decompress(data[5:]), np.uint8).reshape(shape)
        return np.minimum(symbols.astype(int) * data[0], 255).astype(np.uint8)

    def coder(self) -> Coder:
        return Coder("siglum", (1, 3, 6), "fake", "0", self.encode, self.decode)


def test_rows_are_of_whole_files_and_their_means_of_pictures(folder: Path) -> None:
    rows = list(image.run(folder, image.choose(["jpeg"])))
    assert [row.quality for row in rows] == [5, 10, 15, 25, 50, 75, 90] * 2
    assert [row.item for row in rows[::7]] == ["0.png", "1.png"]
    coder = peers.peers()["jpeg"]
    pixels = np.asarray(Image.open(folder / "1.png"))
    data = coder.encode(pixels, 25)
    row = next(row for row in rows if (row.item, row.quality) == ("1.png", 25))
    assert row.bytes == len(data) and row.bpp == 8 * len(data) / (180 * 190)
    assert row.psnr_db == psnr(pixels, coder.decode(data))
    mean = next(mean for mean in means(rows) if mean.quality == 25)
    both = [row for row in rows if row.quality == 25]
    assert mean.bpp == pytest.approx((both[0].bpp + both[1].bpp) / 2)
    assert mean.psnr_db == pytest.approx((both[0].psnr_db + both[1].psnr_db) / 2)
    assert mean.ms_ssim_db == pytest.approx(-10 * np.log10(1 - (both[0].ms_ssim + both[1].ms_ssim) / 2))


def test_jpeg_is_progressive_optimised_and_subsampled(folder: Path) -> None:
    pixels = np.asarray(Image.open(folder / "0.png"))
    data = peers.peers()["jpeg"].encode(pixels, 50)
    assert b"\xff\xc2" in data and b"\xff\xc0" not in data  # a progressive frame, no baseline one
    at = data.index(b"\xff\xc2")
    assert data[at + 9 : at + 13] == bytes([3, 1, 0x22, 0])  # three components, luma twice as fine both ways


def test_only_siglum_runs_again_with_a_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "peers.jsonl"
    fake, jpeg = Fake(), image.choose(["jpeg"])
    first = list(image.run(folder, [fake.coder(), *jpeg], cache))
    assert fake.calls == [1, *[1, 3, 6] * 2]  # once untimed, first of all
    lines = [json.loads(line) for line in cache.read_text().splitlines()]
    assert len(lines) == 14 and {line["codec"] for line in lines} == {"jpeg"}
    assert set(lines[0]) >= {"item", "codec", "settings", "bytes", "encode_seconds", "psnr_db", "sha256"}
    monkeypatch.setattr(Image.Image, "save", None)
    second = list(image.run(folder, [fake.coder(), *jpeg], cache))
    assert len(fake.calls) == 14
    assert [row for row in second if row.codec == "jpeg"] == [row for row in first if row.codec == "jpeg"]
    assert [row.sha256 for row in second] == [row.sha256 for row in first]


def test_a_cache_of_something_else_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text('{"a": 1}\n')
    with pytest.raises(UsageError, match="holds no rows of this benchmark"):
        list(image.run(folder, image.choose(["jpeg"]), tmp_path / "notes"))


def test_report_compares_siglum_with_every_peer_and_names_the_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "RATE_RANGE", (0.1, 30.0))
    monkeypatch.setattr(features, "check_module", lambda name: False)
    coders = [Fake().coder(), *image.choose(["jpeg", "avif"])]
    text = image.report(list(image.run(folder, coders)), coders).splitlines()
    assert text[0] == "2 pictures"
    assert sum(line.startswith("jpeg  ") for line in text) == 7 + 1
    assert "avif      absent: this Pillow was built without it" in text
    assert "BD-rate of siglum against avif: avif absent" in text
    result = next(line for line in text if line.startswith("BD-rate of siglum against jpeg"))
    assert "PSNR +" in result and "overlap" in result and "MS-SSIM" in result
    assert any("optimize=True progressive=True subsampling=4:2:0" in line for line in text)


def test_a_rate_cut_of_a_tenth_is_reported_as_such(folder: Path) -> None:
    jpeg = peers.peers()["jpeg"]
    padded = Coder("padded", jpeg.qualities, "", "0", lambda p, q: _padded(jpeg.encode(p, q)), jpeg.decode)
    rows = list(image.run(folder, [jpeg, padded]))
    assert image.compare(rows, "jpeg", "padded", "PSNR").percent == pytest.approx(-10, abs=0.02)
    assert image.compare(rows, "jpeg", "padded", "MS-SSIM").percent == pytest.approx(-10, abs=0.02)
    assert image.interval(rows, "jpeg", "padded", "PSNR") == pytest.approx((-10, -10), abs=0.05)


def _padded(data: bytes) -> bytes:
    return data + bytes(round(len(data) / 9))


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    assert image.main([str(folder), "--codecs", "jpeg", "--limit", "1", "--json", str(rows)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("machine") and lines[1].startswith("versions")
    assert len(rows.read_text().splitlines()) == 7
    assert image.main([str(folder), "--codecs", "gif"]) == 2
    assert "unknown codec 'gif'; there are siglum, jpeg, webp, avif" in capsys.readouterr().err
    assert image.main([str(tmp_path / "absent"), "--codecs", "jpeg"]) == 1


def test_small_pictures_have_no_ms_ssim(tmp_path: Path) -> None:
    Image.new("L", (20, 10), 77).save(tmp_path / "small.png")
    coders = image.choose(["jpeg"])
    rows = list(image.run(tmp_path, coders))
    assert {row.ms_ssim for row in rows} == {None}
    assert image.report(rows, coders).startswith("1 picture\n")


def test_levels_of_a_list() -> None:
    assert image.levels_of("200,3,3") == (3, 200)
    for wrong in ("", "a", "256", "-1,4"):
        with pytest.raises(ValueError):
            image.levels_of(wrong)
