"""The picture codecs that siglum is measured against, in process, at settings that do them well.

JPEG's tables are optimised and its scans progressive: Pillow's defaults cost it a ninth of the rate. JPEG 2000
is irreversible with its colour transform, without which it loses 2 dB and more. The bytes do not depend on the
machine: AVIF has the threads that are asked for and no tiles, which cost a small picture 1 or 2 % of the rate.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, features

from siglum.benchmarks.coder import Coder, Dial, MissingPeer, needs

Pixels = NDArray[np.uint8]


def jpeg(name: str, threads: int) -> Coder:
    """JPEG 4:2:0, or 4:4:4 as ``jpeg-444``, which is better beyond about 2 bits a pixel."""
    if not features.check_codec("jpg"):
        raise MissingPeer(f"{name}: this Pillow was built without JPEG")
    turbo = features.version_feature("libjpeg_turbo")
    library = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version_codec('jpg')}"
    options = {
        "optimize": True,
        "progressive": True,
        "subsampling": "4:4:4" if name == "jpeg-444" else "4:2:0",
    }
    dials = (5, 10, 15, 25, 40, 50, 65, 75, 85, 90)
    return _pillow(name, "JPEG", ".jpg", dials, library, lambda q: {"quality": _whole(q), **options})


def jpeg2000(name: str, threads: int) -> Coder:
    """JPEG 2000; its dial is the rate, in bits a pixel."""
    if not features.check_codec("jpg_2000"):
        raise MissingPeer(f"{name}: this Pillow was built without OpenJPEG")

    def options(rate: Dial) -> dict[str, Any]:
        # The layer is asked for as a ratio to 24 bits a pixel.
        return {
            "irreversible": True,
            "mct": 1,
            "quality_mode": "rates",
            "quality_layers": [24 / _given(rate)],
        }

    dials = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0)
    return _pillow(name, "JPEG2000", ".jp2", dials, f"OpenJPEG {features.version_codec('jpg_2000')}", options)


def webp(name: str, threads: int) -> Coder:
    """WebP, lossy, at its slowest method."""
    library = _module_version(name, "webp", "libwebp")
    dials = (0, 1, 10, 25, 50, 75, 85, 90)
    return _pillow(name, "WEBP", ".webp", dials, library, lambda q: {"quality": _whole(q), "method": 6})


def avif(name: str, threads: int) -> Coder:
    """AVIF 4:2:0 at speed 6, at 4 as ``avif-s4`` (slower, smaller), or at 9 as ``avif-s9``."""
    library = _module_version(name, "avif", "libavif")
    speed = {"avif-s4": 4, "avif-s9": 9}.get(name, 6)
    options = {"speed": speed, "subsampling": "4:2:0", "max_threads": threads, "autotiling": False}
    dials = (1, 10, 20, 30, 40, 50, 60, 70, 80, 85)
    return _pillow(
        name, "AVIF", ".avif", dials, library, lambda q: {"quality": _whole(q), **options}, threads
    )


def jxl(name: str, threads: int) -> Coder:
    """JPEG XL at effort 7, by pillow-jxl-plugin."""
    needs("pillow-jxl-plugin", "pillow_jxl", name)
    plugin = needs("pillow-jxl-plugin", "pillow_jxl.JpegXLImagePlugin", name)
    plugin.DECODE_THREADS = threads
    dials = (1, 5, 10, 20, 30, 50, 70, 80, 90, 95)

    def options(quality: Dial) -> dict[str, Any]:
        return {"quality": _whole(quality), "effort": 7, "num_threads": threads}

    return _pillow(name, "JXL", ".jxl", dials, _distribution("pillow-jxl-plugin"), options, threads)


def heif(name: str, threads: int) -> Coder:
    """HEIC 4:4:4 by x265, by pillow-heif; 4:2:0 is no better at any rate and worse at high ones."""
    module = needs("pillow-heif", "pillow_heif", name)
    encoders = module.libheif_info()["encoders"]
    if "x265" not in encoders:
        raise MissingPeer(f"{name}: this pillow-heif was built without x265")
    module.register_heif_opener(decode_threads=threads)
    dials = (1, 10, 20, 25, 30, 35, 40, 45, 50, 55)
    library = f"{encoders['x265']}, libheif {module.libheif_version()}, {_distribution('pillow-heif')}"

    def options(quality: Dial) -> dict[str, Any]:
        return {"quality": _whole(quality), "chroma": 444, "enc_params": {"x265:pools": str(threads)}}

    return _pillow(name, "HEIF", ".heic", dials, library, options, threads)


def _pillow(
    name: str,
    kind: str,
    suffix: str,
    dials: tuple[float, ...],
    library: str,
    options: Callable[[Dial], dict[str, Any]],
    threads: int = 1,
) -> Coder:
    def encode(pixels: Pixels, dial: Dial) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, **options(dial))
        return file.getvalue()

    def decode(data: bytes) -> Pixels:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            return np.asarray(image.convert("RGB"))

    return Coder(
        name,
        "image",
        suffix,
        dials,
        # Without the ends, where curves of different codecs do not overlap.
        quick=tuple(dials[i] for i in (1, len(dials) // 3, 2 * len(dials) // 3, len(dials) - 2)),
        version=f"{library}, Pillow {PIL.__version__}",
        encode=encode,
        decode=decode,
        settings=options,
        threads=threads,
    )


def _given(dial: Dial) -> float:
    if dial is None:
        raise ValueError("this codec has a dial")
    return dial


def _whole(dial: Dial) -> int:
    return round(_given(dial))


def _module_version(name: str, module: str, library: str) -> str:
    if module not in features.modules or not features.check_module(module):
        raise MissingPeer(f"{name}: this Pillow was built without {library}; pip install -U pillow")
    return f"{library} {features.version_module(module)}"


def _distribution(name: str) -> str:
    from importlib.metadata import version

    return f"{name} {version(name)}"
