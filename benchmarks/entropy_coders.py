"""The entropy coders that ``codec bench entropy`` times: siglum's own; the others are in `entropy_peers`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from siglum.benchmarks.entropy_sources import Task
from siglum.entropy import precise, rans
from siglum.kernels import dispatch


class Absent(Exception):
    """A coder is not installed, or cannot run here; the message says why."""


@dataclass(frozen=True)
class Ready:
    """A coder with everything prepared that its user would prepare once: tables, lists, buffers.

    Attributes
    ----------
    encode : callable () -> payload
    decode : callable (payload) -> symbols
    size : callable (payload) -> int
        Bytes.
    array : callable (symbols) -> array
        What was decoded, to be compared; not timed.
    """

    encode: Callable[[], Any]
    decode: Callable[[Any], Any]
    size: Callable[[Any], int] = len
    array: Callable[[Any], Any] = np.asarray


@dataclass(frozen=True)
class Coder:
    """One row of the table.

    Attributes
    ----------
    name, settings : str
    prepare : callable (task) -> Ready or None
        None where the coder has nothing to say to such a task. Raises `Absent`.
    package : str
        The distribution whose version counts.
    threads : int
        With more than one, wall time is measured instead of the thread's CPU time.
    isa : str
        Instruction set that siglum is told to use; empty: the fastest.
    every_size : bool
        Also timed on short and long payloads.
    """

    name: str
    settings: str
    prepare: Callable[[Task], Ready | None]
    package: str = "siglum"
    threads: int = 1
    isa: str = ""
    every_size: bool = False


def own_coders() -> list[Coder]:
    """Siglum in the ways that it can be called."""
    coders = [
        Coder("siglum", "compress", lambda task: _framed(task, 1), every_size=True),
        Coder("siglum", "Encoder, one chunk", _one_chunk, every_size=True),
        Coder("siglum", "Encoder, 1 lane", _one_lane, every_size=True),
    ]
    for isa in dispatch.available_isas():
        if isa == dispatch.isa():
            continue  # the first row
        coders.append(Coder("siglum", f"compress, {isa}", lambda task: _framed(task, 1), isa=isa))
    coders.append(Coder("siglum", "compress, 2 threads", lambda task: _framed(task, 2), threads=2))
    coders.append(Coder("siglum", "precise", _precise))
    coders.append(Coder("siglum", "triton", _triton, every_size=True))
    return coders


def _which(task: Task) -> Any:
    return 0 if task.indexes is None else task.indexes


def _framed(task: Task, threads: int) -> Ready:
    tables, which = task.tables, _which(task)
    out = np.empty_like(task.symbols)
    return Ready(
        lambda: rans.compress(task.symbols, tables, which, threads=threads),
        lambda payload: rans.decompress(payload, tables, which, out=out, threads=threads),
    )


def _one_lane(task: Task) -> Ready | None:
    return _one_chunk(task, 1) if task.count <= 4096 else None


def _one_chunk(task: Task, lanes: int | None = None) -> Ready:
    tables, which = task.tables, _which(task)
    out = np.empty_like(task.symbols)

    def encode() -> bytes:
        encoder = rans.Encoder(lanes)
        encoder.push(task.symbols, tables, which)
        return encoder.finish()

    def decode(payload: bytes) -> Any:
        decoder = rans.Decoder(payload)
        decoder.decode(tables, which, out=out)
        decoder.finish()
        return out

    return Ready(encode, decode)


def _precise(task: Task) -> Ready:
    kept = [np.flatnonzero(row >= 2.0**-26) for row in task.mass]
    tables = precise.PreciseTables.from_pmf(
        [row[places] for row, places in zip(task.mass, kept, strict=True)],
        [int(places[0]) + task.first for places in kept],
        24,
    )
    which, symbols = _which(task), task.int32

    def encode() -> bytes:
        encoder = precise.Encoder()
        encoder.push(symbols, tables, which)
        return encoder.finish()

    def decode(payload: bytes) -> Any:
        decoder = precise.Decoder(payload)
        result = decoder.decode(tables, which, shape=symbols.shape)
        decoder.finish()
        return result

    return Ready(encode, decode)


def _triton(task: Task) -> Ready:
    try:
        import torch
        import triton  # noqa: F401
    except ImportError as error:
        raise Absent("not installed: pip install siglum[gpu]") from error
    if not torch.cuda.is_available():
        raise Absent("there is no GPU here")
    from siglum.kernels.gpu import rans as gpu

    symbols = torch.from_numpy(task.symbols).cuda()
    which = 0 if task.indexes is None else torch.from_numpy(task.indexes).cuda()

    def encode() -> Any:
        payloads = gpu.encode_chunks(symbols, task.tables, which)
        torch.cuda.synchronize()
        return payloads

    def decode(payloads: Any) -> Any:
        decoded = gpu.decode_chunks(payloads, task.tables, which, task.count, dtype=symbols.dtype)
        torch.cuda.synchronize()
        return decoded

    return Ready(
        encode, decode, lambda payloads: int(payloads.data.numel()), lambda decoded: decoded.cpu().numpy()
    )
