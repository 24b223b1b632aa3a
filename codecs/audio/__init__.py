"""Speech and music: spectra, a network at frame rate, group-residual vector quantization, a causal prior.

`StreamEncoder` takes samples and gives packets as they come, `StreamDecoder` the other way round.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_FOUND = {
    "AudioCodec": "codec",
    "StreamDecoder": "decoder",
    "StreamEncoder": "encoder",
}
__all__ = ["AudioCodec", "StreamDecoder", "StreamEncoder"]


def __getattr__(name: str) -> Any:
    # Imported when they are first used: the container's tools need the layout of files alone.
    if name in _FOUND:
        return getattr(import_module(f"siglum.codecs.audio.{_FOUND[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
