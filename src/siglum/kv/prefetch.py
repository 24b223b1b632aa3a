"""Work that runs ahead of its use: the next piece is decoded while this one is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from siglum.codecs.kv.cache import KVCache, Layer
from siglum.codecs.kv.codec import decompress
from siglum.codecs.kv.decoding import Decoder

__all__ = ["ahead", "iter_layers", "iter_tokens"]

Result = TypeVar("Result")


def ahead(jobs: Iterable[Callable[[], Result]], depth: int = 1) -> Iterator[Result]:
    """Results of jobs in their order; `depth` of them are begun before they are asked for, in one other thread.

    What a job raises is raised where its result would come; jobs that were not begun then never are.

    Examples
    --------
    >>> list(ahead([lambda: 1, lambda: 2, lambda: 3], depth=2))
    [1, 2, 3]
    """
    if depth < 1:
        raise ValueError(f"depth is at least 1, not {depth}")
    waiting: deque[Future[Result]] = deque()
    left = iter(jobs)
    pool = ThreadPoolExecutor(1, thread_name_prefix="siglum-ahead")
    try:
        for job in left:
            waiting.append(pool.submit(job))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def iter_layers(
    data: bytes | str | Path, *, depth: int = 1, calibration: Any = None, threads: int | None = None
) -> Iterator[tuple[int, Layer]]:
    """Layers of a file in their order, the next group of them being decoded while this one is used.

    Only `depth` + 1 groups of layers, and those that interleave with them, are in memory at once.

    Parameters
    ----------
    data
        The bytes of a file, or its path.
    depth
        Groups of layers that are decoded in advance.
    calibration, threads
        As for `siglum.kv.decompress`.
    """
    groups = sorted(_groups(data, calibration))
    jobs = [_decoding(data, layers=group, calibration=calibration, threads=threads) for group in groups]
    ready: dict[int, Layer] = {}
    order = iter(groups)
    with closing(ahead(jobs, depth)) as decoded:  # type: ignore[type-var]
        for number in range(sum(map(len, groups))):
            while number not in ready:
                ready.update(zip(next(order), next(decoded).layers, strict=True))
            yield number, ready.pop(number)


def iter_tokens(
    data: bytes | str | Path,
    size: int = 256,
    *,
    depth: int = 1,
    calibration: Any = None,
    threads: int | None = None,
) -> Iterator[KVCache]:
    """A file in runs of `size` tokens, the next one being decoded while this one is used.

    Raises
    ------
    ValueError
        If `size` is no multiple of 64.
    """
    if size < 1 or size % 64:
        raise ValueError(f"size is a multiple of 64 tokens, not {size}")
    total = _total(data, calibration)
    jobs = [
        _decoding(data, start=at, stop=min(at + size, total), calibration=calibration, threads=threads)
        for at in range(0, total, size)
    ]
    yield from ahead(jobs, depth)


def _decoding(data: bytes | str | Path, **wanted: Any) -> Callable[[], KVCache]:
    return lambda: decompress(data, **wanted)


def _groups(data: bytes | str | Path, calibration: Any) -> Sequence[tuple[int, ...]]:
    return _look(data, calibration, lambda decoder: decoder.layout.groups)


def _total(data: bytes | str | Path, calibration: Any) -> int:
    return _look(data, calibration, lambda decoder: decoder.tokens)


def _look(data: bytes | str | Path, calibration: Any, ask: Callable[[Decoder], Result]) -> Result:
    if isinstance(data, (str, Path)):
        with Path(data).open("rb") as file:
            return ask(Decoder(file, calibration))
    import io

    return ask(Decoder(io.BytesIO(data), calibration))
