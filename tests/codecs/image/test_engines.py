"""Two engines, one file format: pixels within a level of each other, and no torch unless it is asked for."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from siglum import errors
from siglum.codecs.image import lossy, native_engine, windows
from siglum.codecs.image.codec import ImageCodec
from siglum.codecs.image.weights import load_by_name
from siglum.kernels import dispatch
from siglum.kernels.float_network import rounds


def levels_apart(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.max(np.abs(one.astype(int) - other)))


@pytest.mark.parametrize("level", [0, 77, 160, 255])
def test_the_networks_agree_with_torch(
    photo: np.ndarray, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    weights = load_by_name("small")
    picture = photo[:210, 300:533]
    native, torch = weights.engine("native"), weights.engine("torch")
    y = windows.analyse(torch, weights.preset, picture, level, 1)
    z = torch.hyper_analyse(y, level, 1)
    latents = np.rint(y)
    pixels = windows.synthesise(torch, weights.preset, latents, level, 210, 233, 1)
    for isa, threads in product(dispatch.available_isas(), (1, 2)):
        monkeypatch.setenv("SIGLUM_ISA", isa)
        ours = windows.analyse(native, weights.preset, picture, level, threads)
        rounded = rounds(isa)  # an encoder may: its symbols are its own choice
        assert np.max(np.abs(ours - y)) < (1e-3 if rounded else 1e-5) * np.abs(y).max()
        assert np.std(ours - y) < (1e-3 if rounded else 1e-5) * np.std(y)
        assert np.allclose(native.hyper_analyse(y, level, threads), z, rtol=0, atol=1e-5 * np.abs(z).max())
        ours = windows.synthesise(native, weights.preset, latents, level, 210, 233, threads)
        assert levels_apart(ours, pixels) <= 1


def test_any_engine_decodes_what_the_other_wrote(photo: np.ndarray) -> None:
    pytest.importorskip("torch")
    picture = photo[100:197, 200:333]
    codecs = [ImageCodec(level=140, lossless=False, engine=engine) for engine in ("native", "torch")]
    for coder in codecs:
        data = coder.encode(picture)
        first, second = (codec.decode_array(data) for codec in codecs)
        assert levels_apart(first, second) <= 1
        assert np.mean((first.astype(float) - picture) ** 2) < 40


def test_settings() -> None:
    with pytest.raises(errors.UsageError, match="engine is native or torch"):
        ImageCodec(engine="fast")  # type: ignore[arg-type]


def test_without_torch_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest)
    )
    with pytest.raises(
        errors.SiglumError, match=r"needs torch, which is not installed: pip install 'siglum\[train\]'"
    ):
        ImageCodec(engine="torch")


SCRIPT = """
import sys
sys.modules["torch"] = None  # an import of it raises
from siglum.cli.main import main
folder, photo = sys.argv[1:]
def run(*arguments):
    code = main(list(arguments), standalone_mode=False)
    assert not code, arguments
run("encode", photo, "-o", f"{folder}/a.sgl", "--psnr")
run("encode", photo, "-o", f"{folder}/b.sgl", "--target", "size=9kB")
run("decode", f"{folder}/a.sgl", "-o", f"{folder}/a.png")
run("verify", f"{folder}/a.sgl")
run("compare", f"{folder}/a.sgl", photo)
run("info", f"{folder}/a.sgl")
assert main(["train", "image", "--data", folder, "--out", f"{folder}/run"], standalone_mode=False) == 1
assert main(["decode", f"{folder}/a.sgl", "-f", "--engine", "torch"], standalone_mode=False) == 1
for name in ("torch", "constriction", "siglum.codecs.image.torch_engine", "siglum.codecs.image.transform"):
    assert sys.modules.get(name) is None, name
"""


def test_pictures_need_no_torch(tmp_path: Path, photo_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(photo_path)]
    done = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    wanting = [line for line in done.stderr.splitlines() if "pip install 'siglum[train]'" in line]
    assert len(wanting) == 2 and wanting[0].startswith("codec: training needs torch")


def test_weights_of_another_preset_are_refused() -> None:
    weights = load_by_name("small")
    tensors = dict(weights.networks)
    y = np.zeros((4, 4, weights.preset["latent"]), np.float32)
    out = np.empty((64, 64, 3), np.uint8)

    def synthesise(changed: dict[str, np.ndarray], **sizes: int) -> None:
        engine = native_engine.NativeEngine({**tensors, **changed}, {**weights.preset, **sizes})
        engine.synthesise(y, 100, out, 0, 0, 1)

    synthesise({})
    wrong = {
        "synthesis.enter.bias": np.zeros(3, np.float32),
        "synthesis.up.weight": tensors["synthesis.up.weight"][:-1],
        "synthesis.linear.weight": tensors["synthesis.linear.weight"][:, :-1],
        "synthesis.leave.weight": tensors["synthesis.leave.weight"].astype(np.int32),
        "synthesis.blocks8.0.depthwise.weight": tensors["synthesis.blocks8.0.depthwise.weight"][..., :2],
        "synthesis.blocks16.1.narrow.weight": tensors["synthesis.blocks16.1.narrow.weight"][:, 2:],
        "synthesis.gain.anchors": tensors["synthesis.gain.anchors"][:, :-1],
    }
    for name, array in wrong.items():
        with pytest.raises(errors.UnknownModel, match="not of its preset"):
            synthesise({name: array})
    with pytest.raises(errors.UnknownModel, match="lacks"):
        synthesise({}, synthesis8=9)


def test_a_window_of_a_row(photo: np.ndarray) -> None:
    weights = load_by_name("small")
    for shape in ((1, 1), (1, 300), (300, 1), (17, 16)):
        picture = photo[: shape[0], : shape[1]]
        coded, y = lossy.encode(weights, picture, 90, 2)
        pixels = lossy.synthesise(weights, y, 90, *shape, 2)
        assert np.array_equal(lossy.decode_latents(weights, coded, *shape, 90, 1), y)
        assert np.mean((pixels.astype(float) - picture) ** 2) < 100
