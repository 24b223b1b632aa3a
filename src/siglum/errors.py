"""The errors that siglum raises, each with the exit code that the command line gives it."""

from __future__ import annotations


class SiglumError(Exception):
    """Base of every error that siglum raises on purpose. One line: what is wrong and what to do."""

    exit_code = 1


class UsageError(SiglumError, ValueError):
    """An argument is outside what the function takes."""

    exit_code = 2


class UnsupportedInputError(SiglumError):
    """The input is not something that siglum can encode (not a picture, an unknown type, too large)."""

    exit_code = 3


class UnknownCodecError(SiglumError, LookupError):
    """No codec, quantizer or coder of that name is registered."""

    exit_code = 2


class BitstreamError(SiglumError):
    """The stream cannot be decoded. Base of all errors of damaged, foreign or hostile files."""

    exit_code = 3


class NotSiglumFile(BitstreamError):
    """The data does not begin with siglum's signature."""


class Truncated(BitstreamError):
    """The stream ends before what it announces."""


class ChecksumMismatch(BitstreamError):
    """A CRC32C does not fit: the data was altered after it was written."""


class MalformedHeader(BitstreamError):
    """The header or a chunk breaks the format."""


class UnsupportedVersion(BitstreamError):
    """The stream was written by a later siglum, or in a format that was withdrawn."""


class LimitExceeded(BitstreamError):
    """The stream announces more than the limits of this reader allow."""


class UnknownModel(BitstreamError):
    """The stream needs weights that are not installed."""

    exit_code = 4


class StoreError(SiglumError):
    """A store cannot be read or written: full, read-only, not there."""


def require_torch(what: str) -> None:
    """Check that torch can be imported.

    Raises
    ------
    SiglumError
        If it is not installed; the message says what needs it and how to get it.
    """
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise SiglumError(f"{what} needs torch, which is not installed: pip install 'siglum[train]'")


def require_triton(what: str) -> None:
    """Check that torch and triton can be imported.

    Raises
    ------
    SiglumError
        If one is not installed; the message says what needs it and how to get it.
    """
    from importlib.util import find_spec

    require_torch(what)
    if find_spec("triton") is None:
        raise SiglumError(f"{what} needs triton, which is not installed: pip install 'siglum[gpu]'")


def require_transformers(what: str) -> None:
    """Check that torch and transformers can be imported.

    Raises
    ------
    SiglumError
        If one is not installed; the message says what needs it and how to get it.
    """
    from importlib.util import find_spec

    require_torch(what)
    if find_spec("transformers") is None:
        raise SiglumError(f"{what} needs transformers, which is not installed: pip install 'siglum[llm]'")
