"""Key-value caches through the command line, on the real one in tests/media."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from siglum import kv
from siglum.cli.main import main

CACHE = Path(__file__).parents[1] / "media" / "smollm2-kv.safetensors"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_there_and_back(tmp_path: Path) -> None:
    small, back = tmp_path / "cache.sgl", tmp_path / "back.safetensors"
    result = run("encode", CACHE, "-o", small, "-q", "60", "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert record["output_bytes"] == small.stat().st_size < CACHE.stat().st_size / 5
    assert record["calibration"]
    result = run("info", "--json", small)
    assert json.loads(result.stdout)["codec"] == "kv"
    assert run("verify", small).exit_code == 0
    result = run("decode", small, "-o", back)
    assert result.exit_code == 0, result.stderr
    one, other = kv.read_cache(CACHE), kv.read_cache(back)
    assert (other.tokens, other.model, other.layers[0].rope) == (128, one.model, one.layers[0].rope)
    error = np.mean(
        [np.square(a.values - b.values).mean() for a, b in zip(one.layers, other.layers, strict=True)]
    )
    assert error < 0.4 * np.mean([np.square(a.values).mean() for a in one.layers])


def test_lossless_and_parts(tmp_path: Path) -> None:
    small, back = tmp_path / "cache.sgl", tmp_path / "back.safetensors"
    assert run("encode", CACHE, "-o", small, "--lossless", "-T", "1").exit_code == 0
    assert run("decode", small, "-o", back, "--tokens", "64:100", "--layers", "3,7-8").exit_code == 0
    one, other = kv.read_cache(CACHE), kv.read_cache(back)
    assert [layer.keys.shape for layer in other.layers] == [(3, 36, 64)] * 3
    assert np.array_equal(other.layers[2].values, one.layers[8].values[:, 64:100])


def test_damage_and_partial(tmp_path: Path) -> None:
    small, back = tmp_path / "cache.sgl", tmp_path / "back.safetensors"
    run("encode", CACHE, "-o", small, "--lossless")
    data = bytearray(small.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    small.write_bytes(data)
    assert run("decode", small, "-o", back).exit_code == 3
    result = run("decode", small, "-o", back, "--partial")
    assert result.exit_code == 0
    assert "missing, and zero here: tokens 64-127" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--psnr"], 2, "for pictures"),
        (["--calibration", "none-such"], 4, "none-such"),
        (["--rope-theta", "10000"], 2, "--rope-theta"),
        (["-c", "image"], 2, "takes no file of tensors"),
        (["--sinks", "1000"], 2, "sinks"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    result = run("encode", CACHE, "-o", tmp_path / "out.sgl", *arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert not (tmp_path / "out.sgl").exists()


def test_tensors_that_are_no_cache(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"embedding": np.zeros((4, 4), np.float32)}, tmp_path / "plain.safetensors")
    result = run("encode", tmp_path / "plain.safetensors", "-c", "kv")
    assert result.exit_code == 3
    assert "layers.N.keys" in result.stderr
    result = run("decode", tmp_path / "plain.safetensors")
    assert result.exit_code == 3
    assert "file of tensors" in result.stderr


def test_options_of_caches_are_refused_for_pictures(tmp_path: Path) -> None:
    result = run("encode", CACHE.parent / "kodim23.png", "-o", tmp_path / "out.sgl", "--sinks", "4")
    assert result.exit_code == 2


@pytest.mark.parametrize("text", ["5", "a:b", "-1:4"])
def test_ranges_that_are_none(tmp_path: Path, text: str) -> None:
    small = tmp_path / "cache.sgl"
    run("encode", CACHE, "-o", small, "--lossless")
    assert run("decode", small, "-o", tmp_path / "back.safetensors", f"--tokens={text}").exit_code == 2


def test_calibrating_refuses_early(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("words")
    assert run("kv", "calibrate", "model", text, "-o", tmp_path / "x.bin").exit_code == 2
    result = run("kv", "calibrate", tmp_path / "none", text, "-o", tmp_path / "x.safetensors")
    assert result.exit_code in (1, 2, 3)
