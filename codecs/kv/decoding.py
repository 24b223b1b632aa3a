"""Reading a cache, or the part of it that is wanted."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from siglum.codecs import container
from siglum.codecs.container import ChunkType, Entry
from siglum.codecs.kv import calibration as calibrations
from siglum.codecs.kv import coding, exact, fine, fixed_blocks, fixed_plan, plan
from siglum.codecs.kv.blocks import EXACT, FINE, FIXED, HEAD_BYTES, TRANSFORM, Block, Part, name_of, parse
from siglum.codecs.kv.cache import DTYPES, KVCache, Layer, from_float
from siglum.codecs.kv.layout import CODEC_ID, CODEC_VERSION, KEYS, LAYOUT_KEY, VALUES, Layout
from siglum.codecs.kv.settings import MAX_LEVEL
from siglum.errors import (
    BitstreamError,
    LimitExceeded,
    MalformedHeader,
    Truncated,
    UsageError,
)
from siglum.kernels import dispatch

__all__ = ["Decoder", "KVWarning"]


RUN = 16  # blocks that are transformed back at once


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
        header.check_keys({LAYOUT_KEY, fixed_plan.FIXED_KEY})
        self.layout = Layout.of_header(header)
        if header.quality is not None and header.quality > MAX_LEVEL:
            raise MalformedHeader(f"quality {header.quality} is none of this codec's: the file is damaged")
        self._calibration = calibration
        self._threads = dispatch.threads(threads)
        self.missing: list[str] = []

    @property
    def lossless(self) -> bool:
        """Whether the file has every bit."""
        return self._reader.header.quality is None

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return sum(entry.type == ChunkType.DATA for entry in self._reader.entries)

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        groups = list(range(len(self.layout.groups)))
        return self._total(groups, [part for _, part in self._parts()])

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
        if not self.lossless and not self.partial:
            _ = self.plan  # damage is found even where nothing needs it
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
                fixed_plan.check_method(block.method, self._reader.header)
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
        run: list[tuple[Part, NDArray[np.float32]]] = []

        def put(low: int, rows: NDArray[Any], *, transformed: bool) -> None:
            """Rows of tokens from `low` on, as far as they are wanted."""
            rows = rows[max(first - low, 0) : stop - low]
            low = max(low, first)
            made = rows.reshape(len(rows), layers, kind.heads, dim).transpose(1, 2, 0, 3)
            if transformed and not which and kind.rope is not None:
                made = kind.rope.turn(made, self.layout.position + low)
            if made.dtype == np.float32 and self.layout.dtype != "float32":
                made = from_float(made, self.layout.dtype)
            out[:, :, low - first : low - first + len(rows)] = made

        def flush() -> None:
            """One product for blocks that follow each other: it costs less than one for each."""
            if run:
                values = self.plan[group, which].synthesise(np.concatenate([part for _, part in run]))
                put(run[0][0].first, values, transformed=True)
                run.clear()

        for block in blocks:
            part = block.part
            if run and (run[-1][0].stop != part.first or len(run) == RUN):
                flush()
            try:
                rows = self._decode(block)
            except BitstreamError as error:
                if not self.partial:
                    raise type(error)(f"{name_of(part, self.layout)}: {error}") from error
                self.missing.append(name_of(part, self.layout))
                continue
            if block.method == TRANSFORM:
                run.append((part, rows))
            else:
                put(part.first, rows, transformed=False)
        flush()
        return out

    def _decode(self, block: Block) -> NDArray[Any]:
        """(tokens, width) of a block: float32, or as they were if it is exact; components if it is transformed."""
        part, layout = block.part, self.layout
        width, kind = layout.width(part.group, part.which), layout.kind(part.group)
        if block.method == EXACT:
            return exact.decode(block.body, block.crc, part.tokens, width, layout.dtype)
        if block.method == FIXED:
            return fixed_blocks.decode(self.plan[part.group, part.which], block, layout)
        if block.method == FINE:
            dim = kind.value_dim if part.which else kind.key_dim
            return fine.decode(block.body, block.crc, part.tokens, width, dim)
        return coding.decode(self.plan[part.group, part.which], block.body, block.crc, part.tokens)

    @cached_property
    def plan(self) -> fixed_plan.AnyPlan:
        """What blocks that are transformed are decoded with."""
        header = self._reader.header
        calibration = None
        if header.model:
            given = None if self._calibration is None else calibrations.find(self._calibration)
            if given is not None and given.id == header.model:
                calibration = given
            else:
                calibration = calibrations.find_by_id(header.model)
            check_fits(calibration, self.layout)
        entry = self._reader.find(ChunkType.TABLES)
        if entry is None or header.quality is None:
            raise MalformedHeader("the file has no tables: it is damaged")
        found = plan.unpack(self._reader.read(entry).payload, self.layout, header.quality, calibration)
        return fixed_plan.restored(found, header)

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


def check_fits(calibration: calibrations.Calibration, layout: Layout) -> None:
    """Refuse a file whose geometry is not that of its calibration."""
    kinds = [replace(layout.kinds[kind], start=0) for kind in layout.kind_of]
    due = [calibration.layout.kinds[kind] for kind in calibration.layout.kind_of]
    if kinds != due or layout.groups != calibration.layout.groups:
        raise MalformedHeader("the layers in the header are not those of the calibration that it names")
