"""How far two recordings are apart: SI-SDR, and PESQ and STOI where their packages are installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from siglum.errors import SiglumError, UnsupportedInputError

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
        raise UnsupportedInputError(f"{name.upper()} hears no speech in it, or it is shorter than half a second")
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
            try:
                measured[name] = measure(name, *heard)
            except UnsupportedInputError:
                pass
    return measured
