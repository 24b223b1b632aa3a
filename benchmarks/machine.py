"""What a benchmark prints beside its figures: the machine, the settings, the versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("siglum", "numpy", "torch", "pillow")


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
