"""Blocks of a fixed rate: a record a token, all of one size, and no entropy code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.blocks import FIXED, Block, Part
from siglum.codecs.kv.cache import KVCache
from siglum.codecs.kv.coding import Components
from siglum.codecs.kv.fixed import Bytes, FixedPart
from siglum.codecs.kv.layout import Layout
from siglum.codecs.kv.rows import components_of
from siglum.errors import ChecksumMismatch, MalformedHeader, Truncated
from siglum.kernels.checksum import crc32c


def encode(
    part: FixedPart, cache: KVCache, layout: Layout, origin: int, parts: Sequence[Part], effort: int
) -> list[Block]:
    """Code blocks of a group's keys or values that follow each other.

    Parameters
    ----------
    cache
        Its token 0 is number `origin` in the file.
    effort
        As in `KVConfig`.
    """
    first, stop = parts[0].first, parts[-1].stop
    group, which = parts[0].group, parts[0].which
    kind = layout.kind(group)
    analyser = part.analyser(kind.value_dim if which else kind.key_dim)
    found = components_of(cache, layout, group, which, first - origin, stop - origin, origin, analyser)
    return blocks_of(part.encode(part.padded(found), effort), parts)


def blocks_of(records: Bytes, parts: Sequence[Part]) -> list[Block]:
    """Records of consecutive tokens (tokens, record) as blocks."""
    first, out = parts[0].first, []
    for it in parts:
        body = records[it.first - first : it.stop - first].tobytes()
        out.append(Block(it, FIXED, body, crc32c(body)))
    return out


def records_of(part: Components | FixedPart, block: Block) -> Bytes:
    """Records (tokens, record) of a block.

    Raises
    ------
    BitstreamError
        If it has another size than is due, or another checksum.
    """
    if not isinstance(part, FixedPart):
        raise MalformedHeader("a block has a fixed rate and the file has none: it is damaged")
    due, body = block.part.tokens * part.record, block.body
    if len(body) < due:
        raise Truncated(f"a block has {len(body)} bytes of codes, {due} are due")
    if len(body) > due:
        raise MalformedHeader(f"a block has {len(body)} bytes of codes, {due} are due: the file is damaged")
    if crc32c(body) != block.crc:
        raise ChecksumMismatch("a block does not decode to the checksum that the file gives")
    return np.frombuffer(body, np.uint8).reshape(block.part.tokens, part.record)


def decode(part: Components | FixedPart, block: Block, layout: Layout) -> NDArray[np.float32]:
    """Tokens (tokens, width) of a block, keys turned.

    Raises
    ------
    BitstreamError
        If the data are damaged.
    """
    records = records_of(part, block)
    assert isinstance(part, FixedPart)
    rows = part.synthesise(part.decode(records))
    kind, place = layout.kind(block.part.group), block.part
    if place.which or kind.rope is None:
        return rows
    keys = rows.reshape(len(rows), -1, kind.key_dim).transpose(1, 0, 2)
    turned = kind.rope.turn(keys, layout.position + place.first)
    return np.ascontiguousarray(turned.transpose(1, 0, 2)).reshape(rows.shape)
