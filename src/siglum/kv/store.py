"""Caches on disk, found by the tokens that filled them: what one request computed, the next one loads.

An entry is a `.sgl` file of up to `span` tokens, named by a hash of the model, of how it is coded, and of all tokens
from the first to its last: a chain with a link each 64 tokens. Equal beginnings of prompts thus share their entries, in
any number of processes, and nothing needs an index.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from siglum.codecs.kv import calibration as calibrations
from siglum.codecs.kv.cache import KVCache
from siglum.codecs.kv.decoding import Decoder
from siglum.codecs.kv.encoding import Encoder
from siglum.codecs.kv.layout import BLOCK, CODEC_VERSION
from siglum.codecs.kv.settings import AUTO, KVConfig
from siglum.errors import BitstreamError, UnsupportedInputError, UsageError
from siglum.kv.folders import Entry, Folder, folder_of
from siglum.kv.prefetch import ahead
from siglum.kv.sequences import geometry, join

if TYPE_CHECKING:
    from siglum.kv.writer import Writer

__all__ = ["Link", "Store", "StoreWarning"]

CALIBRATED_SPAN = BLOCK
FREE_SPAN = 4 * BLOCK  # without calibration each entry carries transforms of its own
SLACK = 16  # a process lists the folder anew when it has written this part of the limit
ROOM = 0.9  # of the limit is left when entries are removed


class StoreWarning(UserWarning):
    """An entry of a store was damaged, or of another model, and is not used."""


class Link(NamedTuple):
    """An entry and the tokens that it holds: start to stop - 1."""

    name: str
    start: int
    stop: int


class Store:
    """Caches of one model, coded in one way, in a folder that other models and processes may share.

    Parameters
    ----------
    folder
        Path of a folder, or a URL that fsspec knows.
    model
        Names the model's weights; caches are found by this name only.
    quality, lossless, effort, threads
        As in `KVConfig`.
    calibration
        "auto": the installed one of `model`, else none. None, a `Calibration`, a path or a name, as in `KVConfig`.
    span
        Tokens of an entry, a multiple of 64; by default 64 with a calibration, 256 without.
    limit
        Bytes that the folder may hold: what was used longest ago is removed. None: no limit. While n processes
        write, the folder may exceed it by n / 16.
    salt
        Caches are found only with the salt that they were put with: one for each tenant keeps them apart.
    options
        For fsspec.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> tokens = list(range(300))
    >>> cache = KVCache.from_arrays([(np.ones((2, 300, 8), np.float16),) * 2])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(folder, model="example")
    ...     store.put(tokens, cache), store.lookup(tokens[:290] + [7]), store.get(tokens).tokens
    (256, 256, 256)
    """

    def __init__(
        self,
        folder: str | Path | Folder,
        *,
        model: str,
        quality: float = 60.0,
        lossless: bool = False,
        calibration: Any = AUTO,
        span: int | None = None,
        limit: int | None = None,
        salt: str = "",
        effort: int = 5,
        threads: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        if not model:
            raise UsageError("a store needs the name of the model: caches of different models must not meet")
        if limit is not None and limit < 1:
            raise UsageError(f"limit is a number of bytes, not {limit}")
        self.folder = folder_of(folder, options) if isinstance(folder, (str, Path)) else folder
        self.model, self.limit = model, limit
        self.calibration = None if lossless else _calibration_of(calibration, model)
        self.span = span or (CALIBRATED_SPAN if self.calibration or lossless else FREE_SPAN)
        if self.span < BLOCK or self.span % BLOCK:
            raise UsageError(f"span is a multiple of {BLOCK} tokens, not {span}")
        self.config = KVConfig(
            quality=quality, lossless=lossless, calibration=self.calibration, effort=effort, threads=threads
        )
        identity = {
            "model": model,
            "salt": salt,
            "version": CODEC_VERSION,
            "calibration": self.calibration.id.hex() if self.calibration else "",
            "level": "lossless" if lossless else self.config.level,
            "span": self.span,
        }
        self._root = hashlib.sha256(
            b"siglum kv store\0" + json.dumps(identity, sort_keys=True).encode()
        ).digest()
        self._unlisted: int | None = None  # bytes written since the folder was listed; None: never listed

    def chain(self, tokens: Sequence[int]) -> list[bytes]:
        """The hash after each whole block of 64 tokens, that of none first."""
        ids = np.asarray(tokens, dtype="<i8")
        if ids.ndim != 1:
            raise UsageError(f"tokens are a list of numbers, not an array of shape {ids.shape}")
        links = [self._root]
        for start in range(0, len(ids) - BLOCK + 1, BLOCK):
            links.append(hashlib.sha256(links[-1] + ids[start : start + BLOCK].tobytes()).digest())
        return links

    def links(self, tokens: Sequence[int]) -> list[Link]:
        """The entries that `put` writes for these tokens: whole spans, then a shorter one of whole blocks."""
        hashes = self.chain(tokens)
        total = (len(hashes) - 1) * BLOCK
        return [
            self.link(hashes, start, min(start + self.span, total)) for start in range(0, total, self.span)
        ]

    def find(self, tokens: Sequence[int]) -> list[Link]:
        """The entries that hold the longest beginning of these tokens that is stored."""
        hashes, found, start = self.chain(tokens), [], 0
        total = (len(hashes) - 1) * BLOCK
        while start < total:
            stops = range(min(start + self.span, total), start, -BLOCK)
            link = next(
                (
                    link
                    for link in (self.link(hashes, start, s) for s in stops)
                    if self.folder.holds(link.name)
                ),
                None,
            )
            if link is None:
                break
            found.append(link)
            if link.stop < start + self.span:
                break
            start = link.stop
        return found

    def lookup(self, tokens: Sequence[int]) -> int:
        """How many of the first tokens are stored, a multiple of 64; reads none of them."""
        found = self.find(tokens)
        return found[-1].stop if found else 0

    def get(self, tokens: Sequence[int], *, layers: Sequence[int] | None = None) -> KVCache | None:
        """The cache of the longest beginning of these tokens that is stored, or None if none is.

        A damaged entry is named in a `StoreWarning` and removed; what stands before it is returned.

        Parameters
        ----------
        layers
            Which layers; None: all.
        """
        pieces = list(self.stream(tokens, layers=layers))
        return join(pieces) if pieces else None

    def stream(
        self, tokens: Sequence[int], *, layers: Sequence[int] | None = None, depth: int = 2
    ) -> Iterator[KVCache]:
        """What `get` returns, entry by entry, `depth` of them being read and decoded in advance."""
        found = self.find(tokens)
        self.folder.touch([link.name for link in found])
        jobs = [self._reading(link, layers) for link in found]
        first: KVCache | None = None
        with closing(ahead(jobs, depth)) as pieces:  # type: ignore[type-var]
            for link, piece in zip(found, pieces, strict=False):
                if isinstance(piece, BitstreamError):
                    self.folder.remove(link.name)
                    _warn(link, f"is damaged and was removed ({piece})")
                    return
                if piece is None:
                    return
                if first is not None and geometry(piece) != geometry(first):
                    _warn(link, "has other layers than those before it: two models go by one name")
                    return
                first = first or piece
                yield piece

    def put(self, tokens: Sequence[int], cache: KVCache) -> int:
        """Store the whole blocks of 64 tokens of a cache that are not stored yet.

        Parameters
        ----------
        tokens
            Those that filled the cache, from the first; at least as many as it holds.

        Returns
        -------
        int
            How many of the first tokens are stored now.

        Raises
        ------
        UnsupportedInputError
            If the cache has more tokens than `tokens`, does not begin at the first, or has lost some to sliding
            windows.
        StoreError
            If the folder cannot be written.
        """
        if cache.tokens > len(tokens):
            raise UnsupportedInputError(f"the cache has {cache.tokens} tokens, and {len(tokens)} were named")
        if cache.position:
            raise UnsupportedInputError(f"the cache begins at position {cache.position}, not at 0")
        links = self.links(tokens[: cache.tokens])
        # Of what was written first the end of a prompt must go first: its beginning is what makes it found.
        for link in links if self.folder.notes_use else reversed(links):
            if not self.folder.holds(link.name):
                self.write(link, cache.slice(link.start, link.stop))
        self.folder.touch([link.name for link in links])
        return links[-1].stop if links else 0

    def writer(self, *, background: bool = False) -> Writer:
        """A context manager that takes a prompt's tokens and caches as they come; see `Writer`.

        Parameters
        ----------
        background
            Code and write in another thread, while the model goes on.
        """
        from siglum.kv.writer import Writer

        return Writer(self, background=background)

    def entries(self) -> list[Entry]:
        """All entries of the folder, of any model, the one used longest ago first."""
        return sorted(self.folder.entries(), key=lambda entry: (entry.used, entry.name))

    def gc(self, limit: int | None = None) -> int:
        """Remove what was used longest ago until the folder holds at most `limit` bytes, and what is half-written.

        Parameters
        ----------
        limit
            Bytes; None: the store's own, and if it has none, nothing but half-written files is removed.

        Returns
        -------
        int
            Bytes that the entries left now have.
        """
        self.folder.sweep()
        listed = self.entries()
        size = sum(entry.size for entry in listed)
        limit = self.limit if limit is None else limit
        for entry in listed:
            if limit is None or size <= limit:
                break
            self.folder.remove(entry.name)
            size -= entry.size
        self._unlisted = 0
        return size

    def link(self, hashes: Sequence[bytes], start: int, stop: int) -> Link:
        """The entry of tokens start to stop - 1, by the hashes that `chain` gives."""
        return Link(hashes[stop // BLOCK].hex() + ".sgl", start, stop)

    def write(self, link: Link, piece: KVCache) -> None:
        """Code and write an entry, then make room if it is time to."""
        lost = next((number for number, layer in enumerate(piece.layers) if layer.start), None)
        if lost is not None:
            raise UnsupportedInputError(
                f"layer {lost} sees a sliding window and no longer has token {link.start}: append to the store "
                "while the prompt is read (Store.writer), or fill a DynamicCache() made without config"
            )
        out = io.BytesIO()
        settings = self.config.to_dict() | ({"sinks": 0} if link.start else {})
        with Encoder(out, **settings) as encoder:
            encoder.append(KVCache(piece.layers, piece.dtype, self.model, link.start))
        data = out.getvalue()
        self.folder.write(link.name, data)
        if self.limit is not None:
            self._unlisted = None if self._unlisted is None else self._unlisted + len(data)
            if self._unlisted is None or self._unlisted * SLACK > self.limit:
                self._make_room(self.limit)

    def _make_room(self, limit: int) -> None:
        if sum(entry.size for entry in self.folder.entries()) > limit:
            self.gc(int(limit * ROOM))
        self._unlisted = 0

    def _reading(
        self, link: Link, layers: Sequence[int] | None
    ) -> Callable[[], KVCache | BitstreamError | None]:
        return lambda: self._read(link, layers)

    def _read(self, link: Link, layers: Sequence[int] | None) -> KVCache | BitstreamError | None:
        """The tokens of an entry, what is wrong with it, or None if it is gone."""
        file = self.folder.open(link.name)
        if file is None:
            return None
        with file:
            try:
                piece = Decoder(file, self.calibration, threads=self.config.threads).read(layers=layers)
            except BitstreamError as error:
                return error
        if (piece.tokens, piece.position) != (link.stop - link.start, link.start):
            return BitstreamError(f"it holds tokens {piece.position}-{piece.position + piece.tokens - 1}")
        return piece


def _warn(link: Link, what: str) -> None:
    text = f"entry {link.name[:16]}… (tokens {link.start}-{link.stop - 1}) {what}"
    warnings.warn(text, StoreWarning, stacklevel=4)


def _calibration_of(wanted: Any, model: str) -> calibrations.Calibration | None:
    if wanted is None:
        return None
    return calibrations.named_for(model) if wanted == AUTO else calibrations.find(wanted)
