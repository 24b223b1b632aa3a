"""Storing a prompt while it is read."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from siglum.codecs.kv.cache import KVCache
from siglum.codecs.kv.layout import BLOCK
from siglum.errors import UnsupportedInputError
from siglum.kv.sequences import join
from siglum.kv.store import Link, Store

__all__ = ["Writer"]

IN_FLIGHT = 2  # entries that wait to be written, before `append` waits for them


class Writer:
    """Takes a prompt from its first token on, piece by piece, and writes each entry as soon as its tokens are there.

    At most a span of tokens and what was appended last is held, in the background two spans more.

    Parameters
    ----------
    store
        Where to.
    background
        Code and write in another thread. What goes wrong there is raised by the next `append`, or by `close`.

    Attributes
    ----------
    stored
        How many tokens are stored, or about to be.
    """

    def __init__(self, store: Store, *, background: bool = False) -> None:
        self.stored = 0
        self._store = store
        self._tokens: list[int] = []
        self._pieces: list[KVCache] = []
        self._names: list[str] = []
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="siglum-store") if background else None
        self._waiting: deque[Future[None]] = deque()

    def append(self, tokens: Sequence[int], cache: KVCache) -> None:
        """Take the tokens that follow and their cache.

        Raises
        ------
        UnsupportedInputError
            If they are not as many as the cache has, or do not go with what came before.
        StoreError
            If the folder cannot be written.
        """
        if len(tokens) != cache.tokens:
            raise UnsupportedInputError(f"{len(tokens)} tokens for a cache of {cache.tokens}")
        if cache.position != len(self._tokens):
            raise UnsupportedInputError(
                f"the cache begins at position {cache.position}, not at {len(self._tokens)}"
            )
        if not cache.tokens:
            return
        self._tokens.extend(int(token) for token in tokens)
        self._pieces.append(cache)
        self._write_until(len(self._tokens) // self._store.span * self._store.span)

    def close(self) -> None:
        """Write the whole blocks of 64 tokens that are left, and wait for all of it."""
        try:
            self._write_until(len(self._tokens) // BLOCK * BLOCK)
            while self._waiting:
                self._waiting.popleft().result()
        finally:
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)
        self._pieces = []
        self._store.folder.touch(self._names)

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _write_until(self, stop: int) -> None:
        if stop <= self.stored:
            return
        held = join(self._pieces)
        hashes = self._store.chain(self._tokens)
        begin = self.stored
        while self.stored < stop:
            link = self._store.link(hashes, self.stored, min(self.stored + self._store.span, stop))
            self._names.append(link.name)
            piece = held.slice(link.start - begin, link.stop - begin)
            self._submit(link, piece)
            self.stored = link.stop
        rest = held.slice(stop - begin, held.tokens)
        self._pieces = [rest] if rest.tokens else []

    def _submit(self, link: Link, piece: KVCache) -> None:
        if self._store.folder.holds(link.name):
            return
        if self._pool is None:
            self._store.write(link, piece)
            return
        while len(self._waiting) >= IN_FLIGHT:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._store.write, link, piece))
