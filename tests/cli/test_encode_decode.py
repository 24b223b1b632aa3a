from __future__ import annotations

import io
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siglum.cli.errors import exit_code_of
from siglum.codecs.image.picture import read_picture
from siglum.errors import UnsupportedInputError


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def pixels_of(source: object) -> np.ndarray:
    with Image.open(source) as image:
        return np.asarray(image)


def copy_as(photo: Path, path: Path, *kind: str) -> None:
    with Image.open(photo) as image:
        image.save(path, *kind)


def kind_and_size(source: object) -> tuple[str | None, tuple[int, int]]:
    with Image.open(source) as image:
        return image.format, image.size


def test_round_trip_with_default_names(codec, photo: Path) -> None:
    result = codec("encode", photo)
    assert result.exit_code == 0 and result.stdout == ""
    file = photo.with_suffix(".sgl")
    size = file.stat().st_size
    line = result.stderr.strip()
    assert line.startswith(f"{photo}  {photo.stat().st_size / 1000:.1f} kB -> {size / 1000:.1f} kB  ")
    assert f"  {8 * size / 36000:.3f} bpp  " in line and line.endswith(" MP/s)") and "dB" not in line
    original = pixels_of(photo)
    photo.unlink()
    result = codec("decode", file)
    assert result.exit_code == 0, result.stderr
    assert "-> 200x180 png" in result.stderr
    assert np.abs(pixels_of(photo).astype(int) - original).max() <= 30


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", ".jpg"), ("WEBP", ".webp"), ("GIF", ".png")])
def test_decode_gives_the_original_suffix_back(
    codec, photo: Path, tmp_path: Path, kind: str, suffix: str
) -> None:
    other = photo.with_name("other.picture")  # told by content, not by name
    copy_as(photo, other, kind)
    assert codec("encode", other).exit_code == 0
    assert codec("decode", tmp_path / "other.picture.sgl").exit_code == 0
    assert kind_and_size(tmp_path / f"other.picture{suffix}") == (
        kind if kind != "GIF" else "PNG",
        (200, 180),
    )


@pytest.mark.parametrize("kind", ["JPEG", "AVIF"])
def test_what_is_lossless_stays_lossless(codec, photo: Path, tmp_path: Path, kind: str) -> None:
    other = tmp_path / "other.picture"
    copy_as(photo, other, kind)
    file = tmp_path / "other.sgl"
    assert codec("encode", other, "-o", file, "--lossless").exit_code == 0
    result = codec("decode", file)
    note = f"codec: note: {file}: it is lossless, so it becomes png and not {kind.lower()} again"
    assert result.exit_code == 0 and result.stderr.splitlines()[0] == note
    assert kind_and_size(tmp_path / "other.png")[0] == "PNG"
    assert codec("decode", "-f", "--quiet", file).stderr == ""
    assert codec("decode", file, "-o", "-").stdout_bytes.startswith(b"\x89PNG")
    assert codec("decode", file, "-o", tmp_path / "asked.jpg").stderr.count("\n") == 1
    assert kind_and_size(tmp_path / "asked.jpg")[0] == "JPEG"


def test_the_suffix_or_the_option_chooses_the_format(codec, photo: Path, tmp_path: Path) -> None:
    codec("encode", photo)
    file = photo.with_suffix(".sgl")
    assert codec("decode", file, "-o", tmp_path / "a.jpg").exit_code == 0
    assert codec("decode", file, "-o", tmp_path / "b.bin", "--format", "tif").exit_code == 0
    assert codec("decode", file, "--format", "webp").exit_code == 0
    formats = [kind_and_size(tmp_path / name)[0] for name in ("a.jpg", "b.bin", "photo.webp")]
    assert formats == ["JPEG", "TIFF", "WEBP"]
    result = codec("decode", file, "-o", tmp_path / "a.xyz")
    assert result.exit_code == 2 and "no picture is written to the suffix .xyz" in result.stderr
    assert codec("decode", file, "--format", "xyz").exit_code == 2


