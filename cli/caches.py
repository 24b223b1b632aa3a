"""The seam between the verbs and the codec of key-value caches; what is heavy is imported when it is called."""

from __future__ import annotations

import io
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglum.cli.files import check_writable, open_output
from siglum.cli.inputs import Input
from siglum.cli.kinds import HEAD_BYTES, SAFETENSORS, kind_of
from siglum.cli.output import Reporter, complain, print_json, say
from siglum.cli.units import format_size
from siglum.errors import UsageError

if TYPE_CHECKING:
    from siglum.codecs.kv.cache import KVCache

SUFFIX = ".safetensors"
CODEC = "kv"


@dataclass(frozen=True)
class CacheSettings:
    """What the options say about caches: of `KVConfig`, and the base of a rotary embedding."""

    calibration: str | None = None
    sinks: int | None = None
    window: int | None = None
    effort: int | None = None
    rope_theta: float | None = None
    bits: float | None = None

    def config(self) -> dict[str, Any]:
        """Settings of the codec that were given."""
        given = {"sinks": self.sinks, "window": self.window, "effort": self.effort, "bits": self.bits}
        config: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if self.calibration is not None:
            config["calibration"] = None if self.calibration == "none" else self.calibration
        return config

    @property
    def given(self) -> bool:
        """Whether any was given."""
        return self != CacheSettings()


def is_cache_input(source: Input) -> bool:
    """Whether an input is a file of tensors, by its first bytes; standard input is read as it comes, so never."""
    if source.path is None or source.failure is not None:
        return False
    with source.path.open("rb") as file:
        return kind_of(file.read(HEAD_BYTES)) == SAFETENSORS


def is_cache_file(data: bytes) -> bool:
    """Whether a siglum file holds a cache."""
    from siglum.codecs.container import Limits, read_header
    from siglum.codecs.kv.layout import CODEC_ID

    # Whether it is too large is for whoever reads it to say.
    return read_header(data, Limits(max_pixels=2**62, max_elements=2**62)).codec == CODEC_ID


