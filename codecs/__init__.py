"""Whole pipelines, array <-> file. `get("image", quality=60)` makes a codec; `CODECS` knows them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from siglum.errors import UnsupportedInputError, UnsupportedVersion
from siglum.registry import Registry

if TYPE_CHECKING:
    from siglum.codecs.container import Limits

_MODULES = {
    "audio": "siglum.codecs.audio.codec",
    "image": "siglum.codecs.image.codec",
    "image-vq": "siglum.codecs.image_vq.codec",
    "image-fast": "siglum.codecs.image_fast.codec",
    "kv": "siglum.codecs.kv.codec",
    "tensor": "siglum.codecs.tensor.codec",
}
CODECS: Registry[Any] = Registry("codec", "siglum.codecs", _MODULES)
NAMES = {
    1: "image",
    2: "image-vq",
    3: "image-fast",
    32: "audio",
    64: "kv",
    96: "tensor",
}  # the ids that a header names codecs by; those of other packages are found in CODECS


def get(name: str, **config: Any) -> Any:
    """The codec of that name with the given settings.

    Raises
    ------
    UnknownCodecError
        If there is none; the message lists near matches.
    """
    return CODECS.get(name, **config)


def names() -> list[str]:
    """The names of all codecs, installed ones of other packages included."""
    return CODECS.names()


def name_of_id(identifier: int) -> str | None:
    """The name of the codec that a header names by a number, or None if it is not installed."""
    if identifier in NAMES:
        return NAMES[identifier]
    others = (name for name in CODECS if name not in NAMES.values())
    return next((name for name in others if getattr(CODECS.find(name), "id", None) == identifier), None)


def codec_of_array(array: NDArray[Any]) -> str:
    """The name of the codec that takes arrays of this shape and type.

    Raises
    ------
    UnsupportedInputError
        If none does.
    """
    shape: tuple[int, ...] = getattr(array, "shape", ())
    kind = str(getattr(array, "dtype", type(array).__name__))
    if kind == "uint8" and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
        return "image"
    if kind in ("float16", "float32") and len(shape) == 5 and shape[1] == 2:
        return "kv"
    if getattr(getattr(array, "dtype", None), "kind", "") in tuple("biuf"):
        return "tensor"
    raise UnsupportedInputError(
        f"no codec takes {kind} of shape {tuple(shape)}: pictures are uint8 (H, W), (H, W, 3) or (H, W, 4), "
        "key-value caches float16 or float32 (layers, 2, heads, tokens, channels), tensors arrays of numbers"
    )


def codec_of_file(data: bytes, limits: Limits | None = None, **config: Any) -> Any:
    """The codec that a file names, with the given settings.

    Parameters
    ----------
    limits
        What the header may announce; None: the defaults.
    **config
        The codec's settings.

    Raises
    ------
    BitstreamError
        If the header is damaged, or its codec is not installed (`UnsupportedVersion`).
    """
    from siglum.codecs.container import read_header

    identifier = read_header(data, limits).codec
    name = name_of_id(identifier)
    if name is None:
        raise UnsupportedVersion(
            f"the file needs codec {identifier}, which this siglum does not have; "
            "upgrade siglum or install the package that wrote it"
        )
    return get(name, **config)
