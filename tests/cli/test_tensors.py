"""The command line on plain tensors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file

from siglum.cli.main import main


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "weights.safetensors"
    save_file(
        {
            "layer.weight": rng.standard_normal((64, 32)).astype(np.float16),
            "layer.bias": np.zeros(64, np.float32),
            "ids": np.arange(7),
        },
        path,
        {"format": "pt"},
    )
    return path


def test_tensors_go_there_and_back(weights: Path) -> None:
    coded = weights.with_name("weights.safetensors.sgl")
    result = run("encode", weights, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["codec"] == "tensor" and record["exact"] and record["tensors"] == 3
    assert record["output_bytes"] == coded.stat().st_size < record["input_bytes"]
    back = weights.with_name("back.safetensors")
    assert run("decode", coded, "-o", back).exit_code == 0
    before, after = load_file(weights), load_file(back)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert back.read_bytes()[8:].split(b"}")[0].count(b"format")
    assert "3 tensors" in run("verify", coded).output
    assert "tensor" in run("info", coded).output


def test_an_array_alone_is_a_npy_again(tmp_path: Path) -> None:
    array = np.random.default_rng(1).standard_normal((50, 60)).astype(np.float32)
    path = tmp_path / "field.npy"
    np.save(path, array)
    assert run("encode", path, "--max-error", "0.01").exit_code == 0
    path.unlink()
    assert run("decode", tmp_path / "field.npy.sgl").exit_code == 0
    assert 0 < np.abs(np.load(path) - array).max() <= 0.01
    assert run("decode", tmp_path / "field.npy.sgl", "--format", "safetensors").exit_code == 0
    assert load_file(tmp_path / "field.npy.safetensors")["array"].shape == (50, 60)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--lossless", "-q", "50"), "leave out -q"),
        (("--lossy",), "how much may tensors lose"),
        (("--window", "4"), "are for key-value caches"),
        (("--psnr",), "is for pictures"),
        (("-q", "50", "--max-error", "1"), "give one"),
        (("-c", "kv"), "no key-value cache"),
    ],
)
def test_options_that_do_not_fit_are_refused(weights: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run("encode", weights, *arguments)
    assert result.exit_code in (2, 3) and message in result.output
    assert not weights.with_name("weights.safetensors.sgl").exists()


def test_several_tensors_are_no_npy_and_no_picture(weights: Path) -> None:
    coded = weights.with_name("weights.safetensors.sgl")
    assert run("encode", weights).exit_code == 0
    for name in ("x.npy", "x.png"):
        assert run("decode", coded, "-o", weights.with_name(name)).exit_code == 2
        assert not weights.with_name(name).exists()
