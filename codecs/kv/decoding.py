"""Reading a cache, or the part of it that is wanted."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from siglum.codecs import container
from siglum.codecs.container import ChunkType, Entry
from siglum.codecs.kv import calibration as calibrations
from siglum.codecs.kv import coding, exact, fine, fixed_blocks, fixed_plan, plan
from siglum.codecs.kv.blocks import EXACT, FIXED, HEAD_BYTES, TRANSFORM, Block, Part, name_of, parse
from siglum.codecs.kv.cache import DTYPES, KVCache, Layer, from_float
from siglum.codecs.kv.coding import turns_of
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


Job = tuple[int, int, list[tuple[Entry, Part]]]
"""A group, a half, and where its blocks stand."""


class Wanted(NamedTuple):
    """Tokens start to stop - 1 of some layers, and the blocks that may hold them."""

    start: int
    stop: int
    layers: list[int]
    jobs: list[Job]


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
        wanted = self._wanted(start, stop, layers)
        rows = dict(self._rows(wanted, len(wanted.jobs)))
        for text in self.missing:
            warnings.warn(f"missing, and zero here: {text}", KVWarning, stacklevel=3)
        notes = {"missing": "; ".join(self.missing)} if self.missing else {}
        return self._cache(rows, wanted, notes)

    def stream(
        self, start: int = 0, stop: int | None = None, layers: Sequence[int] | None = None
    ) -> tuple[KVCache, list[tuple[int, int]], Iterator[tuple[int, int, NDArray[Any]]]]:
        """The wanted tokens and layers in pieces, in the memory of a few of them.

        Returns
        -------
        outline
            The cache with zeros that take no memory for its numbers.
        order
            Number of a layer in it, and 0 for keys or 1 for values, of each part: group by group, keys first.
        parts
            The same, and what stands there.
        """
        wanted = self._wanted(start, stop, layers)
        zero = np.zeros((), DTYPES[self.layout.dtype])
        rows = {
            (group, which): np.broadcast_to(zero, self._shape(group, which, wanted))
            for group, which, _ in wanted.jobs
        }
        order = [
            (number, which)
            for group, which, _ in wanted.jobs
            for number, layer in enumerate(wanted.layers)
            if layer in self.layout.groups[group]
        ]
        return self._cache(rows, wanted, {}), order, self._stream(wanted)

    def _stream(self, wanted: Wanted) -> Iterator[tuple[int, int, NDArray[Any]]]:
        for (group, which), rows in self._rows(wanted, self._threads):
            members = self.layout.groups[group]
            for number, layer in enumerate(wanted.layers):
                if layer in members:
                    yield number, which, rows[members.index(layer)]

    def _wanted(self, start: int, stop: int | None, layers: Sequence[int] | None) -> Wanted:
        """What is to be read, after a look at what there is."""
        layout = self.layout
        chosen = list(range(len(layout.kind_of))) if layers is None else list(layers)
        if not chosen or not all(0 <= layer < len(layout.kind_of) for layer in chosen):
            raise UsageError(f"layers are 0 to {len(layout.kind_of) - 1}, not {chosen}")
        groups = [g for g, members in enumerate(layout.groups) if set(members) & set(chosen)]
        jobs: dict[tuple[int, int], list[tuple[Entry, Part]]] = {
            (group, which): [] for group in groups for which in (KEYS, VALUES)
        }
        for entry, part in self._parts():
            if part.group in groups:
                jobs[part.group, part.which].append((entry, part))
        total = self._total(groups, [part for found in jobs.values() for _, part in found])
        stop = total if stop is None else min(stop, total)
        if not 0 <= start < stop:
            raise UsageError(f"tokens {start} to {stop} are none of the {total} in the file")
        self._check_size(groups, stop - start)
        if not self.lossless and not self.partial:
            _ = self.plan  # damage is found even where nothing needs it
        return Wanted(start, stop, chosen, [(*key, found) for key, found in jobs.items()])

    def _rows(self, wanted: Wanted, at_once: int) -> Iterator[tuple[tuple[int, int], NDArray[Any]]]:
        """(layers, heads, tokens, channels) of each group and half, so many of them in memory."""
        for first in range(0, len(wanted.jobs), at_once):
            jobs = wanted.jobs[first : first + at_once]
            blocks = [self._blocks(g, w, found, wanted.start, wanted.stop) for g, w, found in jobs]

            def work(index: int, jobs: list[Job] = jobs, blocks: list[list[Block]] = blocks) -> NDArray[Any]:
                return self._decoded(*jobs[index][:2], blocks[index], wanted)

            if self._threads > 1 and len(jobs) > 1:
                with ThreadPoolExecutor(self._threads) as pool:
                    yield from zip([job[:2] for job in jobs], pool.map(work, range(len(jobs))), strict=True)
            else:
                for index, job in enumerate(jobs):
                    yield job[:2], work(index)

    def _shape(self, group: int, which: int, wanted: Wanted) -> tuple[int, int, int, int]:
        kind = self.layout.kind(group)
        tokens = max(wanted.stop - max(wanted.start, kind.start), 0)
        dim = kind.value_dim if which else kind.key_dim
        return len(self.layout.groups[group]), kind.heads, tokens, dim

    def coded_blocks(self) -> Iterator[Block]:
        """All blocks as they are in the file, one after the other."""
        for entry, _ in self._parts():
            chunk = self._reader.read(entry)
            yield parse(chunk.payload, chunk.symbols_crc, self.layout)

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

    def _decoded(self, group: int, which: int, blocks: list[Block], wanted: Wanted) -> NDArray[Any]:
        """(layers, heads, tokens, channels) of a group in the type of the cache."""
        first, stop = max(wanted.start, self.layout.kind(group).start), wanted.stop
        layers, heads, tokens, dim = self._shape(group, which, wanted)
        out = np.zeros((layers, heads, tokens, dim), DTYPES[self.layout.dtype])
        for block in (b for b in blocks if b.method != TRANSFORM):
            try:
                rows = self._decode(block)
            except BitstreamError as error:
                self._note_damage(block.part, error)
                continue
            low, high = max(block.part.first, first), min(block.part.stop, stop)
            rows = rows[low - block.part.first : high - block.part.first]
            made = rows.reshape(len(rows), layers, heads, dim).transpose(1, 2, 0, 3)
            if made.dtype == np.float32 and self.layout.dtype != "float32":
                made = from_float(made, self.layout.dtype)
            out[:, :, low - first : high - first] = made
        for run in runs(block for block in blocks if block.method == TRANSFORM):
            self._transform_back(run, first, stop, out)
        return out

    def _transform_back(self, run: list[Block], first: int, stop: int, out: NDArray[Any]) -> None:
        """Decode blocks that follow each other to where tokens first to stop - 1 stand."""
        group, which = run[0].part.group, run[0].part.which
        components = self.plan[group, which]
        assert isinstance(components, coding.Components)  # as `check_method` has seen to
        symbols, errors = coding.decode(components, run)
        for block, error in zip(run, errors, strict=True):
            if error is not None:
                self._note_damage(block.part, error)
        rope = None if which else self.layout.kind(group).rope
        begin = run[0].part.first
        low, high = max(begin, first), min(run[-1].part.stop, stop)
        turns = turns_of(rope, self.layout.position + low, high - low)
        to = out[:, :, low - first : high - first]
        components.synthesise(symbols[low - begin : high - begin], turns, self.layout.dtype, to)
        for block in (block for block, error in zip(run, errors, strict=True) if error is not None):
            to[:, :, max(block.part.first - low, 0) : max(block.part.stop - low, 0)] = 0

    def _note_damage(self, part: Part, error: BitstreamError) -> None:
        """Name what is damaged: in an error, or among what is missing."""
        if not self.partial:
            raise type(error)(f"{name_of(part, self.layout)}: {error}") from error
        self.missing.append(name_of(part, self.layout))

    def _decode(self, block: Block) -> NDArray[Any]:
        """(tokens, width) of a block that is not transformed: float32, or as they were if it is exact."""
        part, layout = block.part, self.layout
        width, kind = layout.width(part.group, part.which), layout.kind(part.group)
        if block.method == EXACT:
            return exact.decode(block.body, block.crc, part.tokens, width, layout.dtype)
        if block.method == FIXED:
            return fixed_blocks.decode(self.plan[part.group, part.which], block, layout)
        dim = kind.value_dim if part.which else kind.key_dim
        return fine.decode(block.body, block.crc, part.tokens, width, dim)

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
        self, rows: dict[tuple[int, int], NDArray[Any]], wanted: Wanted, notes: dict[str, str]
    ) -> KVCache:
        layout, layers, start = self.layout, [], wanted.start
        for number in wanted.layers:
            group = next(g for g, members in enumerate(layout.groups) if number in members)
            place, kind = layout.groups[group].index(number), layout.kind(group)
            keys, values = rows[group, KEYS][place], rows[group, VALUES][place]
            begin = min(max(kind.start - start, 0), wanted.stop - start)
            layers.append(Layer(keys, values, kind.rope, begin))
        return KVCache(layers, layout.dtype, layout.model, layout.position + start, notes)


def runs(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Blocks of one group and half that follow each other, at most `RUN` together."""
    run: list[Block] = []
    for block in blocks:
        if run and (run[-1].part.stop != block.part.first or len(run) == RUN):
            yield run
            run = []
        run.append(block)
    if run:
        yield run


def check_fits(calibration: calibrations.Calibration, layout: Layout) -> None:
    """Refuse a file whose geometry is not that of its calibration."""
    kinds = [replace(layout.kinds[kind], start=0) for kind in layout.kind_of]
    due = [calibration.layout.kinds[kind] for kind in calibration.layout.kind_of]
    if kinds != due or layout.groups != calibration.layout.groups:
        raise MalformedHeader("the layers in the header are not those of the calibration that it names")
