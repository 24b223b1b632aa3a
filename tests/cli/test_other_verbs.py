from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from siglum.codecs import models


@pytest.fixture
def file(codec, photo: Path) -> Path:
    assert codec("encode", photo).exit_code == 0
    return photo.with_suffix(".sgl")


def test_info_is_a_block_or_json(codec, file: Path) -> None:
    result = codec("info", file)
    lines = result.stdout.splitlines()
    assert lines[0] == str(file) and "  codec             image" in lines
    assert "  shape             180 x 200 x 3" in lines
    assert "  chunks            2 data (1.5 kB)" in lines
    record = json.loads(codec("info", "--json", file).stdout)
    assert record["input"] == str(file) and record["shape"] == [180, 200, 3]
    assert json.loads(codec("info", "--json", "-", data=file.read_bytes()).stdout)["codec"] == "image"
    assert len(codec("info", file, file).stdout.split("\n\n")) == 2


def test_info_and_verify_tell_damage_from_foreign_files(codec, file: Path, photo: Path) -> None:
    assert codec("info", photo).exit_code == 3
    good = codec("verify", file)
    assert good.exit_code == 0 and good.stdout.startswith(f"{file}: ok  200x180  ")
    assert json.loads(codec("verify", "--json", file).stdout)["ok"] is True
    assert codec("verify", "--quiet", file).output == ""
    data = bytearray(file.read_bytes())
    data[-5] ^= 4
    file.write_bytes(data)
    damaged = codec("verify", file)
    assert damaged.exit_code == 3 and damaged.stderr == f"codec: {file}: a checksum does not fit\n"
    foreign = codec("verify", photo)
    assert foreign.exit_code == 3 and "not a siglum file but a PNG picture" in foreign.stderr
    assert codec("verify", file, file).exit_code == 5
    assert sorted(path.name for path in file.parent.iterdir()) == ["photo.png", "photo.sgl"]


def test_a_limit_on_pixels_is_kept(codec, file: Path, photo: Path) -> None:
    commands = (
        ["verify", file], ["info", file], ["decode", "-n", file], ["decode", "-f", file], ["decode", file, "-o", "-"],
        ["encode", "-f", photo],
    )  # fmt: skip
    for command in commands:
        result = codec(*command, "--max-pixels", 1000)
        assert result.exit_code == 3 and "more than 1000 pixels" in result.stderr


def test_compare(codec, file: Path, photo: Path) -> None:
    result = codec("compare", photo, file)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 5 and lines[0].startswith(str(photo)) and lines[2].startswith("PSNR  ")
    assert lines[3].startswith("MS-SSIM             0.") and lines[4].endswith("of 255")
    record = json.loads(codec("compare", "--json", photo, file).stdout)
    assert record["second_bytes"] == file.stat().st_size and record["equal"] is False
    assert 20 < record["psnr_db"] < 60 and 5 < record["ms_ssim_db"] < 60
    same = json.loads(codec("compare", "--json", photo, photo).stdout)
    assert same["psnr_db"] is None and same["equal"] is True and same["largest_difference"] == 0
    assert "infinite" in codec("compare", photo, photo).stdout


def test_compare_of_other_channels(codec, tmp_path: Path) -> None:
    gray = np.random.default_rng(1).integers(0, 256, (20, 20), dtype=np.uint8)
    alpha = np.full_like(gray, 255)
    alpha[3, 3] = 5
    Image.fromarray(gray).save(tmp_path / "gray.png")
    Image.fromarray(np.dstack([gray] * 3)).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([gray, gray, gray, alpha])).save(tmp_path / "rgba.png")
    Image.fromarray(gray[:, :10]).save(tmp_path / "half.png")
    pair = codec("compare", "--json", tmp_path / "gray.png", tmp_path / "rgb.png")
    assert json.loads(pair.stdout)["equal"] is True
    record = json.loads(codec("compare", "--json", tmp_path / "gray.png", tmp_path / "rgba.png").stdout)
    assert record["largest_difference"] == 250 and record["psnr_db"] is None and record["ms_ssim"] is None
    assert "too small for it" in codec("compare", tmp_path / "gray.png", tmp_path / "rgb.png").stdout
    result = codec("compare", tmp_path / "gray.png", tmp_path / "half.png")
    assert result.exit_code == 2 and "differ in size: 20x20 and 10x20" in result.stderr
    assert codec("compare", tmp_path / "gray.png", tmp_path / "absent.png").exit_code == 1


