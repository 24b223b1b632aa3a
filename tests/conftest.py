"""What every test needs: the repository's own folders must not hide other packages' (`datasets`, `kernels`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

# A process of little memory starts the command: a child's peak begins with what its parent had.
MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=sys.stderr)
usage = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(usage * (1 if sys.platform == "darwin" else 1024))
sys.exit(done.returncode)
"""


def measure_peak(*command: str) -> int:
    """Run a command that must succeed; the most memory it had, in bytes."""
    done = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.fixture(scope="session")
def peak_of() -> Callable[..., int]:
    """The function that runs a command and returns its peak of memory in bytes."""
    return measure_peak


@pytest.fixture(scope="session")
def photo_path() -> Path:
    """A real photograph: Kodak 23, 768x512."""
    return ROOT / "tests" / "media" / "kodim23.png"


@pytest.fixture(scope="session")
def photo(photo_path: Path) -> np.ndarray:
    """The photograph as (512, 768, 3) uint8."""
    with Image.open(photo_path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="session")
def audio_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small audio model of random weights, called tiny."""
    torch = pytest.importorskip("torch")
    from siglum.codecs import models
    from siglum.codecs.audio import weights
    from siglum.codecs.audio.export import tensors_of
    from siglum.codecs.audio.presets import Preset
    from siglum.codecs.audio.transform import AudioModel

    torch.manual_seed(0)
    preset = Preset(16000, 160, 16, 2, 3, 32, 24, 2, 1, 24, 3, 2)
    tensors = tensors_of(AudioModel(preset))
    tensors[weights.UNIT] = np.ones(1, np.float32)
    tensors[weights.CONFIG] = weights.config_of(preset)
    folder = tmp_path_factory.mktemp("models")
    card = {"name": "tiny", "codec": "audio", "licence": "Apache-2.0"}
    models.write(tensors, folder / "audio-tiny.safetensors", card)
    return folder


@pytest.fixture
def tiny(audio_models: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the small audio model, installed while the test runs."""
    monkeypatch.setenv("SIGLUM_MODELS", str(audio_models))
    return "tiny"


@pytest.fixture(scope="session")
def rows_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[dict[str, Any]]]:
    """The function that runs a program that compiles GPU kernels, and returns the JSON that it prints line by line."""

    def run(code: str) -> list[dict[str, Any]]:
        # Its own process, since the interpreter's tests import the same kernels in their interpreted form.
        environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run
