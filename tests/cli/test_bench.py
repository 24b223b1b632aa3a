from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from siglum.benchmarks.rows import read_rows
from siglum.cli.main import main


@pytest.fixture
def bench(photo: Path) -> Callable[..., Result]:
    def run(*args: object) -> Result:
        return CliRunner().invoke(main, ["bench", *(str(arg) for arg in args)])

    return run


def test_a_first_word_that_is_no_command_is_a_path(bench: Callable[..., Result], photo: Path) -> None:
    result = bench(photo, "-c", "jpeg,webp", "-q", "20,50,80", "--json", photo.parent / "rows.jsonl")
    assert result.exit_code == 0, result.output
    assert "1 picture; means over them" in result.stdout and "webp      psnr: -" in result.stdout
    assert "machine" in result.stderr
    run, rows = read_rows(photo.parent / "rows.jsonl")
    assert [(row.codec, row.dial) for row in rows] == [(c, d) for c in ("jpeg", "webp") for d in (20, 50, 80)]
    assert run["command"].startswith("codec ")
    again = bench(
        "run", "-c", "jpeg", "-q", "jpeg=20", photo, "--json", photo.parent / "rows.jsonl", "--resume"
    )
    assert again.exit_code == 0
    assert read_rows(photo.parent / "rows.jsonl")[1] == rows


def test_help_shows_how_to_measure_and_needs_no_torch(process: Callable[..., object]) -> None:
    for arguments in (["bench"], ["bench", "--help"]):
        result = CliRunner().invoke(main, arguments)
        assert "codec bench kodak --quick" in result.output and "--resume" in result.output


def test_failures_end_with_a_code_of_their_own(bench: Callable[..., Result], photo: Path) -> None:
    (photo.parent / "broken.png").write_bytes(b"no picture")
    result = bench(photo.parent, "-c", "jpeg", "-q", "20,50,80")
    assert result.exit_code == 5
    assert "read: jpeg at 20 broken.png: UnidentifiedImageError" in result.stdout
    assert "3 of 6 measurements failed" in result.stderr and "psnr" in result.stdout


@pytest.mark.parametrize(
    "arguments,code,text",
    [
        (["ABSENT"], 1, "ABSENT: no such file or directory"),
        (["PHOTO", "-c", "gif"], 2, "unknown codec 'gif'"),
        (["PHOTO", "-c", "jpeg", "--metrics", "beauty"], 2, "unknown metric 'beauty'"),
        (["PHOTO", "-c", "jpeg", "-q", "jpeg=a"], 2, "no list of values"),
        (["PHOTO", "-c", ","], 2, "names nothing"),
        (["PHOTO", "--resume"], 2, "name them with --json"),
        (["PHOTO", "-c", "jpeg", "--json", "PHOTO"], 2, "--resume goes on with it, -f begins anew"),
        (["FOLDER/empty"], 3, "holds nothing to be coded"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], code: int, text: str, bench: Callable[..., Result], photo: Path
) -> None:
    (photo.parent / "empty").mkdir()
    names = {"PHOTO": str(photo), "ABSENT": "ABSENT", "FOLDER/empty": str(photo.parent / "empty")}
    result = bench(*(names.get(argument, argument) for argument in arguments))
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("codec: ")]
    assert len(lines) == 1 and text in lines[0]


def test_entropy_is_still_a_command(bench: Callable[..., Result]) -> None:
    assert "Time siglum's entropy coder" in bench("entropy", "--help").output


def test_the_page_is_made_with_the_rows_and_from_them(bench: Callable[..., Result], photo: Path) -> None:
    rows, page, again = (photo.parent / name for name in ("rows.jsonl", "page.html", "again.html"))
    options = ("-c", "jpeg,webp", "-q", "20,50,80", "--keep", photo.parent / "kept")
    assert bench(photo, *options, "--json", rows, "--html", page).exit_code == 0
    assert "</html>" in page.read_text()
    assert (photo.parent / "kept" / "webp" / "50" / "photo.png.webp").read_bytes()[8:12] == b"WEBP"
    assert bench("report", rows, "--html", again, "--keep", photo.parent / "kept").exit_code == 0
    assert "</html>" in again.read_text()
