from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from siglum.cli.main import main

MEDIA = Path(__file__).parents[2] / "media"


def codec(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vq")
    with Image.open(MEDIA / "kodim23.png") as image:
        image.crop((0, 0, 256, 192)).save(path / "p.png")
    result = codec("encode", path / "p.png", "-o", path / "p.sgl", "--codec", "image-vq", "-q", 70)
    assert result.exit_code == 0, result.output
    return path


def test_truncate_partial_and_conceal(folder: Path) -> None:
    whole = (folder / "p.sgl").read_bytes()
    result = codec("truncate", folder / "p.sgl", "-o", folder / "s.sgl", "--size", f"{len(whole) * 2 // 3}B")
    assert result.exit_code == 0, result.output
    assert codec("decode", folder / "s.sgl", "-o", folder / "s.png").exit_code == 0

    (folder / "cut.sgl").write_bytes(whole[: len(whole) - 40])
    assert codec("decode", folder / "cut.sgl", "-o", folder / "c.png").exit_code == 3
    assert codec("decode", folder / "cut.sgl", "-o", folder / "c.png", "--partial").exit_code == 0

    bad = bytearray(whole)
    bad[len(bad) // 2] ^= 1
    (folder / "bad.sgl").write_bytes(bad)
    assert codec("decode", folder / "bad.sgl", "-o", folder / "b.png", "--partial").exit_code == 3
    result = codec("decode", folder / "bad.sgl", "-o", folder / "b.png", "--conceal")
    assert result.exit_code == 0 and "warning" in result.stderr and "guess" in result.stderr
    shapes = {np.asarray(Image.open(folder / f"{name}.png")).shape for name in "scb"}
    assert shapes == {(192, 256, 3)}


def test_info_and_wrong_uses(folder: Path) -> None:
    assert "image-vq" in codec("info", folder / "p.sgl").stdout
    assert codec("encode", folder / "p.png", "-o", folder / "i.sgl", "-q", 20).exit_code == 0
    result = codec("decode", folder / "i.sgl", "-o", folder / "i.png", "--conceal")
    assert result.exit_code == 2 and "image-vq" in result.stderr
    result = codec("encode", folder / "p.png", "-o", folder / "l.sgl", "--codec", "image-vq", "--lossless")
    assert result.exit_code == 2 and "lossy" in result.stderr


def test_a_target_size_is_kept(folder: Path) -> None:
    result = codec(
        "encode", folder / "p.png", "-o", folder / "t.sgl", "--codec", "image-vq", "--target", "size=2500B"
    )
    assert result.exit_code == 0, result.output
    assert 1800 < (folder / "t.sgl").stat().st_size <= 2500
