from __future__ import annotations

import math
from dataclasses import replace

import pytest

from siglum.benchmarks import summary
from siglum.benchmarks.rows import Row
from siglum.errors import UsageError

DIALS = (10.0, 20.0, 40.0, 80.0)


def rows_of(codec: str, factor: float, items: int = 5) -> list[Row]:
    """Rows of a codec that needs a factor of the rate; items differ in how hard they are."""
    return [
        Row(
            codec,
            f"{i}.png",
            f"digest {i}",
            "image",
            dial,
            {"quality": dial},
            "1",
            bytes=1000,
            units=1e6,
            rate=factor * (1 + 0.2 * i) * dial / 40,
            rate_unit="bpp",
            encode_s=0.5,
            decode_s=0.25,
            metrics={"psnr": 20 + 3 * math.log2(dial) - i, "mse": 10 / dial},
        )
        for i in range(items)
        for dial in DIALS
    ]


def test_a_tenth_less_rate_is_a_bd_rate_of_minus_ten_whatever_is_drawn() -> None:
    rows = rows_of("jpeg", 1.0) + rows_of("image", 0.9)
    for metric in ("psnr", "mse"):
        result, interval = summary.compare(rows, "image", "jpeg", metric)
        assert result.percent == pytest.approx(-10) and interval == pytest.approx((-10, -10))
    text = summary.text(rows, "jpeg")
    assert "5 pictures; means over them, speeds in MP/s" in text
    assert "image     psnr: -10.0 % (-10.0 to -10.0), at equal rate +0.46; overlap 100 %" in text
    line = next(line for line in text.splitlines() if line.startswith("jpeg           40"))
    assert line.split()[2:] == ["1.4000", "33.9658", "0.25", "2.00", "4.00"]


def test_items_that_one_of_them_lacks_do_not_count() -> None:
    worse = [replace(row, rate=100.0, failure=None) for row in rows_of("image", 1.0) if row.dial == 10][:1]
    rows = rows_of("jpeg", 1.0) + [row for row in rows_of("image", 0.9) if row.item != "0.png"] + worse
    assert summary.compare(rows, "image", "jpeg", "psnr")[0].percent == pytest.approx(-10)
    partly = [row for i, row in enumerate(rows_of("image", 0.9)) if (i // 4 + i) % 4]
    with pytest.raises(UsageError, match="no item that both have coded"):
        summary.compare(rows_of("jpeg", 1.0) + partly, "image", "jpeg", "psnr")


def test_curves_that_cannot_be_compared_say_why_and_the_rest_stands() -> None:
    two = [row for row in rows_of("webp", 1.0) if row.dial in (10, 80)]
    jagged = [replace(row, metrics={"psnr": -(row.dial or 0), "mse": 1.0}) for row in rows_of("avif", 1.0)]
    exact = [replace(row, metrics={"psnr": None, "mse": 0.0}) for row in rows_of("zip", 1.0)]
    text = summary.text(rows_of("jpeg", 1.0) + rows_of("image", 0.9) + two + jagged + exact, "jpeg")
    assert "webp      psnr: no figure: a curve of 2 points is no basis" in text
    assert "avif      psnr: no figure: the quality of a curve must grow with its rate" in text
    assert "zip       psnr: no figure: the points of a curve need positive rates and finite" in text
    assert "image     psnr: -10.0 %" in text


def test_curves_that_cross_are_told() -> None:
    crossing = [replace(row, rate=(row.rate or 0) ** 1.5) for row in rows_of("image", 1.0)]
    assert "; the curves cross at" in summary.text(rows_of("jpeg", 1.0) + crossing, "jpeg")


def test_the_mean_of_ms_ssim_is_that_of_the_similarity() -> None:
    rows = [
        replace(row, metrics={"ms_ssim": db})
        for row, db in zip(rows_of("jpeg", 1.0)[:8:4], (10, 20), strict=True)
    ]
    expected = -10 * math.log10((0.1 + 0.01) / 2)
    assert f"{expected:.6g}" in summary.text(rows, "jpeg")


def test_one_item_has_no_interval_and_an_anchor_that_is_absent_is_replaced() -> None:
    rows = rows_of("webp", 1.0, 1) + rows_of("image", 0.9, 1)
    assert summary.compare(rows, "image", "webp", "psnr")[1] is None
    assert "BD-rate against webp" in summary.text(rows, "jpeg")
    assert summary.text([Row("jxl", failure={"stage": "missing", "message": "pip"})], "jpeg") == (
        "failures\n  missing: jxl: pip"
    )
