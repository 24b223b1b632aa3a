"""The chunks of a file by what they hold; of a damaged file those that are sound."""

from __future__ import annotations

from dataclasses import dataclass, field

from siglum.codecs.container import Chunk, ChunkType, Entry, Reader
from siglum.errors import BitstreamError, MalformedHeader


@dataclass
class Collected:
    """What was found.

    Attributes
    ----------
    data, opacity
        Chunks by their sequence number.
    others
        The chunk of each other type.
    lost
        Chunks of samples that are missing before the last one that was found, or damaged.
    """

    data: dict[int, Chunk] = field(default_factory=dict)
    opacity: dict[int, Chunk] = field(default_factory=dict)
    others: dict[int, Chunk] = field(default_factory=dict)
    lost: int = 0

    def add(self, chunk: Chunk) -> None:
        """Take up a chunk.

        Raises
        ------
        MalformedHeader
            If the picture has one of that type already.
        """
        kind: dict[int, dict[int, Chunk]] = {ChunkType.DATA: self.data, ChunkType.ALPHA: self.opacity}
        if chunk.type in kind:
            kind[chunk.type][chunk.sequence] = chunk
        elif chunk.type in self.others:
            raise MalformedHeader(f"the file has more than one {ChunkType(chunk.type).name} chunk")
        else:
            self.others[chunk.type] = chunk

    def only(self, kind: ChunkType) -> bytes | None:
        """The payload of a chunk that there is at most once."""
        return self.others[kind].payload if kind in self.others else None


def collect(reader: Reader, damaged: bool) -> Collected:
    """Read all chunks of a file.

    Parameters
    ----------
    damaged
        Pass over chunks that are damaged or missing, and count them.

    Raises
    ------
    BitstreamError
        If the file is damaged or cut off, as far as the reader and `damaged` do not allow it.
    """
    found = Collected()
    if not damaged:
        for chunk in reader.chunks():
            found.add(chunk)
        return found
    entries, announced = _entries(reader)
    for entry in entries:
        try:
            chunk = reader.read(entry)
        except BitstreamError:
            continue
        if chunk.type not in found.others:
            found.add(chunk)
    found.lost = max([*found.data, announced - 1], default=-1) + 1 - len(found.data)
    return found


def _entries(reader: Reader) -> tuple[list[Entry], int]:
    """Where chunks may be, and how many chunks of samples the index tells of; without an index by their heads."""
    try:
        entries = list(reader.entries)
    except BitstreamError:
        entries = reader.hop(damaged=True)
    return entries, sum(entry.type == ChunkType.DATA for entry in entries)
