"""Reading a cache, or the part of it that is wanted."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from siglum.codecs import container
from siglum.codecs.container import ChunkType, Entry
from siglum.codecs.kv.blocks import HEAD_BYTES, Block, Part, name_of, parse
from siglum.codecs.kv.cache import DTYPES, KVCache, Layer
from siglum.codecs.kv.layout import CODEC_ID, CODEC_VERSION, KEYS, LAYOUT_KEY, VALUES, Layout
from siglum.errors import (
    BitstreamError,
    ChecksumMismatch,
    LimitExceeded,
    MalformedHeader,
    Truncated,
    UsageError,
)
from siglum.kernels import dispatch
from siglum.kernels.checksum import crc32c

__all__ = ["Decoder", "KVWarning"]


class KVWarning(UserWarning):
    """A part of a cache could not be read and is zero."""


class Decoder:
    """Reads a file that can seek.

    Parameters
    ----------
    file
        At its first byte.
    calibration, partial, limits, threads
        As for `siglum.kv.decompress`.
    """

    def __init__(
        self,
        file: BinaryIO,
        calibration: Any = None,
        partial: bool = False,
        limits: container.Limits | None = None,
        threads: int | None = None,
    ) -> None:
        self.limits = limits or container.Limits()
        self.partial = partial
        self._reader = container.Reader(file, self.limits, partial)
        header = self._reader.header
        header.check_codec({CODEC_ID: CODEC_VERSION})
        header.check_keys({LAYOUT_KEY})
        self.layout = Layout.of_header(header)
        self._threads = dispatch.threads(threads)
        self.missing: list[str] = []

    def read(self, start: int = 0, stop: int | None = None, layers: Sequence[int] | None = None) -> KVCache:
        """The wanted tokens and layers; see `siglum.kv.decompress`."""
        layout = self.layout
        chosen = list(range(len(layout.kind_of))) if layers is None else list(layers)
        if not chosen or not all(0 <= layer < len(layout.kind_of) for layer in chosen):
            raise UsageError(f"layers are 0 to {len(layout.kind_of) - 1}, not {chosen}")
        groups = [g for g, members in enumerate(layout.groups) if set(members) & set(chosen)]
        found = [(entry, part) for entry, part in self._parts() if part.group in groups]
        total = self._total(groups, [part for _, part in found])
        stop = total if stop is None else min(stop, total)
        if not 0 <= start < stop:
            raise UsageError(f"tokens {start} to {stop} are none of the {total} in the file")
        self._check_size(groups, stop - start)
        jobs = []
        for group in groups:
            for which in (KEYS, VALUES):
                mine = [(e, p) for e, p in found if (p.group, p.which) == (group, which)]
                jobs.append((group, which, self._blocks(group, which, mine, start, stop)))

        def work(job: tuple[int, int, list[Block]]) -> NDArray[Any]:
            return self._decoded(*job, start, stop)

        if self._threads > 1 and len(jobs) > 1:
            with ThreadPoolExecutor(self._threads) as pool:
                rows = list(pool.map(work, jobs))
        else:
            rows = [work(job) for job in jobs]
        for text in self.missing:
            warnings.warn(f"missing, and zero here: {text}", KVWarning, stacklevel=3)
        return self._cache(dict(zip(((g, w) for g, w, _ in jobs), rows, strict=True)), chosen, start, stop)

    def _parts(self) -> list[tuple[Entry, Part]]:
        """Where each block stands and what it says that it holds; that is checked when it is read."""
        reader = self._reader
        try:
            entries = list(reader.entries)
        except BitstreamError:
            if not self.partial:
                raise
            entries = reader.hop()
        parts = []
        for entry in entries:
            if entry.type != ChunkType.DATA:
                continue
            try:
                parts.append((entry, parse(reader.peek(entry, HEAD_BYTES), 0, self.layout).part))
            except BitstreamError:
                if not self.partial:
                    raise
        return parts

    def _total(self, groups: list[int], parts: list[Part]) -> int:
        """Tokens in the file; of one that was cut off, those that are whole."""
        ends = {
            (group, which): max((p.stop for p in parts if (p.group, p.which) == (group, which)), default=0)
            for group in groups
            for which in (KEYS, VALUES)
        }
        if len(set(ends.values())) > 1 and not self.partial:
            raise Truncated(f"some layers end at token {min(ends.values())}, others at {max(ends.values())}")
        total = min(ends.values())
        if not total:
            raise Truncated("the file has no tokens: it was cut off")
        return total

    def _check_size(self, groups: list[int], tokens: int) -> None:
        elements = tokens * sum(
            self.layout.width(group, which) for group in groups for which in (KEYS, VALUES)
        )
        if elements > self.limits.max_elements:
            raise LimitExceeded(
                f"the cache has {elements} numbers, more than the limit of {self.limits.max_elements}; "
                "raise max_elements if you trust the file, or read fewer tokens"
            )

    def _blocks(
        self, group: int, which: int, found: list[tuple[Entry, Part]], start: int, stop: int
    ) -> list[Block]:
        """Read the blocks of a token range, and see that nothing is missing."""
        blocks = []
        due = max(start, self.layout.kind(group).start)
        for entry, announced in found:
            if announced.stop <= start or announced.first >= stop:
                continue
            try:
                chunk = self._reader.read(entry)
                block = parse(chunk.payload, chunk.symbols_crc, self.layout)
            except BitstreamError:
                if not self.partial:
                    raise
                continue
            if block.part.first < due and block.part.first >= start:
                raise MalformedHeader(f"two blocks have {name_of(block.part, self.layout)}")
            self._note_gap(group, which, due, block.part.first)
            due = block.part.stop
            blocks.append(block)
        self._note_gap(group, which, due, stop)
        return blocks

    def _note_gap(self, group: int, which: int, first: int, stop: int) -> None:
        if stop <= first:
            return
        name = name_of(Part(first, stop - first, group, which), self.layout)
        if not self.partial:
            raise Truncated(f"the file lacks {name}; partial reading gives the rest")
        self.missing.append(name)

    def _decoded(self, group: int, which: int, blocks: list[Block], start: int, stop: int) -> NDArray[Any]:
        """(layers, heads, tokens, channels) of a group in the type of the cache."""
        kind, layers = self.layout.kind(group), len(self.layout.groups[group])
        first = max(start, kind.start)
        dim = kind.value_dim if which else kind.key_dim
        dtype = DTYPES[self.layout.dtype]
        out = np.zeros((layers, kind.heads, max(stop - first, 0), dim), dtype)
        for block in blocks:
            part = block.part
            try:
                rows = self._rows(block)
            except BitstreamError:
                if not self.partial:
                    raise
                self.missing.append(name_of(part, self.layout))
                continue
            low, high = max(part.first, first), min(part.stop, stop)
            cut = rows[low - part.first : high - part.first].reshape(high - low, layers, kind.heads, dim)
            out[:, :, low - first : high - first] = cut.transpose(1, 2, 0, 3)
        return out

    def _rows(self, block: Block) -> NDArray[Any]:
        """(tokens, layers * heads * channels) of a block, in the type of the cache."""
        width = self.layout.width(block.part.group, block.part.which)
        dtype = DTYPES[self.layout.dtype].newbyteorder("<")
        if len(block.body) != block.part.tokens * width * dtype.itemsize:
            raise MalformedHeader(f"{name_of(block.part, self.layout)}: a block of the wrong size")
        if crc32c(block.body) != block.crc:
            raise ChecksumMismatch(f"{name_of(block.part, self.layout)}: not what was encoded")
        return np.frombuffer(block.body, dtype).reshape(block.part.tokens, width)

    def _cache(
        self, rows: dict[tuple[int, int], NDArray[Any]], chosen: list[int], start: int, stop: int
    ) -> KVCache:
        layout, layers = self.layout, []
        for number in chosen:
            group = next(g for g, members in enumerate(layout.groups) if number in members)
            place, kind = layout.groups[group].index(number), layout.kind(group)
            keys, values = rows[group, KEYS][place], rows[group, VALUES][place]
            layers.append(Layer(keys, values, kind.rope, min(max(kind.start - start, 0), stop - start)))
        notes = {"missing": "; ".join(self.missing)} if self.missing else {}
        return KVCache(layers, layout.dtype, layout.model, layout.position + start, notes)
