"""The `kv` codec: key-value caches <-> `.sgl` files of blocks that decode alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from siglum.codecs import CODECS, container
from siglum.codecs.container import Chunk, Header
from siglum.codecs.kv.cache import KVCache
from siglum.codecs.kv.decoding import Decoder
from siglum.codecs.kv.encoding import Encoder
from siglum.codecs.kv.layout import CODEC_ID, CODEC_VERSION
from siglum.codecs.kv.settings import KVConfig
from siglum.errors import UnsupportedInputError, require_triton

__all__ = ["KVCodec", "KVConfig", "compress", "decompress"]


@CODECS.register("kv")
class KVCodec:
    """Key-value caches: `KVCache` objects, or arrays (layers, 2, heads, tokens, channels).

    Parameters are those of `KVConfig`.

    Examples
    --------
    >>> import numpy as np
    >>> array = np.random.default_rng(0).standard_normal((2, 2, 3, 70, 64)).astype(np.float16)
    >>> codec = KVCodec(lossless=True)
    >>> bool((codec.decode_array(codec.encode(array)) == array).all())
    True
    """

    id = CODEC_ID
    version = CODEC_VERSION

    def __init__(self, **settings: Any) -> None:
        self.config = KVConfig(**settings)

    def __repr__(self) -> str:
        return f"KVCodec({', '.join(f'{k}={v!r}' for k, v in self.config.to_dict().items())})"

    @staticmethod
    def is_lossless(header: Header) -> bool:
        """Whether a file decodes to exactly what was encoded."""
        return header.quality is None

    @staticmethod
    def positions(header: Header, chunks: Sequence[Chunk]) -> int:
        """Numbers in the cache of a file, for its rate."""
        from siglum.codecs.kv.blocks import parse
        from siglum.codecs.kv.layout import Layout

        layout = Layout.of_header(header)
        parts = [parse(chunk.payload, chunk.symbols_crc, layout).part for chunk in chunks if chunk.type == 1]
        return sum(part.tokens * layout.width(part.group, part.which) for part in parts)

    def encode(self, cache: Any) -> bytes:
        """One whole `.sgl` file of a `KVCache` or of an array (layers, 2, heads, tokens, channels)."""
        if not isinstance(cache, KVCache):
            if getattr(cache, "ndim", 0) != 5 or cache.shape[1] != 2:
                raise UnsupportedInputError(
                    f"a cache is an array (layers, 2, heads, tokens, channels), not of shape "
                    f"{getattr(cache, 'shape', None)}"
                )
            cache = KVCache.from_arrays([(layer[0], layer[1]) for layer in cache])
        out = io.BytesIO()
        with Encoder(out, self.config) as encoder:
            encoder.append(cache)
        return out.getvalue()

    def decode(self, data: bytes, limits: container.Limits | None = None) -> KVCache:
        """The cache of a file."""
        return decompress(
            data, calibration=self.config.calibration, threads=self.config.threads, limits=limits
        )

    def decode_array(self, data: bytes, limits: container.Limits | None = None) -> Any:
        """The cache of a file as one array (layers, 2, heads, tokens, channels).

        Raises
        ------
        UnsupportedInputError
            If its layers differ in shape: use `decode`.
        """
        import numpy as np

        cache = self.decode(data, limits)
        shapes = {part.shape for layer in cache.layers for part in layer[:2]}
        if len(shapes) != 1:
            raise UnsupportedInputError(
                f"layers differ in shape ({sorted(shapes)}): use siglum.kv.decompress"
            )
        return np.stack([np.stack(layer[:2]) for layer in cache.layers])


def compress(cache: KVCache | Any, quality: float = 60.0, **settings: Any) -> bytes:
    """A key-value cache as one `.sgl` file.

    Parameters
    ----------
    cache
        A `KVCache`, or transformers' `DynamicCache` (then ``config=model.config`` says how keys were turned). One on a
        GPU is transformed and rounded there.
    quality
        0 (smallest) to 100.
    **settings
        Of `KVConfig`: ``calibration``, ``sinks``, ``window``, ``effort``, ``lossless``, ``threads`` …

    Raises
    ------
    UnsupportedInputError
        If it is no cache, has no tokens, or has numbers that are not finite.
    """
    config = settings.pop("config", None)
    if not isinstance(cache, KVCache):
        cache = KVCache.from_transformers(cache, config)
    return KVCodec(quality=quality, **settings).encode(cache)


def decompress(
    data: bytes | str | Path,
    *,
    start: int = 0,
    stop: int | None = None,
    layers: Sequence[int] | None = None,
    partial: bool = False,
    calibration: Any = None,
    threads: int | None = None,
    limits: container.Limits | None = None,
    device: Any = None,
) -> KVCache:
    """The cache of a file, or a part of it; only the blocks that hold it are read.

    Parameters
    ----------
    data
        The bytes of a file, or its path.
    start, stop
        Tokens start to stop - 1.
    layers
        Which layers; those of the result, in this order. None: all.
    partial
        Blocks that are missing or damaged become zeros, with a `KVWarning` that names them, and a file that was cut
        off gives the tokens that are whole.
    calibration
        A `Calibration`, a path or a name, where the file's is not installed.
    threads
        None: as many as there are CPUs.
    device
        Where the cache is to be, as torch names it: "cuda" decodes there what needs no entropy decoder, and the
        result is for `KVCache.to_transformers` or to be coded again. None: arrays on the CPU.

    Raises
    ------
    BitstreamError
        If the file is damaged, cut off, of a later version, or its calibration is not to be found.
    """
    if isinstance(data, (str, Path)):
        with Path(data).open("rb") as file:
            return _decoder(file, calibration, partial, limits, threads, device).read(start, stop, layers)
    return _decoder(io.BytesIO(data), calibration, partial, limits, threads, device).read(start, stop, layers)


def _decoder(
    file: BinaryIO,
    calibration: Any,
    partial: bool,
    limits: container.Limits | None,
    threads: int | None,
    device: Any,
) -> Decoder:
    if device is None or str(device) == "cpu":
        return Decoder(file, calibration, partial, limits, threads)
    require_triton("decoding a cache on a GPU")
    from siglum.codecs.kv.device_decoding import DeviceDecoder

    return DeviceDecoder(file, calibration, partial, limits, threads, device=device)
