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

from importlib import import_module
from os import PathLike
from types import ModuleType
from typing import TYPE_CHECKING, Any

from siglum import errors
from siglum.errors import BitstreamError, SiglumError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from siglum.codecs.container import Limits
    from siglum.codecs.inspection import Info

__version__ = "0.1.0"
_LAZY = ("benchmarks", "codecs", "datasets", "entropy", "kernels", "quantizers")
__all__ = [
    "BitstreamError",
    "SiglumError",
    "__version__",
    "decode",
    "decode_batch",
    "encode",
    "encode_batch",
    "errors",
    "inspect",
]


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


def decode(data: bytes, *, threads: int | None = None, limits: Limits | None = None) -> NDArray[Any]:
    """Decode a `.sgl` file to the array that it holds; the header says which codec.

    Parameters
    ----------
    data
        The whole file.
    threads
        Threads to use; None: as many as there are.
    limits
        What the file may announce (`siglum.codecs.container.Limits`); None: the defaults.

    Raises
    ------
    BitstreamError
        If the file is damaged, truncated, of a later version, or needs weights that are not installed.
    """
    from siglum import codecs

    config = {} if threads is None else {"threads": threads}
    result: NDArray[Any] = codecs.codec_of_file(data, limits, **config).decode_array(data, limits)
    return result


def encode_batch(arrays: Sequence[NDArray[Any]], *, codec: str | None = None, **options: Any) -> list[bytes]:
    """Encode many arrays of a kind, each as `encode` would, using all threads; the files in their order.

    Pictures of one size go through the networks together with ``engine="torch"``.

    Parameters
    ----------
    arrays
        As `encode` takes them, all for the same codec.
    codec
        Name of the codec; None picks it by the first array.
    **options
        The codec's settings.
    """
    from siglum import codecs

    if not len(arrays):
        return []
    made = codecs.get(codec or codecs.codec_of_array(arrays[0]), **options)
    together = getattr(made, "encode_batch", None)
    files: list[bytes] = (
        [bytes(made.encode(array)) for array in arrays] if together is None else together(arrays)
    )
    return files


def decode_batch(
    files: Sequence[bytes], *, limits: Limits | None = None, **options: Any
) -> list[NDArray[Any]]:
    """Decode many files of one codec, each as `decode` would, using all threads; the arrays in their order.

    Parameters
    ----------
    files
        Whole files, all of the same codec.
    limits
        What a file may announce; None: the defaults.
    **options
        The codec's settings, such as ``threads=2`` or, for pictures, ``engine="torch"``.

    Raises
    ------
    BitstreamError
        As `decode`, for the first file that is damaged.
    """
    from siglum import codecs

    if not len(files):
        return []
    made = codecs.codec_of_file(files[0], limits, **options)
    together = getattr(made, "decode_batch", None)
    arrays: list[NDArray[Any]] = (
        [made.decode_array(data, limits) for data in files] if together is None else together(files, limits)
    )
    return arrays


def inspect(source: bytes | str | PathLike[str], limits: Limits | None = None) -> Info:
    """Read what a file says about itself, without weights and without decoding.

    Parameters
    ----------
    source
        The bytes of a file, or its path.
    limits
        What the file may announce; None: the defaults.
    """
    from siglum.codecs.inspection import inspect as inspect_file

    return inspect_file(source, limits)


def __getattr__(name: str) -> ModuleType:
    # `siglum.codecs`, `siglum.entropy` and the others are imported when they are first used.
    if name in _LAZY:
        return import_module(f"siglum.{name}")
    raise AttributeError(f"module 'siglum' has no attribute {name!r}")