def test_truncate_writes_only_what_still_decodes(codec, file: Path) -> None:
    shorter = file.with_name("shorter.sgl")
    result = codec("truncate", file, "-o", shorter, "--size", "10MB")
    assert result.exit_code == 0 and shorter.read_bytes() == file.read_bytes()
    shorter.unlink()
    result = codec("truncate", file, "-o", shorter, "--chunks", 1)
    assert result.exit_code == 2 and "it is not progressive" in result.stderr
    assert not shorter.exists()
    damaged = file.with_name("damaged.sgl")
    damaged.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 4]))
    result = codec("truncate", damaged, "-o", shorter, "--chunks", 1)
    assert result.exit_code == 3 and "a checksum does not fit" in result.stderr and not shorter.exists()
    assert codec("truncate", file, "-o", shorter).exit_code == 2
    assert codec("truncate", file, "-o", file, "--chunks", 1, "-f").exit_code == 2


def test_models(codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "PACKAGE_FOLDER", tmp_path / "package")
    monkeypatch.setattr(models, "_check_fits", lambda *_: None)  # the weights here are no model of any codec
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("SIGLUM_MODELS", raising=False)
    assert "no model is installed" in codec("models").stdout
    save_file({"w": np.ones(3, np.float16)}, tmp_path / "mine.safetensors")
    card = {"name": "mine", "codec": "image", "licence": "CC0-1.0", "seed": 7}
    result = codec("models", "add", tmp_path / "mine.safetensors")
    assert result.exit_code == 3 and "needs a card" in result.stderr
    (tmp_path / "mine.json").write_text(json.dumps(card))
    result = codec("models", "add", tmp_path / "mine.safetensors")
    assert result.exit_code == 0 and "mine (image, " in result.stderr
    heading, row = codec("models").stdout.splitlines()
    assert heading.split() == ["name", "codec", "id", "size", "licence", "where"]
    assert row.startswith("mine  image  ") and row.endswith("siglum/models")
    assert json.loads(codec("models", "--json").stdout)["seed"] == 7
    assert json.loads(codec("models", "show", "mine").stdout)["licence"] == "CC0-1.0"
    assert codec("models", "show", "other").exit_code == 4
    assert codec("models", "add", tmp_path / "absent.safetensors").exit_code == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(codec, shell: str) -> None:
    result = codec("completion", shell)
    assert result.exit_code == 0 and "_CODEC_COMPLETE" in result.stdout
    assert codec("completion", "tcsh").exit_code == 2


VERBS = [
    "encode",
    "decode",
    "info",
    "verify",
    "compare",
    "truncate",
    "models",
    "train",
    "bench",
    "completion",
]


@pytest.mark.parametrize(
    "verb", ["", *VERBS, "models add", "models show", "train image", "bench report", "bench entropy"]
)
def test_every_help_has_an_example(codec, verb: str) -> None:
    result = codec(*verb.split(), "--help")
    assert result.exit_code == 0 and "Example" in result.stdout
    assert f"codec {verb}" in result.stdout.split("Example", 1)[1]


def test_the_group(codec) -> None:
    assert codec("--version").stdout.startswith("codec (siglum) 0.")
    result = codec("encoode")
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert "codec --help says more" in result.stderr


@pytest.mark.parametrize("verb", [[], ["encode"], ["models", "add"]])
def test_without_arguments_the_help_is_shown(codec, verb: list[str]) -> None:
    result = codec(*verb)
    # Its lines are as they were; click 8.1 ends with 0 and prints it on standard output.
    assert result.exit_code in (0, 2) and result.output == codec(*verb, "--help").stdout


def test_train_refuses_what_cannot_work(codec, tmp_path: Path) -> None:
    result = codec("train", "image", "--data", tmp_path / "absent", "--out", tmp_path / "run")
    assert result.exit_code == 2 and "is no folder" in result.stderr
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pt").write_bytes(b"")
    result = codec("train", "image", "--data", tmp_path, "--out", tmp_path / "run")
    assert result.exit_code == 2 and "holds a run already" in result.stderr
