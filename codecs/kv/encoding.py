"""Writing a cache: in one piece, or as its tokens come."""

from __future__ import annotations

from dataclasses import replace
from mmap import mmap
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import numpy as np

from siglum.codecs import container
from siglum.codecs.container import Chunk, ChunkType, Header
from siglum.codecs.kv import calibration as calibrations
from siglum.codecs.kv import fixed_plan, plan, planning
from siglum.codecs.kv.block_coder import BlockCoder
from siglum.codecs.kv.cache import KVCache
from siglum.codecs.kv.files import forget, mappings_of
from siglum.codecs.kv.layout import (
    BLOCK,
    CODEC_ID,
    CODEC_VERSION,
    FIXED_KEY,
    LAYOUT_KEY,
    MODEL_KEY,
    Layout,
)
from siglum.codecs.kv.sample import Sample
from siglum.codecs.kv.settings import AUTO, KVConfig
from siglum.errors import UnsupportedInputError
from siglum.kernels import dispatch

__all__ = ["Encoder", "append"]

SPAN = 16 * BLOCK  # tokens that are worked on at once
FACTORING_EFFORT = 5
LONG = 4096  # tokens from which estimated transforms span layers
LIMITS = container.Limits(max_elements=2**40)


class Encoder:
    """Writes a file as the tokens of a sequence come; as a context manager it closes the file at its end.

    Parameters
    ----------
    file
        A binary file object, which may be a pipe. It is not closed.
    config
        Settings; or give them by name.

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> from siglum.codecs.kv.codec import decompress
    >>> rng = np.random.default_rng(0)
    >>> file = io.BytesIO()
    >>> with Encoder(file, lossless=True) as encoder:
    ...     for _ in range(3):
    ...         keys, values = rng.standard_normal((2, 2, 50, 64)).astype(np.float16)
    ...         encoder.append(KVCache.from_arrays([(keys, values)]))
    >>> decompress(file.getvalue()).tokens
    150

    Attributes
    ----------
    layout
        How the cache is cut; None before the first tokens.
    calibration
        Sixteen hexadecimal digits of the calibration, or None.
    written
        Bytes so far.
    """

    def __init__(self, file: BinaryIO, config: KVConfig | None = None, **settings: Any) -> None:
        self.config = config or KVConfig(**settings)
        self.layout: Layout | None = None
        self._file = _Counted(file)
        self._writer: container.Writer | None = None
        self._pending: KVCache | None = None
        self.calibration: str | None = None
        self._coder: BlockCoder | None = None
        self._first = 0  # number of the first pending token
        self._mappings: list[mmap] = []  # files that pending tokens lie in
        self._threads = dispatch.threads(self.config.threads)

    @property
    def written(self) -> int:
        """Bytes that were written."""
        return self._file.size

    def append(self, cache: KVCache) -> None:
        """Take the tokens that follow; whole blocks are written, the rest waits.

        Raises
        ------
        UnsupportedInputError
            If its layers are not those of what came before, or a number is not finite.
        """
        if not cache.tokens:
            raise UnsupportedInputError("the cache has no tokens")
        if self.layout is None:
            self._begin(cache)
        assert self.layout is not None
        self._pending = cache if self._pending is None else _joined(self._pending, cache)
        self._mappings = mappings_of(self._pending)
        self._write_until(self._first + self._pending.tokens - self.config.window, last=False)

    def close(self) -> None:
        """Write what waits, and the end of the file."""
        if self._writer is None:
            raise UnsupportedInputError("the cache has no tokens")
        if self._pending is not None:
            end = self._first + self._pending.tokens
            self._write_until(max(end - self.config.window, self._first), last=True)
            self._write(end, finely=True)
        self._writer.close()

    def __enter__(self) -> Encoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def _begin(self, cache: KVCache) -> None:
        config, level = self.config, self.config.level
        calibration = None if config.lossless else _calibration(config.calibration, cache)
        if calibration is None:
            size = config.group or (1 if cache.tokens < LONG else 2)
            self.layout = layout = Layout.of(cache, size)
        else:
            self.layout = layout = calibration.with_layout(cache)
        extra: dict[int, Any] = {LAYOUT_KEY: layout.to_bytes()}
        if cache.model:
            extra[MODEL_KEY] = cache.model.encode()
        model = b"" if calibration is None else calibration.id
        self.calibration = model.hex() or None
        made: fixed_plan.AnyPlan | None = None
        tables = None
        if not config.lossless:
            sample = Sample(cache, layout, config.sinks)
            if config.bits is None:
                made = plain = planning.plan_of(
                    layout, level, calibration, sample, factored=config.effort >= FACTORING_EFFORT
                )
            else:
                level, plain = fixed_plan.plan_for(layout, config.bits, calibration, sample)
                extra[FIXED_KEY] = size = fixed_plan.size_of(layout, config.bits)
                made = fixed_plan.allot(plain, size)
            tables = plan.pack(plain, layout, calibration is not None)
        quality = None if config.lossless else level
        header = Header(CODEC_ID, CODEC_VERSION, model, layout.shape, cache.dtype, quality, extra)
        self._writer = container.Writer(cast(BinaryIO, self._file), header, LIMITS)
        if tables is not None:
            self._writer.add(ChunkType.TABLES, tables)
        self._coder = BlockCoder(layout, made, config.sinks, config.effort, self._threads)

    def _write_until(self, stop: int, *, last: bool) -> None:
        """Write the pending tokens before `stop`, as far as they fill blocks."""
        if not last:
            stop = stop // BLOCK * BLOCK
        while self._first < stop:
            self._write(min(self._first // SPAN * SPAN + SPAN, stop))

    def _write(self, end: int, *, finely: bool = False) -> None:
        """Write pending tokens up to `end` and drop them."""
        if self._pending is None or end <= self._first:
            return
        assert self._coder is not None and self._writer is not None
        for block in self._coder.code(self._pending, self._first, end, finely=finely):
            self._writer.add(ChunkType.DATA, block.payload(), symbols_crc=block.crc)
        forget(self._mappings)  # or all of a large file would stay in memory
        rest = end - self._first
        self._pending = (
            self._pending.slice(rest, self._pending.tokens) if rest < self._pending.tokens else None
        )
        self._first = end


def append(target: str | Path, cache: KVCache, **settings: Any) -> None:
    """Add the tokens that follow to a file; what is there is not written again.

    Parameters
    ----------
    target
        Path of a file that `Encoder` wrote.
    cache
        The tokens after the last in it.
    **settings
        ``calibration``, ``effort`` and ``threads`` of `KVConfig`; all else is as in the file.

    Raises
    ------
    UnsupportedInputError
        If its layers are not those of the file.
    BitstreamError
        If the file is damaged.
    """
    from siglum.codecs.kv.decoding import Decoder

    config = KVConfig(**settings)
    calibration = None if config.calibration == AUTO else config.calibration
    with Path(target).open("r+b") as file:
        decoder = Decoder(file, calibration, threads=config.threads)
        layout, first = decoder.layout, decoder.tokens
        made = None if decoder.lossless else decoder.plan
        with_ropes = cache
        if all(layer.rope is None for layer in cache.layers) and len(cache.layers) == len(layout.kind_of):
            ropes = [layout.kinds[kind].rope for kind in layout.kind_of]
            layers = [layer._replace(rope=rope) for layer, rope in zip(cache.layers, ropes, strict=True)]
            with_ropes = KVCache(layers, cache.dtype, cache.model, cache.position)
        kinds = [replace(layout.kinds[kind], start=0) for kind in layout.kind_of]
        found = Layout.of(with_ropes, 1)
        if [found.kinds[kind] for kind in found.kind_of] != kinds or cache.dtype != layout.dtype:
            raise UnsupportedInputError(
                "the layers of the cache are not those of the file that it is to follow"
            )
        coder = BlockCoder(layout, made, 0, config.effort, dispatch.threads(config.threads))
        blocks = coder.code(with_ropes, first, first + cache.tokens)
        number = decoder.blocks
        chunks = [Chunk(ChunkType.DATA, number + i, b.payload(), b.crc) for i, b in enumerate(blocks)]
        file.seek(0)
        container.append(file, chunks, LIMITS)


class _Counted:
    """A file that counts what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0

    def write(self, data: bytes) -> int:
        written = self._file.write(data)
        self.size += len(data) if written is None else written
        return len(data) if written is None else written


def _calibration(chosen: Any, cache: KVCache) -> calibrations.Calibration | None:
    if chosen is None:
        return None
    if isinstance(chosen, str) and chosen == AUTO:
        return calibrations.installed_for(cache)
    return calibrations.find(chosen)


def _joined(cache: KVCache, more: KVCache) -> KVCache:
    """Two runs of tokens as one."""
    if len(cache.layers) != len(more.layers) or cache.dtype != more.dtype:
        raise UnsupportedInputError(
            f"{len(more.layers)} layers of {more.dtype} cannot follow {len(cache.layers)} of {cache.dtype}"
        )
    layers = []
    for number, (old, new) in enumerate(zip(cache.layers, more.layers, strict=True)):
        same = [
            a.shape[0] == b.shape[0] and a.shape[2] == b.shape[2]
            for a, b in zip(old[:2], new[:2], strict=True)
        ]
        if not all(same) or old.rope != new.rope or new.start:
            raise UnsupportedInputError(f"layer {number} has another shape or rotary embedding than before")
        joined = (np.concatenate([a, b], axis=1) for a, b in zip(old[:2], new[:2], strict=True))
        layers.append(old._replace(keys=next(joined), values=next(joined)))
    return KVCache(layers, cache.dtype, cache.model, cache.position, cache.notes)