def read_input(source: Input, data: bytes | None, theta: float | None) -> KVCache:
    """The cache in a `.safetensors` file; mapped where the file has a path."""
    from siglum.codecs.kv.cache import KVCache
    from siglum.codecs.kv.files import read_cache
    from siglum.codecs.kv.rope import Rope

    cache = read_cache(source.path if data is None and source.path is not None else data or b"")
    if theta is None:
        return cache
    if any(layer.rope is not None for layer in cache.layers):
        raise UsageError("the file itself says how its keys were turned: leave out --rope-theta")
    ropes = [layer._replace(rope=Rope(theta, layer.keys.shape[2] // 2 * 2)) for layer in cache.layers]
    return KVCache(ropes, cache.dtype, cache.model, cache.position)


def encode_cache(
    source: Input,
    target: Path | None,
    *,
    quality: float,
    lossless: bool,
    settings: CacheSettings,
    threads: int | None,
    force: bool,
    reporter: Reporter,
    data: bytes | None = None,
) -> None:
    """Encode a file of tensors, block by block."""
    from siglum.codecs.kv.encoding import Encoder

    check_writable(source, target, force)
    cache = read_input(source, data, settings.rope_theta)
    config = {"quality": quality, "lossless": lossless, "threads": threads, **settings.config()}
    start = time.perf_counter()
    with open_output(target, force) as file, Encoder(file, **config) as encoder:
        encoder.append(cache)
    seconds = time.perf_counter() - start
    written = encoder.written
    rate = 8 * written / cache.elements
    reporter.close(
        f"{source.name}  {format_size(cache.nbytes)} -> {format_size(written)}  {rate:.3f} bits an element  "
        f"{seconds:.2f} s ({cache.nbytes / max(seconds, 1e-6) / 1e9:.3f} GB/s)",
        {
            "input": source.name,
            "output": None if target is None else str(target),
            "codec": CODEC,
            "layers": len(cache.layers),
            "tokens": cache.tokens,
            "input_bytes": cache.nbytes,
            "output_bytes": written,
            "bits_per_element": rate,
            "calibration": encoder.calibration,
            "seconds": seconds,
        },
    )


def decode_cache(
    source: Input,
    target: Path | None,
    data: bytes,
    *,
    tokens: tuple[int, int | None],
    layers: tuple[int, ...] | None,
    partial: bool,
    calibration: str | None,
    threads: int | None,
    force: bool,
    reporter: Reporter,
) -> None:
    """Decode a cache to `.safetensors`."""
    from siglum.codecs.kv.decoding import Decoder
    from siglum.codecs.kv.files import write_cache, write_parts

    start = time.perf_counter()
    decoder = Decoder(io.BytesIO(data), calibration, partial, threads=threads)
    if partial:  # what is missing is named at the beginning of the file, so all is decoded first
        with warnings.catch_warnings(record=True) as missing:
            warnings.simplefilter("always")
            cache = decoder.read(*tokens, layers)
        for warning in missing:
            complain(f"{source.name}: {warning.message}", "warning: ")
        with open_output(target, force) as file:
            write_cache(cache, file)
    else:
        cache, order, parts = decoder.stream(*tokens, layers)
        with open_output(target, force) as file:
            write_parts(cache, order, parts, file)
    seconds = time.perf_counter() - start
    reporter.close(
        f"{source.name}  {format_size(len(data))} -> {len(cache.layers)} layers x {cache.tokens} tokens "
        f"({format_size(cache.nbytes)})  {seconds:.2f} s ({cache.nbytes / max(seconds, 1e-6) / 1e9:.3f} GB/s)",
        {
            "input": source.name,
            "output": None if target is None else str(target),
            "format": "safetensors",
            "layers": len(cache.layers),
            "tokens": cache.tokens,
            "input_bytes": len(data),
            "missing": cache.notes.get("missing", ""),
            "seconds": seconds,
        },
    )


def verify_cache(source: Input, data: bytes, threads: int | None, *, as_json: bool, quiet: bool) -> None:
    """Decode a cache and say that it is whole."""
    from siglum.codecs.kv.decoding import Decoder

    start = time.perf_counter()
    cache, _, parts = Decoder(io.BytesIO(data), threads=threads).stream()
    for _ in parts:
        pass
    seconds = time.perf_counter() - start
    size = {"layers": len(cache.layers), "tokens": cache.tokens}
    if as_json:
        print_json({"input": source.name, "ok": True, **size, "seconds": seconds})
    elif not quiet:
        speed = cache.nbytes / max(seconds, 1e-6) / 1e9
        say(
            f"{source.name}: ok  {size['layers']} layers x {size['tokens']} tokens  {seconds:.2f} s ({speed:.3f} GB/s)"
        )


def parse_tokens(text: str | None) -> tuple[int, int | None]:
    """Start and stop of ``A:B``; either may be left out."""
    if text is None:
        return 0, None
    first, colon, last = text.partition(":")
    if not colon or not all(part == "" or part.isdecimal() for part in (first, last)):
        raise UsageError(f"{text!r} is no range of tokens; write 0:512, 512: or :512")
    return int(first or 0), int(last) if last else None


def parse_layers(text: str | None) -> tuple[int, ...] | None:
    """Layers of ``0-5,12``."""
    if text is None:
        return None
    layers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"{text!r} names no layers; write 0-5 or 0,3,7")
        layers += range(int(first), int(last if dash else first) + 1)
    return tuple(layers)


__all__ = [
    "CODEC",
    "SUFFIX",
    "CacheSettings",
    "decode_cache",
    "encode_cache",
    "is_cache_file",
    "is_cache_input",
    "parse_layers",
    "parse_tokens",
    "verify_cache",
]
