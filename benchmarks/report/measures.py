"""The metrics as the page knows them: names, units, which way is better, how to take their mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A metric of the rows.

    Attributes
    ----------
    key, label, unit
        Name in the rows, name on the page, unit or "".
    better
        "higher" or "lower".
    mean_of
        "values", or "similarity": decibels whose mean is taken before they are made decibels.
    digits
        Decimals to print.
    """

    key: str
    label: str
    unit: str = ""
    better: str = "higher"
    mean_of: str = "values"
    digits: int = 2

    def mean(self, values: Floats) -> Any:
        """Return means over the last axis; (..., items) -> (...)."""
        if self.mean_of == "values":
            return values.mean(axis=-1)
        with np.errstate(divide="ignore"):
            return -10 * np.log10((10 ** (-values / 10)).mean(axis=-1))

    def quality(self, means: Floats) -> Floats:
        """Return what grows with quality: errors become decibels below 1."""
        if self.better == "higher":
            return means
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(-10 * np.log10(means))


_KNOWN = (
    Metric("psnr", "PSNR", "dB"),
    Metric("psnr_y", "PSNR of luma", "dB"),
    Metric("ms_ssim", "MS-SSIM", "dB", mean_of="similarity"),
    Metric("ssimulacra2", "SSIMULACRA 2"),
    Metric("butteraugli", "Butteraugli", better="lower", digits=3),
    Metric("lpips", "LPIPS", better="lower", digits=4),
    Metric("top1_agreement", "Top-1 agreement", digits=3),
    Metric("pesq", "PESQ-WB", "MOS", digits=3),
    Metric("visqol_speech", "ViSQOL speech", "MOS", digits=3),
    Metric("visqol", "ViSQOL", "MOS", digits=3),
    Metric("stoi", "STOI", digits=4),
    Metric("si_sdr", "SI-SDR", "dB"),
    Metric("mel", "Mel distance", better="lower", digits=4),
    Metric("kl", "KL divergence", "nats", better="lower", digits=5),
    Metric("top1", "Top-1 agreement", digits=4),
    Metric("needle", "Pass keys found", digits=3),
    Metric("generation", "Generation agreement", digits=3),
    Metric("mse", "MSE", better="lower", digits=6),
    Metric("cosine", "Cosine similarity", digits=6),
    Metric("relative_error", "Relative error", better="lower", digits=5),
)
_ORDER = {metric.key: place for place, metric in enumerate(_KNOWN)}


def metrics_of(keys: set[str]) -> list[Metric]:
    """Return the metrics of these names in the page's order; unknown ones count as better when higher."""
    known = [_KNOWN[_ORDER[key]] for key in sorted(keys & _ORDER.keys(), key=_ORDER.__getitem__)]
    return known + [Metric(key, key, digits=4) for key in sorted(keys - _ORDER.keys())]
