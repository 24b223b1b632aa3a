"""The header of an `image-vq` file: its fields, and in which chunks the layers are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from siglum.codecs.container import Header
from siglum.codecs.image.constants import LEVELS, PATCH
from siglum.codecs.image_vq.blocks import MAX_LANES
from siglum.errors import LimitExceeded, MalformedHeader

CODEC_ID = 2
CODEC_VERSION = 0
LANES_KEY = 17  # extra: number of lanes
GROUPS_KEY = 19  # extra: for each group of chunks, how many layers it holds
MAX_LEVEL = LEVELS - 1
MAX_SIDE = 2**18  # pixels
MAX_LAYERS = 64
TILE = 128  # latent positions on a side of a tile: 2048 pixels


def grid(height: int, width: int) -> tuple[int, int]:
    """Latent positions (rows, columns) of a picture."""
    return -(-height // PATCH), -(-width // PATCH)


def tiles(height: int, width: int) -> list[tuple[slice, slice]]:
    """The tiles of a picture as slices of its grid of latents, row by row; a small one has a single tile."""
    rows, columns = grid(height, width)
    side = TILE if rows * columns > TILE * TILE else max(rows, columns)
    return [
        (slice(top, min(top + side, rows)), slice(left, min(left + side, columns)))
        for top in range(0, rows, side)
        for left in range(0, columns, side)
    ]


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
    shape = header.shape
    planes = len(shape) in (2, 3) and shape[2:] in ((), (3,), (4,)) and min(shape) >= 1
    if header.dtype != "uint8" or not planes:
        raise MalformedHeader(f"{header.dtype} of shape {shape} is no picture: the file is damaged")
    if max(shape[:2]) > MAX_SIDE:
        raise LimitExceeded(
            f"a side of {max(shape[:2])} pixels is beyond the {MAX_SIDE} that this codec takes"
        )
    if header.quality is None or not 0 <= header.quality <= MAX_LEVEL or len(header.model) != 8:
        raise MalformedHeader("a picture needs a level of 0 to 255 and a model: the file is damaged")
    lanes, groups = header.extra.get(LANES_KEY), header.extra.get(GROUPS_KEY)
    if not isinstance(lanes, int) or not 1 <= lanes <= MAX_LANES:
        raise MalformedHeader(f"a file has 1 to {MAX_LANES} lanes, not {lanes!r}")
    counts = tuple(groups) if isinstance(groups, (list, tuple)) else ()
    if not 1 <= len(counts) <= MAX_LAYERS or min(counts) < 1 or sum(counts) > MAX_LAYERS:
        raise MalformedHeader("the groups of layers are malformed: the file is damaged")
    return Plan(lanes, counts)
