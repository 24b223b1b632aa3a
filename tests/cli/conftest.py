from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import siglum
import siglum.codecs
from siglum.cli.main import main

FAKE = Path(__file__).with_name("fake_codec.py")


@pytest.fixture(scope="session")
def fake_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fake_codec", FAKE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_codec"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fake(fake_module: ModuleType) -> Iterator[ModuleType]:
    """The fake codec, in place while the test runs."""
    names = ("siglum.codecs.image.codec", "siglum.codecs.container")
    absent = object()
    modules = {name: sys.modules.get(name) for name in names}
    attributes = [(siglum, "inspect"), (siglum.codecs, "container")]
    before = [vars(owner).get(name, absent) for owner, name in attributes]
    fake_module.install()
    fake_module.calls.clear()
    yield fake_module
    for name, module in modules.items():
        sys.modules.pop(name)
        if module is not None:
            sys.modules[name] = module
    for (owner, name), value in zip(attributes, before, strict=True):
        if value is absent:
            delattr(owner, name)
        else:
            setattr(owner, name, value)


@pytest.fixture
def codec(fake: ModuleType) -> Callable[..., Result]:
    """Run the command line in this process."""

    def run(*args: object, data: bytes | None = None) -> Result:
        return CliRunner().invoke(main, [str(arg) for arg in args], input=data)

    return run


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run the installed ``codec`` in a process of its own, with the fake codec in it."""
    site = tmp_path / "site"
    site.mkdir()
    # Loaded before anything else, by Python itself.
    (site / "sitecustomize.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(FAKE.parent)!r})\n"
        "import siglum.codecs.image, fake_codec\n"
        "fake_codec.install()\n"
        "sys.path.pop(0)\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SIGLUM_")}
    environment |= {"PYTHONPATH": str(site), "XDG_DATA_HOME": str(tmp_path / "data")}

    def run(*args: object, **options: object) -> subprocess.CompletedProcess[bytes]:
        command = [str(Path(sys.executable).with_name("codec")), *(str(arg) for arg in args)]
        options = {"capture_output": True, "timeout": 60, "env": environment} | options
        return subprocess.run(command, check=False, **options)  # type: ignore[call-overload]

    return run


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture with some texture, 200x180 RGB."""
    y, x = np.mgrid[:180, :200]
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 13)], axis=-1)
    noise = np.random.default_rng(6).normal(0, 5, waves.shape)
    path = tmp_path / "photo.png"
    Image.fromarray(np.clip(128 + 60 * waves + noise, 0, 255).astype(np.uint8)).save(path)
    return path
