"""Tiles and windows: where a picture is cut must not show, and symbols must be the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from siglum.codecs.image import lossy, windows
from siglum.codecs.image.codec import ImageCodec
from siglum.codecs.image.weights import load_by_name


def levels_apart(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.max(np.abs(one.astype(int) - other)))


def test_windows_give_what_one_pass_gives(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = load_by_name("small")
    picture = photo[:333, :417]
    engine = weights.engine("native")

    def analyse() -> np.ndarray:
        return windows.analyse(engine, weights.preset, picture, 120, 2)

    def synthesise(latents: np.ndarray) -> np.ndarray:
        return windows.synthesise(engine, weights.preset, latents, 120, 333, 417, 2)

    whole = analyse()
    monkeypatch.setattr(windows, "WINDOW", 7)
    parts = analyse()
    assert np.allclose(parts, whole, atol=2e-3)
    latents = np.rint(whole)
    cut = synthesise(latents)
    monkeypatch.setattr(windows, "WINDOW", 1000)
    assert levels_apart(cut, synthesise(latents)) <= 1


def test_tiles_show_no_seam(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = ImageCodec(level=140, lossless=False)
    whole = codec.decode_array(codec.encode(photo))
    monkeypatch.setattr(lossy, "TILE", 12)
    assert len(lossy.tiles(*photo.shape[:2])) == 12
    tiled = codec.decode_array(codec.encode(photo))
    error = np.mean((tiled.astype(float) - photo) ** 2)
    assert error == pytest.approx(np.mean((whole.astype(float) - photo) ** 2), rel=0.03)
    residual = tiled.astype(float) - photo
    steps = np.mean(np.abs(np.diff(residual, axis=1)), axis=(0, 2))  # step i is between columns i and i + 1
    seams = [192 * i - 1 for i in range(1, 4)]
    inside = [192 * i - 1 + 80 for i in range(1, 4)]  # also borders of 16-pixel patches
    assert np.mean(steps[seams]) < 1.15 * np.mean(steps[inside])


def test_symbols_are_checked(photo: np.ndarray) -> None:
    from siglum.errors import ChecksumMismatch

    weights = load_by_name("small")
    coded, _ = lossy.encode(weights, photo[:64, :80], 100, 1)
    damaged = lossy.Tile(coded[0].payload, coded[0].symbols_crc ^ 1)
    with pytest.raises(ChecksumMismatch):
        lossy.decode_tile(weights, damaged, (4, 5), 100, 1)


def test_identical_symbols_give_identical_payloads(photo: np.ndarray) -> None:
    weights = load_by_name("small")
    random = np.random.default_rng(0)
    z = random.integers(-3, 4, (2, 2, weights.preset["hyper"])).astype(np.int16)
    symbols = random.integers(-2, 3, (7, 8, weights.preset["latent"])).astype(np.int32)
    payloads = set()
    for threads in (1, 2):
        _, index = lossy.predict(weights, z, symbols, 90, threads)
        payloads.add(lossy.encode_symbols(weights, z, symbols, index, 90))
    assert len(payloads) == 1


def test_means_and_tables_are_those_of_the_encoder(photo: np.ndarray) -> None:
    weights = load_by_name("small")
    y = windows.analyse(weights.engine("native"), weights.preset, photo[:112, :144], 150, 1)
    z, mean, index, symbols = lossy.choose_symbols(weights, y, 150, 1)
    again_mean, again_index = lossy.predict(weights, z, symbols, 150, 2)
    assert np.array_equal(again_mean, mean) and np.array_equal(again_index, index)
    assert not symbols[index < weights.skip].any()


SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from siglum.codecs.image.codec import ImageCodec
data = Path(sys.argv[1]).read_bytes()
np.save(sys.argv[2], ImageCodec(threads=int(sys.argv[3])).decode_array(data))
"""


def test_other_processes_threads_and_instruction_sets_decode_the_same(
    photo: np.ndarray, tmp_path: Path
) -> None:
    from siglum.kernels import dispatch

    codec = ImageCodec(level=110, threads=2)
    path = tmp_path / "photo.sgl"
    path.write_bytes(codec.encode(photo[:256, :320]))
    here = codec.decode_array(path.read_bytes())
    for isa, threads in zip(
        (*dispatch.available_isas(), dispatch.available_isas()[0]), (1, 2, 1, 2), strict=False
    ):
        out = tmp_path / f"{isa}-{threads}.npy"
        environment = {**os.environ, "SIGLUM_ISA": isa}
        command = [sys.executable, "-c", SCRIPT, str(path), str(out), str(threads)]
        subprocess.run(command, check=True, env=environment)  # the symbols' checksum is verified inside
        assert levels_apart(np.load(out), here) <= 1