def test_pipes(codec, photo: Path) -> None:
    encoded = codec("encode", "-", data=photo.read_bytes())
    assert encoded.exit_code == 0, encoded.stderr
    assert encoded.stdout_bytes.startswith(b"\x89SGL")
    decoded = codec("decode", "-", data=encoded.stdout_bytes)
    assert kind_and_size(io.BytesIO(decoded.stdout_bytes)) == ("PNG", (200, 180))
    decoded = codec("decode", "-", "--format", "ppm", data=encoded.stdout_bytes)
    assert decoded.stdout_bytes.startswith(b"P6")
    assert codec("encode", photo, "-o", "-").stdout_bytes == encoded.stdout_bytes
    result = codec("encode", "-", "--json", data=photo.read_bytes())
    assert result.exit_code == 2 and result.stdout == ""


def test_json_lines(codec, photo: Path, tmp_path: Path) -> None:
    codec("encode", photo, "-o", tmp_path / "second.png")  # a siglum file by content
    copy_as(photo, tmp_path / "gray.jpg")
    result = codec("encode", photo, tmp_path / "gray.jpg", "--out-dir", tmp_path / "out", "--json", "--psnr")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0 and result.stderr == "" and len(records) == 2
    first = records[0]
    assert first["input"] == str(photo) and first["output"] == str(tmp_path / "out" / "photo.sgl")
    assert (first["width"], first["height"], first["channels"], first["quality"]) == (200, 180, 3, 60)
    assert first["output_bytes"] == (tmp_path / "out" / "photo.sgl").stat().st_size
    assert first["bpp"] == pytest.approx(8 * first["output_bytes"] / 36000)
    assert 20 < first["psnr_db"] < 60 and first["exact"] is False
    result = codec("encode", photo, "-f", "--lossless", "--psnr", "--json")
    assert json.loads(result.stdout)["psnr_db"] is None and json.loads(result.stdout)["exact"] is True
    result = codec("decode", tmp_path / "out" / "photo.sgl", "--json")
    assert json.loads(result.stdout)["output"] == str(tmp_path / "out" / "photo.png")


def test_psnr_is_printed_only_where_it_was_measured(codec, photo: Path) -> None:
    assert " dB " in codec("encode", photo, "--psnr").stderr
    assert " dB " in codec("encode", photo, "-f", "--target", "psnr=32").stderr
    assert "  lossless  " in codec("encode", photo, "-f", "--psnr", "--lossless").stderr
    for options in ([], ["--lossless"], ["-b", "4bpp"]):
        assert "dB" not in codec("encode", photo, "-f", *options).stderr


def test_size_and_rate_targets_are_upper_limits(codec, fake, photo: Path) -> None:
    prepared = fake.ImageCodec().prepare(read_picture(photo))
    for arguments, limit in ((["--target", "size=20kB"], 20000), (["-b", "5bpp"], 5 * 36000 / 8)):
        result = codec("encode", photo, "-f", "--json", *arguments)
        assert result.exit_code == 0, result.stderr
        record = json.loads(result.stdout)
        assert record["output_bytes"] == len(prepared.encode(record["level"])) <= limit
        assert len(prepared.encode(record["level"] + 1)) > limit
        assert photo.with_suffix(".sgl").stat().st_size == record["output_bytes"]
    result = codec("encode", photo, "-f", "--target", "size=100B")
    assert result.exit_code == 1 and "no file within 100 B is possible, the smallest has" in result.stderr


def test_psnr_target_is_a_lower_limit(codec, fake, photo: Path) -> None:
    record = json.loads(codec("encode", photo, "--json", "--target", "psnr=38").stdout)
    assert record["psnr_db"] >= 38
    below = fake.ImageCodec().prepare(read_picture(photo))
    error = (below.reconstruct(record["level"] - 1).astype(float) - pixels_of(photo)) ** 2
    assert 10 * math.log10(255**2 / error.mean()) < 38


def test_a_psnr_out_of_reach_is_lossless_or_an_error(codec, photo: Path) -> None:
    record = json.loads(codec("encode", photo, "--json", "--target", "psnr=90").stdout)
    assert record["exact"] is True and "level" not in record
    result = codec("encode", photo, "-f", "--lossy", "--target", "psnr=90")
    assert result.exit_code == 1 and "90 dB cannot be reached, the best level has" in result.stderr


