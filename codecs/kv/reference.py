"""A block's entropy code in Python: what the compiled decoder does, for tests and for measurements."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.coding import (
    BAND,
    BAND_TABLE,
    BANDS,
    MOST,
    TOKEN_TABLE,
    TOKENS,
    Components,
    Integers,
)
from siglum.entropy import rans
from siglum.entropy.gaussian import gaussian_tables
from siglum.entropy.gaussian_bank import LEVELS
from siglum.errors import ChecksumMismatch, MalformedHeader
from siglum.kernels.checksum import crc32c


def decode(part: Components, body: bytes, crc: int, tokens: int) -> tuple[Integers, NDArray[np.uint8]]:
    """Symbols (tokens, count) of a block, and the table of each.

    Raises
    ------
    BitstreamError
        If the data are damaged.
    """
    if not body or body[0] & ~(BANDS | TOKENS):
        raise MalformedHeader("a block has flags that do not exist: the file is damaged")
    decoder = rans.Decoder(memoryview(body)[1:])
    count, bank = part.count, gaussian_tables()
    band = decoder.decode(bank, BAND_TABLE, -(-count // BAND)) if body[0] & BANDS else None
    token = decoder.decode(bank, TOKEN_TABLE, tokens) if body[0] & TOKENS else None
    for correction in (band, token):
        if correction is not None and correction.size and np.abs(correction).max() > MOST:
            raise MalformedHeader("a block has a correction out of range: the file is damaged")
    index = tables_of(part.base, band, token, tokens)
    symbols = decoder.decode(bank, index)
    decoder.finish()
    found = 0
    for numbers in (band, token, symbols):
        if numbers is not None and numbers.size:
            found = crc32c(np.ascontiguousarray(numbers, "<i4").data.cast("B"), found)
    if found != crc:
        raise ChecksumMismatch("a block does not decode to the checksum that the file gives")
    return symbols, index


def tables_of(
    base: Integers, band: Integers | None, token: Integers | None, tokens: int
) -> NDArray[np.uint8]:
    """(tokens, count) table of each symbol."""
    row = base if band is None else base + np.repeat(band, BAND)[: len(base)]
    rows = np.broadcast_to(row, (tokens, len(base)))
    if token is not None:
        rows = rows + 2 * token[:, None]
    return np.clip(rows, 0, LEVELS - 1).astype(np.uint8)
