"""Lossless strips of 8-bit pixels: every pixel comes back, whatever the picture is.

Two models share one rANS chunk. The predictive one (photographs) blends five predictors by their local
errors, corrects the blend by LMS and takes the scale of the residual from context, in the manner of CALIC (Wu
and Memon, IEEE Trans. Comm. 45, 1997) and TMW (Meyer and Tischer, PCS 1997). The matching one (text, line
art, screenshots) first guesses the whole colour from what stood in the same neighbourhood before. All
arithmetic is in integers. docs/lossless.md specifies the payload.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.image.lossless_tables import lossless_tables
from siglum.errors import BitstreamError, MalformedHeader, Truncated, UsageError
from siglum.kernels import _native, dispatch

MATCH = 0x04
PALETTE = 0x08
STORED = 0x10

_COLOUR = 0x03
_MAX_COLOURS = 256


def encode_strip(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a strip so that `decode_strip` returns it exactly.

    The colour transform is chosen by the residuals of a simple predictor; matching and a palette are tried
    where the strip repeats itself or has few colours, and the smallest payload is taken.

    Parameters
    ----------
    pixels : uint8 array, shape (height, width, channels), channels 1 to 4
        With 3 or 4 channels the first three are taken as red, green and blue.

    Returns
    -------
    payload : bytes, at most one byte longer than the pixels

    Raises
    ------
    UsageError
        If the array has another dtype or shape, or no pixel.

    Examples
    --------
    >>> strip = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    >>> bool((decode_strip(encode_strip(strip), 4, 4, 3) == strip).all())
    True
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4 or pixels.size == 0:
        raise UsageError(
            f"a strip is uint8 (height, width, 1 to 4), not {pixels.dtype} of shape {pixels.shape}"
        )
    strip = np.ascontiguousarray(pixels)
    colour, repeats = _native.lossless_survey(strip)
    palette = _palette(strip)
    candidates = [_encode(strip, colour, match=False)]
    if repeats or palette is not None:
        candidates.append(_encode(strip, colour, match=True))
    if palette is not None:
        colours, numbers = palette
        head = bytes([len(colours) - 1]) + colours.tobytes()
        for match in (False, True):
            inner = _encode(numbers, 0, match=match)
            candidates.append(bytes([inner[0] | PALETTE]) + head + inner[1:])
    candidates.append(bytes([STORED]) + strip.tobytes())
    return min(candidates, key=len)


def decode_strip(payload: bytes, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Decode a strip. Time and memory depend on the given shape alone, whatever the payload holds.

    Parameters
    ----------
    payload : bytes-like
        From `encode_strip`.
    height, width, channels : int
        Shape of the strip: at least 1 pixel, 1 to 4 channels.

    Returns
    -------
    pixels : uint8 array, shape (height, width, channels)

    Raises
    ------
    BitstreamError
        If the payload is damaged: `Truncated` where it ends too early, `MalformedHeader` where its first
        bytes name modes that do not exist. Damage that no rule reveals gives other pixels: a checksum is the
        container's task.
    """
    if height < 1 or width < 1 or not 1 <= channels <= 4:
        raise UsageError(f"a strip cannot have the shape ({height}, {width}, {channels})")
    data = np.frombuffer(payload, dtype=np.uint8)
    if data.size == 0:
        raise Truncated("the lossless strip is empty: the file is cut off or damaged")
    mode, body = int(data[0]), data[1:]
    if mode == STORED:
        return _stored(body, (height, width, channels))
    if mode & PALETTE:
        if mode & ~(MATCH | PALETTE) or body.size == 0:
            raise MalformedHeader(f"the lossless strip has the unknown mode {mode:#04x}: the file is damaged")
        count = int(body[0]) + 1
        if body.size < 1 + count * channels:
            raise Truncated("the lossless strip ends in its palette: the file is cut off or damaged")
        colours = body[1 : 1 + count * channels].reshape(count, channels)
        numbers = _decode(body[1 + count * channels :], mode & MATCH, (height, width, 1))[..., 0]
        if int(numbers.max()) >= count:
            raise BitstreamError("the lossless strip names a colour outside its palette: the file is damaged")
        return np.ascontiguousarray(colours[numbers])
    if mode & ~(_COLOUR | MATCH) or mode & _COLOUR == 3 or (mode & _COLOUR and channels < 3):
        raise MalformedHeader(f"the lossless strip has the unknown mode {mode:#04x}: the file is damaged")
    return _decode(body, mode, (height, width, channels))


def _encode(strip: NDArray[np.uint8], colour: int, *, match: bool) -> bytes:
    payload: bytes = _native.lossless_encode(strip, colour, match, lossless_tables().native, _vectors())
    return bytes([colour | (MATCH if match else 0)]) + payload


def _decode(body: NDArray[np.uint8], mode: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    pixels = np.empty(shape, dtype=np.uint8)
    tables = lossless_tables().native
    status = _native.lossless_decode(body, mode & _COLOUR, bool(mode & MATCH), tables, pixels, _vectors())
    if status == 1:
        raise Truncated("the lossless strip ends too early: the file is cut off or damaged")
    if status == 2:
        raise MalformedHeader("the lossless strip does not begin as a coded chunk: the file is damaged")
    if status != 0:
        raise BitstreamError("the lossless strip is damaged: it does not end where its pixels do")
    return pixels


def _vectors() -> bool:
    return dispatch.isa() in ("avx2", "avx512")


def _stored(body: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    size = shape[0] * shape[1] * shape[2]
    if body.size < size:
        raise Truncated("the stored strip ends too early: the file is cut off or damaged")
    if body.size > size:
        raise MalformedHeader("bytes follow the stored strip: the file is damaged")
    return body.reshape(shape).copy()


def _palette(strip: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """Few colours in order of brightness, (count, channels), and their numbers, (height, width, 1)."""
    height, width, channels = strip.shape
    packed = np.zeros((height, width), dtype=np.uint32)
    for c in range(channels):
        packed |= strip[..., c].astype(np.uint32) << np.uint32(8 * c)
    flat = packed.ravel()
    most = _MAX_COLOURS if channels > 1 else _MAX_COLOURS // 2  # gray: only where values are left out
    if len(np.unique(flat[:: max(1, flat.size // 4096)])) > most:
        return None
    values, numbers = np.unique(flat, return_inverse=True)
    if not 2 <= len(values) <= most:
        return None
    colours = values.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :channels]
    order = np.lexsort((values, colours.astype(np.int64) @ np.array([2, 4, 1, 1])[:channels]))
    rank = np.empty(len(values), dtype=np.uint8)
    rank[order] = np.arange(len(values), dtype=np.uint8)
    return np.ascontiguousarray(colours[order]), rank[numbers.ravel()].reshape(height, width, 1)