def test_goals_take_a_lossless_file_where_it_is_better(
    codec, fake, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = read_picture(photo)
    exact = fake.Prepared(picture, True).encode(0)
    lossy = fake.Prepared(picture, None).encode(255)
    assert len(lossy) < len(exact)

    def written(goal: str) -> bytes:
        result = codec("encode", "-f", photo, "--target", goal)
        assert result.exit_code == 0, result.stderr
        return photo.with_suffix(".sgl").read_bytes()

    monkeypatch.setattr(fake.Prepared, "exact", exact)
    assert written("size=1MB") == exact
    assert len(written("size=20kB")) <= 20000 < len(exact)
    assert written("psnr=90") == exact
    assert written("psnr=38") != exact
    # As if the lossy file were larger, as that of a drawing is.
    encode = fake.Prepared.encode
    monkeypatch.setattr(fake.Prepared, "encode", lambda self, level: encode(self, level) + bytes(len(exact)))
    assert written("psnr=38") == exact


@pytest.mark.parametrize(
    "arguments",
    [
        ["-q", "101"],
        ["-q", "50", "-b", "1bpp"],
        ["--target", "size=20kB", "-b", "1bpp"],
        ["--lossless", "-q", "50"],
        ["-b", "0.5"],
        ["-b", "12kbps"],
        ["--target", "size=20"],
        ["--target", "psnr=high"],
        ["--target", "vmaf=90"],
        ["-T", "0"],
        ["-c", "imgae"],
        ["--no-such-option"],
        ["-o", "a.sgl", "--out-dir", "b"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_exit_code_2(codec, photo: Path, arguments: list[str]) -> None:
    before = names_in(photo.parent)
    result = codec("encode", photo, *arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith("codec: ")
    assert names_in(photo.parent) == before


def test_the_settings_reach_the_codec(codec, fake, photo: Path) -> None:
    codec("encode", photo, "-q", "80", "-T", "2", "--lossy")
    assert fake.calls == [{"quality": 80.0, "lossless": False, "model": "small", "threads": 2}]
    fake.calls.clear()
    codec("encode", photo, "-f")
    assert fake.calls[0] == {"quality": 60.0, "lossless": None, "model": "small", "threads": None}
    result = codec("encode", photo, "-f", "--model", "large")
    assert result.exit_code == 4 and "no model 'large'" in result.stderr


def test_nothing_is_overwritten_unasked(codec, photo: Path) -> None:
    file = photo.with_suffix(".sgl")
    file.write_bytes(b"precious")
    for command in (["encode", photo], ["encode", photo, "-n"]):
        result = codec(*command)
        assert result.exit_code == 1 and f"{file} exists; -f overwrites it" in result.stderr
        assert file.read_bytes() == b"precious"
    assert codec("encode", photo, "-f").exit_code == 0
    before = photo.read_bytes()
    result = codec("decode", file)
    assert result.exit_code == 1 and photo.read_bytes() == before
    result = codec("encode", photo, "-o", photo, "-f")
    assert result.exit_code == 2 and "is the input" in result.stderr and photo.read_bytes() == before


def test_a_dry_run_writes_nothing(codec, photo: Path) -> None:
    assert f"{photo} -> {photo.with_suffix('.sgl')}" in codec("encode", photo, "-n").stderr
    assert names_in(photo.parent) == ["photo.png"]
    codec("encode", photo, "-o", photo.parent / "b.sgl")
    result = codec("decode", "-n", photo.parent / "b.sgl")
    assert f"-> {photo.parent / 'b.png'}" in result.stderr
    assert names_in(photo.parent) == ["b.sgl", "photo.png"]


def test_folders_are_mirrored(codec, photo: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    (album / "2026" / "may").mkdir(parents=True)
    copy_as(photo, album / "one.png")
    copy_as(photo, album / "2026" / "may" / "two.jpg")
    (album / "notes.txt").write_text("no picture")
    result = codec("encode", album)
    assert result.exit_code == 2 and "is a folder; -r takes the files in it" in result.stderr
    result = codec("encode", "-r", album, photo, "--out-dir", tmp_path / "small")
    assert result.exit_code == 0, result.stderr
    assert names_in(tmp_path / "small") == ["2026/may/two.sgl", "one.sgl", "photo.sgl"]
    assert codec("decode", "-r", tmp_path / "small", "--out-dir", tmp_path / "back").exit_code == 0
    assert names_in(tmp_path / "back") == ["2026/may/two.jpg", "one.png", "photo.png"]
    result = codec("decode", "-r", album)
    assert result.exit_code == 2 and "nothing to do" in result.stderr


def test_two_inputs_never_share_an_output(codec, photo: Path, tmp_path: Path) -> None:
    copy_as(photo, tmp_path / "photo.jpg")
    copy_as(photo, tmp_path / "scan.1", "PNG")
    result = codec(
        "encode", photo, tmp_path / "photo.jpg", tmp_path / "scan.1", "--out-dir", tmp_path / "out"
    )
    assert result.exit_code == 0, result.stderr
    assert names_in(tmp_path / "out") == ["photo.jpg.sgl", "photo.png.sgl", "scan.1.sgl"]
    result = codec("decode", "-r", tmp_path / "out", "--out-dir", tmp_path / "back")
    assert result.exit_code == 0, result.stderr
    assert names_in(tmp_path / "back") == ["photo.jpg", "photo.png", "scan.1.png"]
    # Their formats make these two collide.
    (tmp_path / "out" / "photo.jpg.sgl").rename(tmp_path / "photo.sgl")
    codec("encode", tmp_path / "photo.jpg", "-o", tmp_path / "photo.jpg.sgl")
    files = (tmp_path / "photo.sgl", tmp_path / "photo.jpg.sgl")
    result = codec("decode", "-f", *files, "--out-dir", tmp_path / "back")
    assert result.exit_code == 5 and "would both be written to" in result.stderr
    for folder in ("out", "back"):
        shutil.rmtree(tmp_path / folder)
    for file in files:
        file.unlink()
    (tmp_path / "scan.1").unlink()
    result = codec("encode", photo, photo)
    assert result.exit_code == 2 and "would both be written to" in result.stderr
    result = codec("encode", photo, tmp_path / "photo.jpg", "-o", "x.sgl")
    assert result.exit_code == 2 and "-o takes one input" in result.stderr
    assert names_in(tmp_path) == ["photo.jpg", "photo.png"]


def test_a_failure_in_a_batch_does_not_stop_the_rest(codec, photo: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"this is no picture at all, whatever its name")
    result = codec("encode", bad, tmp_path / "absent.png", photo)
    assert result.exit_code == 5
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"{photo}  ")
    assert lines[1].startswith(f"codec: {bad}: not a picture")
    assert lines[2] == f"codec: {tmp_path / 'absent.png'}: no such file or directory"
    assert lines[3] == "codec: 2 of 3 files failed"
    assert names_in(tmp_path) == ["bad.png", "photo.png", "photo.sgl"]


def test_warnings_are_one_line(codec, tmp_path: Path) -> None:
    deep = tmp_path / "deep.png"
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(deep)
    result = codec("encode", deep)
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == (
        f"codec: warning: {deep}: more than 8 bits a sample are reduced to 8"
    )
    assert len(result.stderr.splitlines()) == 2


def test_names_that_are_no_text(codec, photo: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"odd\xff.png")
    try:
        photo.rename(odd)
    except OSError:
        pytest.skip("this file system takes no such names")
    result = codec("encode", odd, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["input"] == str(odd)
    file = odd.with_suffix(".sgl")
    for arguments in (["info", file], ["verify", file], ["compare", odd, file]):
        result = codec(*arguments)
        assert result.exit_code == 0 and "odd\\udcff" in result.stdout
    result = codec("decode", file, "-n", "-f")
    assert result.exit_code == 0 and "odd\\udcff.png" in result.stderr
    assert "odd\\udcff.png exists" in codec("decode", file).stderr


def test_a_name_may_be_as_long_as_a_file_system_takes(codec, photo: Path) -> None:
    long = photo.with_name("ä" * 125 + ".png")
    photo.rename(long)
    assert codec("encode", long).exit_code == 0 and long.with_suffix(".sgl").exists()


def test_quiet(codec, photo: Path) -> None:
    assert codec("encode", photo, "--quiet").stderr == ""


def test_an_unreadable_picture_is_an_unsupported_file() -> None:
    assert exit_code_of(UnsupportedInputError("x")) == 3
