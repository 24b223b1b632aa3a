"""The header of an `image-vq` file: its fields, and in which chunks the layers are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from siglum.codecs.container import Header
from siglum.codecs.image.frame import check_shape, level_of
from siglum.codecs.image_vq.blocks import MAX_LANES
from siglum.errors import MalformedHeader

CODEC_ID = 2
CODEC_VERSION = 0
LANES_KEY = 17  # extra: number of lanes
GROUPS_KEY = 19  # extra: for each group of chunks, how many layers it holds
MAX_LAYERS = 64


@dataclass(frozen=True)
class Plan:
    """How the chunks are arranged: first one a tile for the hyperlatents, then group by group, tile by tile.

    Attributes
    ----------
    lanes
        Chunks of a tile in a group.
    groups
        Layers of each group, in order.
    """

    lanes: int
    groups: tuple[int, ...]

    def spans(self) -> Iterator[range]:
        """The numbers of the layers of each group."""
        start = 0
        for count in self.groups:
            yield range(start, start + count)
            start += count

    def number(self, group: int, tile: int, lane: int, tiles_in_all: int) -> int:
        """The number of a chunk in the file."""
        return tiles_in_all + (group * tiles_in_all + tile) * self.lanes + lane

    def chunks(self, tiles_in_all: int) -> int:
        """Chunks of the whole file."""
        return tiles_in_all * (1 + len(self.groups) * self.lanes)


def check_header(header: Header) -> Plan:
    """Refuse a header that this codec cannot decode; returns how its chunks are arranged.

    Raises
    ------
    UnsupportedVersion
        If the codec or a key in it is of a later version.
    MalformedHeader
        If shape, type, level or plan make no picture.
    """
    header.check_codec({CODEC_ID: CODEC_VERSION})
    header.check_keys({LANES_KEY, GROUPS_KEY})
    check_shape(header)
    level_of(header)
    lanes, groups = header.extra.get(LANES_KEY), header.extra.get(GROUPS_KEY)
    if not isinstance(lanes, int) or not 1 <= lanes <= MAX_LANES:
        raise MalformedHeader(f"a file has 1 to {MAX_LANES} lanes, not {lanes!r}")
    counts = tuple(groups) if isinstance(groups, (list, tuple)) else ()
    if not 1 <= len(counts) <= MAX_LAYERS or min(counts) < 1 or sum(counts) > MAX_LAYERS:
        raise MalformedHeader("the groups of layers are malformed: the file is damaged")
    return Plan(lanes, counts)
