"""Writing a cache: in one piece, or as its tokens come."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from siglum.codecs import container
from siglum.codecs.container import ChunkType, Header
from siglum.codecs.kv import calibration as calibrations
from siglum.codecs.kv import coding, exact, fine, plan
from siglum.codecs.kv.blocks import EXACT, FINE, TRANSFORM, Block, Part, name_of
from siglum.codecs.kv.cache import KVCache, as_float
from siglum.codecs.kv.layout import (
    BLOCK,
    CODEC_ID,
    CODEC_VERSION,
    KEYS,
    LAYOUT_KEY,
    MODEL_KEY,
    VALUES,
    Layout,
)
from siglum.codecs.kv.settings import AUTO, KVConfig
from siglum.errors import UnsupportedInputError
from siglum.kernels import dispatch

__all__ = ["Encoder"]

SPAN = 16 * BLOCK  # tokens that are worked on at once
LONG = 1024  # tokens from which estimated transforms span layers
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
    """

    def __init__(self, file: BinaryIO, config: KVConfig | None = None, **settings: Any) -> None:
        self.config = config or KVConfig(**settings)
        self.layout: Layout | None = None
        self._file = file
        self._writer: container.Writer | None = None
        self._pending: KVCache | None = None
        self._plan: plan.Plan = {}
        self._first = 0  # number of the first pending token
        self._threads = dispatch.threads(self.config.threads)

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
        self._write_until(self._first + self._pending.tokens - self.config.window, last=False)

    def close(self) -> None:
        """Write what waits, and the end of the file."""
        if self._writer is None:
            raise UnsupportedInputError("the cache has no tokens")
        if self._pending is not None:
            end = self._first + self._pending.tokens
            self._write_until(max(end - self.config.window, self._first), last=True)
            self._write(end, is_fine=True)
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
            size = config.group or (1 if cache.tokens < LONG else 6)
            self.layout = layout = Layout.of(cache, size)
        else:
            self.layout = layout = calibration.with_layout(cache)
        extra: dict[int, Any] = {LAYOUT_KEY: layout.to_bytes()}
        if cache.model:
            extra[MODEL_KEY] = cache.model.encode()
        model = b"" if calibration is None else calibration.id
        quality = None if config.lossless else level
        header = Header(CODEC_ID, CODEC_VERSION, model, layout.shape, cache.dtype, quality, extra)
        self._writer = container.Writer(self._file, header, LIMITS)
        if not config.lossless:
            tokens = max(min(layer.tokens for layer in cache.layers) - config.sinks, 0)

            def sample(group: int, which: int) -> NDArray[np.float32]:
                return self._sample(cache, group, which)

            self._plan = plan.plan_of(layout, level, calibration, tokens, sample)
            self._writer.add(ChunkType.TABLES, plan.pack(self._plan, layout, calibration is not None))

    def _sample(self, cache: KVCache, group: int, which: int) -> NDArray[np.float32]:
        """Tokens from all over the cache, as many as statistics need, their keys turned back."""
        assert self.layout is not None
        first = max(
            cache.layers[self.layout.groups[group][0]].start, min(self.config.sinks, cache.tokens - 1)
        )
        pieces = max(1, plan.SAMPLE // BLOCK)
        length = cache.tokens - first
        if length <= plan.SAMPLE:
            spans = [(first, cache.tokens)]
        else:
            starts = np.linspace(first, cache.tokens - BLOCK, pieces).astype(int)
            spans = [(int(start), int(start) + BLOCK) for start in starts]
        return np.concatenate([floats_of(cache, self.layout, group, which, a, b, 0) for a, b in spans])

    def _write_until(self, stop: int, *, last: bool) -> None:
        """Write the pending tokens before `stop`, as far as they fill blocks."""
        assert self.layout is not None
        if not last:
            stop = stop // BLOCK * BLOCK
        while self._first < stop:
            end = min(self._first // SPAN * SPAN + SPAN, stop)
            self._write(end, is_fine=False)

    def _write(self, end: int, *, is_fine: bool) -> None:
        """Write pending tokens up to `end` and drop them."""
        if self._pending is None or end <= self._first:
            return
        assert self.layout is not None and self._writer is not None
        layout, sinks = self.layout, self.config.sinks
        blocks = list(layout.blocks(self._first, end, sinks))
        jobs = [(group, which) for group in range(len(layout.groups)) for which in (KEYS, VALUES)]

        def work(job: tuple[int, int]) -> list[Block]:
            return self._coded(*job, blocks, is_fine)

        if self._threads > 1 and len(jobs) > 1:
            with ThreadPoolExecutor(self._threads) as pool:
                coded = list(pool.map(work, jobs))
        else:
            coded = [work(job) for job in jobs]
        by_block: dict[int, list[Block]] = {}
        for row in coded:
            for block in row:
                by_block.setdefault(next(a for a, b in blocks if a <= block.part.first < b), []).append(block)
        for first, _ in blocks:
            for block in by_block.get(first, []):
                self._writer.add(ChunkType.DATA, block.payload(), symbols_crc=block.crc)
        rest = end - self._first
        self._pending = (
            self._pending.slice(rest, self._pending.tokens) if rest < self._pending.tokens else None
        )
        self._first = end

    def _coded(self, group: int, which: int, blocks: list[tuple[int, int]], is_fine: bool) -> list[Block]:
        """Code the blocks of a group's keys or values."""
        assert self.layout is not None and self._pending is not None
        cache, layout, lossless = self._pending, self.layout, self.config.lossless
        start = self._first + cache.layers[layout.groups[group][0]].start
        spans = [(max(first, start), stop) for first, stop in blocks if stop > start]
        finely = [span for span in spans if is_fine or span[0] < self.config.sinks]
        kind = layout.kind(group)
        made = []
        for first, stop in spans if lossless else finely:
            part = Part(first, stop - first, group, which)
            rows = rows_of(cache, layout, group, which, first - self._first, stop - self._first)
            if lossless:
                made.append(Block(part, EXACT, *exact.encode(rows, cache.dtype)))
            else:
                values = _finite(as_float(rows, cache.dtype), part, layout)
                made.append(
                    Block(part, FINE, *fine.encode(values, kind.value_dim if which else kind.key_dim))
                )
        rest = [span for span in spans if span not in finely]
        if lossless or not rest:
            return made
        first, stop = rest[0][0], rest[-1][1]
        rows = floats_of(cache, layout, group, which, first - self._first, stop - self._first, self._first)
        _finite(rows, Part(first, stop - first, group, which), layout)
        components = self._plan[group, which]
        values = components.analyse(rows)
        for a, b in rest:
            part = Part(a, b - a, group, which)
            coded = coding.encode(components, values[a - first : b - first], self.config.effort)
            if coded is None:  # numbers far beyond all that was expected
                plain = as_float(
                    rows_of(cache, layout, group, which, a - self._first, b - self._first), cache.dtype
                )
                dim = kind.value_dim if which else kind.key_dim
                made.append(Block(part, FINE, *fine.encode(plain, dim)))
            else:
                made.append(Block(part, TRANSFORM, *coded))
        return made


def _calibration(chosen: Any, cache: KVCache) -> calibrations.Calibration | None:
    if chosen is None:
        return None
    if isinstance(chosen, str) and chosen == AUTO:
        return calibrations.installed_for(cache)
    return calibrations.find(chosen)


def _finite(values: NDArray[np.float32], part: Part, layout: Layout) -> NDArray[np.float32]:
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise UnsupportedInputError(
            f"the cache has infinite or undefined numbers at token {part.first + place} "
            f"({name_of(part, layout)}); only lossless coding takes them"
        )
    return values


def floats_of(
    cache: KVCache, layout: Layout, group: int, which: int, first: int, stop: int, origin: int
) -> NDArray[np.float32]:
    """As `rows_of`, in float32, with the rotary embedding of keys undone.

    Parameters
    ----------
    origin
        Number that token 0 of `cache` has in the file.
    """
    parts = []
    rope = None if which else layout.kind(group).rope
    for number in layout.groups[group]:
        layer = cache.layers[number]
        part = layer.values if which else layer.keys
        values = as_float(part[:, first - layer.start : stop - layer.start], cache.dtype)
        if rope is not None:
            values = rope.turn(values, layout.position + origin + first, back=True)
        parts.append(values)
    stacked = np.stack(parts)
    return np.ascontiguousarray(stacked.transpose(2, 0, 1, 3)).reshape(stop - first, -1)


def rows_of(cache: KVCache, layout: Layout, group: int, which: int, first: int, stop: int) -> NDArray[Any]:
    """Keys (0) or values (1) of a group of layers as they are, (tokens, layers * heads * channels).

    Tokens are counted within `cache`.
    """
    parts = []
    for number in layout.groups[group]:
        layer = cache.layers[number]
        part = layer.values if which else layer.keys
        parts.append(part[:, first - layer.start : stop - layer.start])
    stacked = np.stack(parts)  # (layers, heads, tokens, channels)
    return np.ascontiguousarray(stacked.transpose(2, 0, 1, 3)).reshape(stop - first, -1)


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
