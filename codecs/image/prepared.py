"""A picture that is encoded at several levels, and whether it is tried losslessly."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from siglum.codecs.image.codec import ImageCodec
    from siglum.codecs.image.picture import Picture

FLAT_SHARE = 0.25  # with so many pixels equal to their left neighbour, lossless coding is tried too
SMALL_PIXELS = 4096  # ... and for pictures as small as this


class Prepared:
    """A picture to be encoded at several levels, for searches of a rate or a quality."""

    def __init__(self, codec: ImageCodec, picture: Picture) -> None:
        self.codec, self.picture = codec, picture
        self._latents: dict[int, np.ndarray] = {}

    @cached_property
    def exact(self) -> bytes | None:
        """The lossless file, where the settings leave the choice and the picture looks drawn; else None."""
        if self.codec.config.lossless is None and _looks_drawn(self.picture.pixels):
            return self.codec.encode_lossless(self.picture)
        return None

    def encode(self, level: int, analysed: np.ndarray | None = None) -> bytes:
        """The lossy file at a level; its latents, in steps, may have been computed before."""
        data, latents = self.codec.encode_lossy(self.picture, level, analysed)
        self._latents = {level: latents}
        return data

    def reconstruct(self, level: int) -> np.ndarray:
        """What the file of a level decodes to, without decoding its payload."""
        if level not in self._latents:
            self.encode(level)
        return self.codec.pixels_of(self.picture, self._latents[level], level)


def _looks_drawn(pixels: np.ndarray) -> bool:
    if pixels.shape[0] * pixels.shape[1] <= SMALL_PIXELS or pixels.shape[1] == 1:
        return True
    planes = np.atleast_3d(pixels).transpose(2, 0, 1)
    same = np.logical_and.reduce([plane[:, 1:] == plane[:, :-1] for plane in planes])
    return float(np.mean(same)) >= FLAT_SHARE
