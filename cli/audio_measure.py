"""How far two recordings are apart: SI-SDR, and PESQ and STOI where their packages are installed."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from siglum.cli.output import print_json, say
from siglum.cli.units import format_seconds, format_size
from siglum.errors import SiglumError, UnsupportedInputError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from siglum.codecs.audio.recording import Recording

MEASURES = {"pesq": "pesq", "stoi": "pystoi"}  # and the packages that they need
RATE = 16000
_PIECE = 20 * RATE  # samples of which PESQ is measured at once: it was made for sentences
_SHORTEST = RATE // 2


def has(name: str) -> bool:
    """Whether the package for a measure is installed."""
    return find_spec(MEASURES[name]) is not None


def require(name: str) -> None:
    """Raise `SiglumError` unless the package for a measure is installed."""
    if not has(name):
        raise SiglumError(f"measuring {name.upper()} needs {MEASURES[name]}: pip install {MEASURES[name]}")


def speech_of(recording: Recording) -> NDArray[np.float32]:
    """The mean of the channels at 16 kHz, which PESQ and STOI hear."""
    from siglum.codecs.audio.resample import Resampler

    return Resampler(recording.rate, RATE, 1).push(recording.samples.mean(axis=1, keepdims=True), True)[:, 0]


def measure(name: str, original: NDArray[np.float32], decoded: NDArray[np.float32]) -> float:
    """PESQ-WB, or STOI, of `speech_of` two recordings: of pieces of 20 seconds, their mean by length.

    Raises
    ------
    UnsupportedInputError
        If there is no speech in it.
    SiglumError
        If the package is not installed.
    """
    require(name)
    total = weight = 0.0
    count = max(round(len(original) / _PIECE), 1)
    size = -(-len(original) // count)
    for at in range(0, len(original), max(size, 1)):
        a, b = original[at : at + size], decoded[at : at + size]
        value = _piece(name, a, b) if len(a) >= _SHORTEST else None
        if value is not None:
            total, weight = total + value * len(a), weight + len(a)
    if not weight:
        raise UnsupportedInputError(
            f"{name.upper()} hears no speech in it, or it is shorter than half a second"
        )
    return total / weight


def _piece(name: str, a: NDArray[np.float32], b: NDArray[np.float32]) -> float | None:
    import numpy as np

    from siglum.benchmarks import audio_metrics
    from siglum.benchmarks.items import Audio

    pair = [Audio(np.ascontiguousarray(x[None]), RATE) for x in (a, b)]
    of: Callable[[Any, Any], float] = audio_metrics.pesq if name == "pesq" else audio_metrics.stoi
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # which is how pystoi says that it hears nothing
        try:
            return of(*pair)
        except RuntimeWarning:
            return None
        except Exception as error:
            if "pesq" in type(error).__module__ or isinstance(error, ZeroDivisionError):
                return None
            raise


def compare(original: Recording, decoded: Recording) -> dict[str, Any]:
    """SI-SDR in dB, and PESQ and STOI, None where they are not installed or hear no speech.

    Parameters
    ----------
    original, decoded
        Of one rate and number of channels; what one has more is left out.
    """
    import numpy as np

    from siglum.benchmarks import audio_metrics
    from siglum.benchmarks.items import Audio

    length = min(len(original.samples), len(decoded.samples))
    a, b = original.samples[:length], decoded.samples[:length]
    measured: dict[str, Any] = {
        "si_sdr_db": audio_metrics.si_sdr(Audio(a.T, original.rate), Audio(b.T, original.rate)),
        "largest_difference": float(np.abs(a - b).max(initial=0.0)),
    }
    heard = [speech_of(type(original)(x, original.rate)) for x in (a, b)]
    for name in MEASURES:
        measured[name] = None
        if has(name) and length:
            with contextlib.suppress(UnsupportedInputError):
                measured[name] = measure(name, *heard)
    return measured


def report(first: tuple[str, Recording, int], second: tuple[str, Recording, int], as_json: bool) -> None:
    """Print how far two recordings are apart; each with its name, and bytes of its file.

    Raises
    ------
    UsageError
        If their rates or channels differ.
    """
    (name_a, a, size_a), (name_b, b, size_b) = first, second
    for what, one, other in (("rates", a.rate, b.rate), ("numbers of channels", a.channels, b.channels)):
        if one != other:
            raise UsageError(f"the recordings differ in their {what}: {one} and {other}")
    measured = compare(a, b)
    if as_json:
        sizes: dict[str, Any] = {}
        for key, recording, size in (("first", a, size_a), ("second", b, size_b)):
            sizes[f"{key}_samples"], sizes[f"{key}_bytes"] = len(recording.samples), size
            sizes[f"{key}_kbps"] = _kbps(recording, size)
        form = {"rate_hz": a.rate, "channels": a.channels}
        print_json({"first": name_a, "second": name_b, **form, **sizes, **measured})
        return
    width = max(len(name_a), len(name_b))
    for name, recording, size in (first, second):
        kbps = _kbps(recording, size)
        rate = "" if kbps is None else f"  {kbps:9.2f} kbps"
        say(f"{name:<{width}}  {format_size(size):>9}{rate}  {format_seconds(recording.seconds)}")
    decibels = measured["si_sdr_db"]
    lines = {"SI-SDR": f"{decibels:.2f} dB" if math.isfinite(decibels) else str(decibels)}
    for name in MEASURES:
        value, missing = measured[name], f"not measured: pip install {MEASURES[name]}"
        heard = "no speech to measure it on" if has(name) else missing
        lines[{"pesq": "PESQ-WB", "stoi": "STOI"}[name]] = heard if value is None else f"{value:.3f}"
    lines["largest difference"] = f"{measured['largest_difference']:.4f} of full scale"
    for label, text in lines.items():
        say(f"{label:<18}  {text}")


def _kbps(recording: Recording, size: int) -> float | None:
    return 8 * size / recording.seconds / 1000 if recording.seconds else None
