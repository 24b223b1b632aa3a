"""siglum: neural compression that one can trust with files.

>>> import numpy as np
>>> import siglum
>>> picture = np.zeros((32, 48, 3), np.uint8)
>>> data = siglum.encode(picture, lossless=True)
>>> bool((siglum.decode(data) == picture).all())
True
>>> siglum.inspect(data).shape
(32, 48, 3)
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from siglum import errors
from siglum.errors import BitstreamError, SiglumError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siglum.codecs.inspection import Info

__version__ = "0.1.0"
__all__ = ["BitstreamError", "SiglumError", "__version__", "decode", "encode", "errors", "inspect"]


def encode(array: NDArray[Any], *, codec: str | None = None, **options: Any) -> bytes:
    """Encode an array as one whole `.sgl` file.

    Parameters
    ----------
    array
        uint8 of shape (H, W), (H, W, 3) or (H, W, 4): a picture.
    codec
        Name of the codec; None picks it by shape and type.
    **options
        The codec's settings, such as ``quality=60``, ``lossless=True`` or ``threads=1`` for pictures.

    Raises
    ------
    UnsupportedInputError
        If no codec takes such an array.
    UnknownCodecError
        If no codec has that name.
    UsageError
        If a setting is out of range.
    """
    from siglum import codecs

    return bytes(codecs.get(codec or codecs.codec_of_array(array), **options).encode(array))


def decode(data: bytes, *, threads: int | None = None) -> NDArray[Any]:
    """Decode a `.sgl` file to the array that it holds; the header says which codec.

    Raises
    ------
    BitstreamError
        If the file is damaged, truncated, of a later version, or needs weights that are not installed.
    """
    from siglum import codecs

    result: NDArray[Any] = codecs.codec_of_file(data, threads=threads).decode_array(data)
    return result


def inspect(source: bytes | str | PathLike[str]) -> Info:
    """Read what a file says about itself, without weights and without decoding.

    Parameters
    ----------
    source
        The bytes of a file, or its path.
    """
    from siglum.codecs.inspection import inspect as inspect_file

    return inspect_file(source)
