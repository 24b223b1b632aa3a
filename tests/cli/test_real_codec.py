"""The command line with the codec and the weights that ship."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from siglum.cli.main import main
from siglum.codecs import models


def run(*args: object, data: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args], input=data)


def in_a_process(*args: object) -> subprocess.CompletedProcess[bytes]:
    command = [str(Path(sys.executable).with_name("codec")), *(str(arg) for arg in args)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False)


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def file(photo: Path) -> Path:
    result = run("encode", photo, "-T", 2, "--lossy")
    assert result.exit_code == 0, result.output
    return photo.with_suffix(".sgl")


def test_a_second_process_with_other_threads_decodes_the_same(file: Path, photo: Path) -> None:
    here = photo.with_name("here.png")
    there = photo.with_name("there.png")
    assert run("decode", file, "-o", here, "-T", 2).exit_code == 0
    assert in_a_process("decode", file, "-o", there, "-T", 1).returncode == 0
    assert np.abs(pixels_of(here).astype(int) - pixels_of(there)).max() <= 1
    record = json.loads(run("compare", "--json", photo, file).stdout)
    assert record["psnr_db"] > 25


def test_info_needs_no_torch_and_no_weights(file: Path) -> None:
    program = (
        "import sys\n"
        "from siglum.cli.main import main\n"
        "code = main(sys.argv[1:], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)\n"
    )
    for arguments in (["info", "--json", file], ["models"], ["--help"], ["decode", "-n", "-f", file]):
        command = [sys.executable, "-c", program, *(str(arg) for arg in arguments)]
        result = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert result.returncode == 0, result.stderr
    record = json.loads(run("info", "--json", file).stdout)
    assert (record["codec"], record["shape"], record["lossless"]) == ("image", [180, 200, 3], False)


def test_targets_are_met_by_whole_files(photo: Path) -> None:
    record = json.loads(run("encode", photo, "--lossy", "-b", "0.9bpp", "--json").stdout)
    assert photo.with_suffix(".sgl").stat().st_size == record["output_bytes"] <= 0.9 * 36000 / 8
    record = json.loads(run("encode", photo, "-f", "--target", "psnr=30", "--json").stdout)
    assert record["psnr_db"] >= 30


def test_lossless_is_exact_and_cannot_be_truncated_to_nothing(photo: Path) -> None:
    file = photo.with_suffix(".sgl")
    assert run("encode", photo, "--lossless").exit_code == 0
    assert json.loads(run("compare", "--json", photo, file).stdout)["equal"] is True
    result = run("truncate", file, "-o", photo.with_name("cut.sgl"), "--size", "100B")
    assert result.exit_code == 2 and not photo.with_name("cut.sgl").exists()


def test_damage_is_exit_code_3(file: Path) -> None:
    data = file.read_bytes()
    rng = np.random.default_rng(9)
    cases = [data[:cut] for cut in (1, 9, 20, *rng.integers(30, len(data), 5))]
    for place in rng.integers(0, len(data), 12):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        cases.append(bytes(flipped))
    for case in [*cases, data + b"\0"]:
        for verb in ("verify", "info", "decode"):
            result = run(verb, "-", data=case)
            assert result.exit_code == 3, (verb, result.output)
            assert result.stdout == "" and len(result.stderr.splitlines()) == 1
            assert "internal error" not in result.stderr


def test_a_missing_model_is_exit_code_4(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "search_path", list)
    result = run("verify", file)
    assert result.exit_code == 4 and "codec models add" in result.stderr
    assert run("info", file).exit_code == 0


def test_a_part_of_a_picture_is_decoded_alone(file: Path, photo: Path) -> None:
    part, whole = photo.with_name("part.png"), photo.with_name("whole.png")
    assert run("decode", file, "-o", part, "--crop", "8,3,40,25").exit_code == 0
    assert run("decode", file, "-o", whole).exit_code == 0
    error = np.abs(pixels_of(part).astype(int) - pixels_of(whole)[3:28, 8:48])
    assert pixels_of(part).shape[:2] == (25, 40) and error.max() <= 1
    result = run("decode", file, "-o", part, "-f", "--crop", "8,3,40000,25")
    assert result.exit_code == 2 and "not within the picture" in result.output
    result = run("decode", file, "-o", part, "-f", "--crop", "8,3,40")
    assert result.exit_code == 2 and "is no region" in result.output
    result = run("decode", file, "-o", part, "-f", "--tokens", "0:5")
    assert result.exit_code == 2 and "are for key-value caches" in result.output


def test_thumbnails(file: Path, photo: Path) -> None:
    small, (height, width) = photo.with_name("small.png"), pixels_of(photo).shape[:2]
    assert run("decode", file, "-o", small, "--scale", "1/8").exit_code == 0
    assert pixels_of(small).shape[:2] == (-(-height // 8), -(-width // 8))
    assert run("decode", file, "-o", small, "-f", "--scale", "1/2", "--crop", "8,4,30,20").exit_code == 0
    assert pixels_of(small).shape[:2] == (10, 15)
    result = run("decode", file, "-o", small, "-f", "--scale", "1/4", "--crop", "8,3,30,20")
    assert result.exit_code == 2 and "multiple of 4 pixels" in result.output
    assert run("decode", file, "-o", small, "-f", "--scale", "1/3").exit_code == 2


def test_more_effort(photo: Path) -> None:
    more = photo.with_name("more.sgl")
    assert run("encode", photo, "-o", more, "--lossy", "-e", "7").exit_code == 0
    assert run("decode", more, "-o", photo.with_name("more.png")).exit_code == 0
    result = run("encode", photo, "-o", more, "-f", "--sinks", "3")
    assert result.exit_code == 2 and "for key-value caches" in result.output
