"""Which compiled kernels run, and on how many threads: chosen at run time, forced by the environment."""

from __future__ import annotations

import os

import siglum.kernels._native as _native
from siglum.errors import UsageError

ISAS = ("scalar", "neon", "avx2", "avx512")
"""The instruction sets that siglum knows, slowest first. All of them give the same results."""

MAX_THREADS = 1024


def available_isas() -> tuple[str, ...]:
    """Return the instruction sets that both this CPU and this build have, slowest first."""
    return tuple(name for name in ISAS if _native.has_isa(name))


def isa() -> str:
    """Return the instruction set that the kernels use.

    The fastest available one, or what the environment variable ``SIGLUM_ISA`` says.

    Raises
    ------
    UsageError
        ``SIGLUM_ISA`` is unknown or not available here.
    """
    forced = os.environ.get("SIGLUM_ISA", "")
    available = available_isas()
    if not forced:
        return available[-1]
    if forced not in available:
        problem = "not available on this machine" if forced in ISAS else "unknown"
        raise UsageError(f"SIGLUM_ISA={forced} is {problem}: use one of {', '.join(available)}")
    return forced


def cpu_count() -> int:
    """Return the number of CPUs that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def threads(requested: int | None = None) -> int:
    """Return a number of threads: `requested`, else ``SIGLUM_THREADS``, else the number of CPUs.

    Raises
    ------
    UsageError
        The number is not an integer from 1 to `MAX_THREADS`.
    """
    if requested is not None:
        if isinstance(requested, bool) or not isinstance(requested, int) or not 1 <= requested <= MAX_THREADS:
            raise UsageError(
                f"the number of threads must be an integer from 1 to {MAX_THREADS}, not {requested!r}"
            )
        return requested
    text = os.environ.get("SIGLUM_THREADS", "")
    if not text:
        return min(cpu_count(), MAX_THREADS)
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_THREADS):
        raise UsageError(f"SIGLUM_THREADS must be an integer from 1 to {MAX_THREADS}, not {text!r}")
    return int(text)
