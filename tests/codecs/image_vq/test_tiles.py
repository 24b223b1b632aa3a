"""Pictures of several tiles."""

from __future__ import annotations

import numpy as np
import pytest

from siglum.codecs import container
from siglum.codecs.image.lossy import tiles
from siglum.codecs.image_vq.codec import ConcealedWarning, ImageVqCodec
from siglum.codecs.image_vq.frame import check_header


@pytest.mark.slow
def test_a_picture_of_four_tiles_is_progressive_and_repairable() -> None:
    rows, columns = np.mgrid[0:2100, 0:2080].astype(np.float32)
    planes = [128 + 100 * np.sin(rows / (50 + 9 * c)) * np.cos(columns / (70 - 8 * c)) for c in range(3)]
    pixels = np.stack(planes, -1).astype(np.uint8)
    codec = ImageVqCodec(level=60, lanes=2)
    data = codec.encode(pixels)
    count, plan = len(tiles(2100, 2080)), check_header(container.read_header(data))
    assert count == 4 and len(container.Reader(data).entries) == plan.chunks(count)

    def error(array: np.ndarray) -> float:
        return float(np.mean((array.astype(np.float32) - pixels) ** 2))

    errors = [error(codec.decode_array(container.truncate_chunks(data, count=n))) for n in (2, 4, 9, 12)]
    assert errors[0] > errors[1] > errors[2] >= errors[3]
    whole = error(codec.decode_array(data))
    assert whole < 15 and errors[3] >= whole

    entry = container.Reader(data).entries[count + 3]
    bad = bytearray(data)
    bad[entry.offset + entry.size // 2] ^= 4
    with pytest.warns(ConcealedWarning):
        shown = ImageVqCodec(conceal=True).decode_array(bytes(bad))
    assert whole < error(shown) < 200
    assert np.array_equal(shown[:1900, :1900], codec.decode_array(data)[:1900, :1900])
