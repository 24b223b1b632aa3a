"""Siglum's own codecs as the benchmarks see them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from siglum.benchmarks.coder import Coder, Dial, MissingPeer
from siglum.benchmarks.items import Audio
from siglum.benchmarks.machine import commit
from siglum.benchmarks.peers import Pixels
from siglum.errors import UnknownModel

MODEL = "small"
QUALITIES = (0, 12.5, 25, 37.5, 50, 62.5, 75, 87.5, 100)
QUICK_QUALITIES = (12.5, 37.5, 62.5, 87.5)
# Kilobits a second of the whole file, for each channel.
AUDIO_MODELS = {"audio": ("speech", (1, 2, 3, 4, 6)), "audio-fullband": ("fullband", (6, 8, 12, 16, 24))}


def _id_of(name: str, load_by_name: Callable[[str], Any], model: str) -> str:
    """The id of a model that a coder needs, in hexadecimal digits."""
    try:
        return str(load_by_name(model).id.hex())
    except UnknownModel as error:
        raise MissingPeer(f"{name}: {error}") from error


def image(name: str, threads: int) -> Coder:
    """The lossy `image` codec; its dial is the quality, 0 to 100."""
    from siglum.codecs.image.codec import ImageCodec, level_of_quality
    from siglum.codecs.image.weights import load_by_name

    weights = _id_of(name, load_by_name, MODEL)

    def codec(dial: Dial) -> ImageCodec:
        return ImageCodec(quality=dial or 0.0, threads=threads, lossless=False, model=MODEL)

    def decode(data: bytes) -> Pixels:
        return codec(None).decode(data).pixels

    def settings(dial: Dial) -> dict[str, Any]:
        level = level_of_quality(dial or 0.0)
        return {"quality": dial, "level": level, "model": MODEL, "weights": weights, "engine": "native"}

    def health(pixels: Pixels, dial: Dial) -> dict[str, float]:
        from siglum.codecs.image import lossy, windows
        from siglum.codecs.image.prior import coding_order
        from siglum.entropy.gaussian import gaussian_tables
        from siglum.kernels import latents

        model, level, bank = load_by_name(MODEL), level_of_quality(dial or 0.0), gaussian_tables()
        y = windows.analyse(model.engine("native"), model.preset, pixels, level, threads)
        ideal, actual = 0.0, 0
        for rows, columns in lossy.tiles(*pixels.shape[:2]):
            z, _, index, symbols = lossy.choose_symbols(model, y[rows, columns], level, threads)
            tables = model.prior.hyper_tables(level)
            ideal += bank.bits(z.astype(np.int32), np.broadcast_to(tables, (*z.shape[:2], tables.size)))
            for where in coding_order(*index.shape):
                ideal += bank.bits(*latents.gather(symbols[where], index[where], model.skip))
            actual += 8 * len(lossy.encode_symbols(model, z, symbols, index, level))
        return {"ideal_bits": ideal, "actual_bits": float(actual)}

    return Coder(
        name,
        "image",
        ".sgl",
        dials=QUALITIES,
        quick=QUICK_QUALITIES,
        version=_version(),
        encode=lambda pixels, dial: codec(dial).encode(pixels),
        decode=decode,
        settings=settings,
        threads=threads,
        health=health,
    )


def image_fast(name: str, threads: int) -> Coder:
    """The `image-fast` codec; its dial is the quality, 0 to 100."""
    from siglum.codecs.image.config import level_of_quality
    from siglum.codecs.image_fast.codec import ImageFastCodec
    from siglum.codecs.image_fast.weights import load_by_name

    weights = _id_of(name, load_by_name, MODEL)

    def codec(dial: Dial) -> ImageFastCodec:
        return ImageFastCodec(quality=dial or 0.0, threads=threads, model=MODEL)

    return Coder(
        name,
        "image",
        ".sgl",
        dials=QUALITIES,
        quick=QUICK_QUALITIES,
        version=_version(),
        encode=lambda pixels, dial: codec(dial).encode(pixels),
        decode=lambda data: codec(None).decode(data).pixels,
        settings=lambda dial: {
            "quality": dial,
            "level": level_of_quality(dial or 0.0),
            "model": MODEL,
            "weights": weights,
            "engine": "native",
        },
        threads=threads,
    )


def image_vq(name: str, threads: int) -> Coder:
    """The `image-vq` codec; its dial is the quality, 0 to 100."""
    from siglum.codecs.image_vq.codec import ImageVqCodec
    from siglum.codecs.image_vq.weights import load_by_name

    model = ImageVqCodec().config.model
    weights = _id_of(name, load_by_name, model)

    def codec(dial: Dial) -> ImageVqCodec:
        return ImageVqCodec(quality=dial or 0.0, threads=threads)

    return Coder(
        name,
        "image",
        ".sgl",
        dials=QUALITIES,
        quick=QUICK_QUALITIES,
        version=_version(),
        encode=lambda pixels, dial: codec(dial).encode(pixels),
        decode=lambda data: codec(None).decode_array(data),
        settings=lambda dial: {
            "quality": dial,
            "level": codec(dial).level,
            "model": model,
            "weights": weights,
        },
        threads=threads,
    )


def audio(name: str, threads: int) -> Coder:
    """The `audio` codec; its dial is the kilobits a second of the whole file, for each channel."""
    from siglum.codecs import container
    from siglum.codecs.audio import frame
    from siglum.codecs.audio.codec import LIMITS, AudioCodec
    from siglum.codecs.audio.weights import load_by_name

    model, dials = AUDIO_MODELS[name]
    weights = _id_of(name, load_by_name, model)

    def encode(recording: Audio, dial: Dial) -> bytes:
        bitrate = 1000 * (dial or 0.0) * len(recording.samples)
        codec = AudioCodec(bitrate=bitrate, model=model, threads=threads)
        return codec.encode_audio(recording.samples.T, recording.rate)

    def decode(data: bytes) -> Audio:
        made = AudioCodec(threads=threads).decode_audio(data)
        return Audio(np.ascontiguousarray(made.samples.T), made.rate)

    def payload(data: bytes) -> int:
        header, chunks = container.read(data, LIMITS)
        form = frame.form_of(header)
        coded = [chunk.payload for chunk in chunks if chunk.type == container.ChunkType.DATA]
        return sum(sum(frame.unpack(each, form.channels, form.frames)[0].sizes) for each in coded)

    return Coder(
        name,
        "audio",
        ".sgl",
        dials=dials,
        quick=(dials[0], dials[2], dials[-1]),
        version=_version(),
        encode=encode,
        decode=decode,
        settings=lambda dial: {"kbps_of_a_channel": dial, "model": model, "weights": weights},
        threads=threads,
        payload=payload,
    )


def tensor(name: str, threads: int) -> Coder:
    """The `tensor` codec: bit for bit, which has no dial, or as ``tensor-lossy`` with the quality as its dial."""
    from siglum.codecs.tensor.codec import TensorCodec

    lossy = name == "tensor-lossy"

    def codec(dial: Dial) -> TensorCodec:
        return TensorCodec(quality=dial if lossy else None, threads=threads)

    return Coder(
        name,
        "tensor",
        ".sgl",
        dials=(20, 30, 40, 50, 60, 70, 80) if lossy else (None,),
        quick=(30, 50, 70) if lossy else (None,),
        version=_version(),
        encode=lambda array, dial: codec(dial).encode(array),
        decode=lambda data: codec(None).decode_array(data),
        settings=lambda dial: {"quality": dial if lossy else None},
        threads=threads,
    )


def _version() -> str:
    """Return the version, of sources under git with their commit: rows of others are not taken over."""
    at = commit()
    return f"siglum {version('siglum')}" + ("" if at is None else f" at {at[:8]}{'+' * at.endswith('+')}")
