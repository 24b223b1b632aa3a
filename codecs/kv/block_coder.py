"""Blocks of a cache, coded by a plan: what writing a file and appending to one share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from siglum.codecs.kv import coding, exact, fine, fixed_blocks
from siglum.codecs.kv.blocks import EXACT, FINE, TRANSFORM, Block, Part
from siglum.codecs.kv.cache import KVCache, as_float
from siglum.codecs.kv.device import is_on_device
from siglum.codecs.kv.fixed_plan import AnyPlan, FixedPart
from siglum.codecs.kv.layout import KEYS, VALUES, Layout
from siglum.codecs.kv.rows import check_finite, components_of, rows_of


@dataclass(frozen=True)
class BlockCoder:
    """Codes runs of tokens.

    Attributes
    ----------
    layout
        How the cache is cut.
    plan
        What its groups are coded with; None: bit for bit.
    sinks, effort
        As in `KVConfig`.
    threads
        How many.
    """

    layout: Layout
    plan: AnyPlan | None
    sinks: int
    effort: int
    threads: int

    def code(self, cache: KVCache, origin: int, stop: int, *, finely: bool = False) -> list[Block]:
        """Blocks of tokens origin to stop - 1, in the order of a file.

        Parameters
        ----------
        cache
            Its token 0 is number `origin` in the file.
        finely
            Code them as sinks are.
        """
        blocks = list(self.layout.blocks(origin, stop, self.sinks))
        jobs = [(group, which) for group in range(len(self.layout.groups)) for which in (KEYS, VALUES)]

        def work(job: tuple[int, int]) -> list[Block]:
            return self._coded(cache, origin, *job, blocks, finely)

        if self.threads > 1 and len(jobs) > 1:
            with ThreadPoolExecutor(self.threads) as pool:
                coded = list(pool.map(work, jobs))
        else:
            coded = [work(job) for job in jobs]
        rows = [block for row in coded for block in row]
        return sorted(rows, key=lambda block: (block.part.stop, block.part.group, block.part.which))

    def _coded(
        self, cache: KVCache, origin: int, group: int, which: int, blocks: list[tuple[int, int]], finely: bool
    ) -> list[Block]:
        layout = self.layout
        start = origin + cache.layers[layout.groups[group][0]].start
        spans = [(max(first, start), stop) for first, stop in blocks if stop > start]
        if self.plan is None:
            return [self._exact(cache, origin, Part(a, b - a, group, which)) for a, b in spans]
        fine_spans = [span for span in spans if finely or span[0] < self.sinks]
        made = [self._fine(cache, origin, Part(a, b - a, group, which)) for a, b in fine_spans]
        rest = spans[len(fine_spans) :]  # sinks come first, and a window is all of what is coded
        if not rest:
            return made
        components = self.plan[group, which]
        parts = [Part(a, b - a, group, which) for a, b in rest]
        if is_on_device(cache):
            from siglum.codecs.kv import device_blocks

            found = device_blocks.encode(components, cache, layout, origin, parts, self.effort)
            if found is not None:
                return made + found
        if isinstance(components, FixedPart):
            return made + fixed_blocks.encode(components, cache, layout, origin, parts, self.effort)
        first, stop = rest[0][0], rest[-1][1]
        kind = layout.kind(group)
        analyser = components.analyser(kind.value_dim if which else kind.key_dim)
        values = components_of(cache, layout, group, which, first - origin, stop - origin, origin, analyser)
        coded = coding.encode(components, values, [b - a for a, b in rest], self.effort)
        for (a, b), one in zip(rest, coded, strict=True):
            part = Part(a, b - a, group, which)
            # Numbers far beyond all that was expected have no symbols.
            made.append(self._fine(cache, origin, part) if one is None else Block(part, TRANSFORM, *one))
        return made

    def _exact(self, cache: KVCache, origin: int, part: Part) -> Block:
        return Block(part, EXACT, *exact.encode(self._rows(cache, origin, part), cache.dtype))

    def _fine(self, cache: KVCache, origin: int, part: Part) -> Block:
        kind = self.layout.kind(part.group)
        values = as_float(self._rows(cache, origin, part), cache.dtype)
        check_finite(values, part, self.layout)
        return Block(part, FINE, *fine.encode(values, kind.value_dim if part.which else kind.key_dim))

    def _rows(self, cache: KVCache, origin: int, part: Part) -> NDArray[Any]:
        return rows_of(cache, self.layout, part.group, part.which, part.first - origin, part.stop - origin)
