"""The payload of a chunk: which tokens, layers and half of the cache it holds, and by which method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from siglum.codecs.container_source import Source, append_varint
from siglum.codecs.kv.layout import BLOCK, KEYS, Layout
from siglum.errors import MalformedHeader, Truncated, UnsupportedVersion

EXACT, FINE, TRANSFORM, FIXED = 0, 1, 2, 3
HEAD_BYTES = 32  # no head is longer
FIXED_HEAD = 9  # bytes, filled up with zeros: payloads of as many tokens are then of one size
METHODS = {EXACT: "exact", FINE: "fine", TRANSFORM: "transform", FIXED: "fixed"}


class Part(NamedTuple):
    """What a block holds.

    Attributes
    ----------
    first, tokens
        Tokens first to first + tokens - 1.
    group
        Of layers.
    which
        Keys (0) or values (1).
    """

    first: int
    tokens: int
    group: int
    which: int

    @property
    def stop(self) -> int:
        """The token after the last."""
        return self.first + self.tokens

    def __str__(self) -> str:
        return (
            f"tokens {self.first}-{self.stop - 1}, {'values' if self.which else 'keys'} of group {self.group}"
        )


@dataclass(frozen=True)
class Block:
    """A coded block.

    Attributes
    ----------
    part
        What it holds.
    method
        One of `METHODS`.
    body
        What the method wrote.
    crc
        CRC32C of the decoded symbols.
    """

    part: Part
    method: int
    body: bytes
    crc: int

    def payload(self) -> bytes:
        """The chunk's payload."""
        head = bytearray()
        append_varint(head, self.part.first)
        head.append(self.part.tokens)
        append_varint(head, 2 * self.part.group + self.part.which)
        head.append(self.method)
        if self.method == FIXED:
            head += bytes(FIXED_HEAD - len(head))
        return bytes(head) + self.body


def parse(payload: bytes, crc: int | None, layout: Layout) -> Block:
    """The block of a chunk's payload.

    Raises
    ------
    MalformedHeader
        If it holds what the cache does not have.
    UnsupportedVersion
        If its method is unknown.
    """
    source = Source(payload[:HEAD_BYTES])
    try:
        first = source.read_varint("a block's first token")
        count = source.read(1, "a block's tokens")[0]
        number = source.read_varint("a block's group")
        method = source.read(1, "a block's method")[0]
    except Truncated as error:
        raise MalformedHeader("a block has no head: the file is damaged") from error
    group, which = divmod(number, 2)
    if not 1 <= count <= BLOCK or first >= 2**31 or group >= len(layout.groups) or crc is None:
        raise MalformedHeader(
            f"a block says that it has tokens {first}-{first + count - 1} of group {group}, "
            "which this cache cannot have: the file is damaged"
        )
    if method not in METHODS:
        raise UnsupportedVersion(f"a block is coded by method {method}, which is unknown; upgrade siglum")
    begin = source.offset
    if method == FIXED:
        if begin > FIXED_HEAD or any(payload[begin:FIXED_HEAD]):
            raise MalformedHeader("the head of a block is not filled up with zeros: the file is damaged")
        begin = FIXED_HEAD
    return Block(Part(first, count, group, which), method, payload[begin:], crc)


def name_of(part: Part, layout: Layout) -> str:
    """Words for a message: tokens and layers."""
    layers = layout.groups[part.group]
    named = f"layers {layers[0]}-{layers[-1]}" if len(layers) > 1 else f"layer {layers[0]}"
    half = "keys" if part.which == KEYS else "values"
    return f"tokens {part.first}-{part.stop - 1}, {half} of {named}"
