"""The compressed part of a `CompressedCache`: files of consecutive tokens, decoded a group of layers at a time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor

from siglum.codecs.kv.cache import torch_of
from siglum.codecs.kv.codec import decompress
from siglum.codecs.kv.decoding import Decoder

__all__ = ["Past"]

Pair = tuple[Tensor, Tensor]
_POOL = ThreadPoolExecutor(1, thread_name_prefix="siglum-past")


class Run(NamedTuple):
    """Tokens start to stop - 1: a file for each sequence."""

    start: int
    stop: int
    rows: list[bytes]


class Past:
    """Compressed tokens of all sequences of a batch.

    While a group of layers is used the next one is decoded in another thread; of more than two nothing is ever kept.

    Parameters
    ----------
    calibration, threads
        As for `siglum.kv.decompress`.
    """

    def __init__(self, calibration: Any, threads: int | None) -> None:
        self._calibration, self._threads = calibration, threads
        self._runs: list[Run] = []
        self._groups: list[tuple[int, ...]] = []
        self._ready: dict[int, Future[dict[int, Pair]]] = {}

    @property
    def tokens(self) -> int:
        """Tokens of each sequence."""
        return self._runs[-1].stop if self._runs else 0

    @property
    def nbytes(self) -> int:
        """Bytes of the files, equal ones of several sequences counted once, and of what is decoded."""
        files = {id(data): len(data) for run in self._runs for data in run.rows}
        decoded = [ready.result() for ready in self._ready.values() if ready.done()]
        tensors = [part for group in decoded for pair in group.values() for part in pair]
        return sum(files.values()) + sum(part.nbytes for part in tensors)

    def add(self, rows: list[bytes], count: int) -> None:
        """Append `count` tokens, a file for each sequence."""
        self.release()
        if not self._runs:
            self._groups = sorted(Decoder(io.BytesIO(rows[0]), self._calibration).layout.groups)
        self._runs.append(Run(self.tokens, self.tokens + count, rows))

    def take(self, layer: int, device: Any) -> Pair | None:
        """Keys and values (batch, heads, tokens, channels) of a layer, or None; the next group is begun."""
        if not self._runs:
            return None
        number = next(g for g, members in enumerate(self._groups) if layer in members)
        for wanted in (number, number + 1):
            if wanted < len(self._groups) and wanted not in self._ready:
                self._ready[wanted] = _POOL.submit(self._decoded, self._groups[wanted], device, self._runs)
        group = self._ready[number].result()
        pair = group.pop(layer, None)
        if pair is None:  # a second pass through this layer in one pass of the model
            group.update(self._decoded((layer,), device, self._runs))
            pair = group.pop(layer)
        if not group:
            self._groups_done(number)
        return pair

    def _groups_done(self, number: int) -> None:
        for done in [g for g in self._ready if g <= number]:
            del self._ready[done]

    def release(self) -> None:
        """Drop what is decoded."""
        for ready in self._ready.values():
            ready.cancel()
        self._ready.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.release()
        self._runs = []

    def select(self, rows: Sequence[int]) -> None:
        """Keep these sequences, in this order; the files of one that is taken twice are shared."""
        self.release()
        self._runs = [run._replace(rows=[run.rows[row] for row in rows]) for run in self._runs]

    def cut(self, stop: int, layers: int, device: Any) -> list[Pair]:
        """Drop tokens from `stop` on; what stays of a file that must go is returned, for each layer, or nothing."""
        self.release()
        torn = next((run for run in self._runs if run.start < stop < run.stop), None)
        self._runs = [run for run in self._runs if run.stop <= stop]
        if torn is None:
            return []
        alone = torn._replace(start=0, stop=torn.stop - torn.start)
        back = self._decoded(tuple(range(layers)), device, [alone])
        kept = stop - torn.start
        return [(back[n][0][..., :kept, :].clone(), back[n][1][..., :kept, :].clone()) for n in range(layers)]

    def _decoded(self, layers: tuple[int, ...], device: Any, runs: Sequence[Run]) -> dict[int, Pair]:
        out: dict[int, Pair] = {}
        for run in runs:
            for row, data in enumerate(run.rows):
                cache = decompress(data, layers=layers, calibration=self._calibration, threads=self._threads)
                for layer, found in zip(layers, cache.layers, strict=True):
                    parts = [torch_of(part, cache.dtype) for part in (found.keys, found.values)]
                    if layer not in out:
                        batch, total = len(run.rows), runs[-1].stop
                        keys, values = (
                            torch.empty((batch, p.shape[0], total, p.shape[2]), dtype=p.dtype, device=device)
                            for p in parts
                        )
                        out[layer] = keys, values
                    for target, part in zip(out[layer], parts, strict=True):
                        target[row, :, run.start : run.stop] = part
        return out
