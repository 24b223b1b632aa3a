"""Codecs of pictures that do well, and such that do not; in a module of their own for the processes."""

from __future__ import annotations

import ctypes
import itertools
import zlib
from dataclasses import replace

import numpy as np

from siglum.benchmarks.coder import Coder, Dial, MissingPeer

_turn = itertools.count()


def encode(pixels: np.ndarray, dial: Dial) -> bytes:
    step = int(70 - 10 * (dial or 0))
    symbols = ((pixels.astype(int) + step // 2) // step).astype(np.uint8)
    return bytes([step, *np.array(pixels.shape[:2], "<u2").tobytes()]) + zlib.compress(symbols.tobytes())


def decode(data: bytes) -> np.ndarray:
    height, width = (int(side) for side in np.frombuffer(data[1:5], "<u2"))
    symbols = np.frombuffer(zlib.decompress(data[5:]), np.uint8).reshape(height, width, 3)
    return np.minimum(symbols.astype(int) * data[0], 255).astype(np.uint8)


def crash(pixels: np.ndarray, dial: Dial) -> bytes:
    if dial == 3 and pixels.shape[0] > 64:  # not yet while it is warmed up
        ctypes.string_at(0)
    return encode(pixels, dial)


def refuse(pixels: np.ndarray, dial: Dial) -> bytes:
    raise RuntimeError("this codec\nthrows")


def vary(pixels: np.ndarray, dial: Dial) -> bytes:
    return encode(pixels, dial) + bytes([next(_turn) % 251])


def vary_pixels(data: bytes) -> np.ndarray:
    return decode(data) ^ np.uint8(next(_turn) % 2)


ENCODERS = {"jpeg-444": refuse, "webp": crash, "avif": vary}
DECODERS = {
    "jpeg2000": lambda data: decode(data)[1:],
    "heif": vary_pixels,
    "avif": lambda data: decode(data[:-1]),
}


def make(name: str, threads: int = 1) -> Coder:
    if name == "jxl":
        raise MissingPeer("jxl needs something: pip install something")
    return Coder(
        name,
        "image",
        ".fake",
        dials=(1, 3, 6),
        quick=(1, 3, 6),
        version="fake 1",
        encode=ENCODERS.get(name, encode),
        decode=DECODERS.get(name, decode),
        settings=lambda dial: {"step": 70 - 10 * (dial or 0)},
    )


def make_newer(name: str, threads: int = 1) -> Coder:
    return replace(make(name, threads), version="fake 2")
