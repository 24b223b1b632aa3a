"""The compiled model and the Python reference choose the same symbols and tables."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs.image.lossless_tables import lossless_tables
from siglum.entropy import rans
from siglum.kernels import _native
from siglum.kernels.reference import lossless as reference


def strip_of(kind: str, seed: int, height: int, width: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x, c = np.ogrid[:height, :width, :channels]
    if kind == "noise":
        strip = rng.integers(0, 256, (height, width, channels))
    elif kind == "edges":
        strip = np.where((x // 4 + y // 3) % 2 == 0, 250, 3) + 0 * c
    elif kind == "few":
        strip = rng.choice([0, 0, 0, 128, 255], (height, width, 1)) + 0 * c
    else:
        strip = 2 * x + 3 * y + 30 * c + rng.normal(0, 3, (height, width, channels))
    return np.clip(strip, 0, 255).astype(np.uint8)


STRIPS = st.builds(
    strip_of,
    st.sampled_from(["noise", "edges", "few", "smooth"]),
    st.integers(0, 2**32),
    st.integers(1, 14),
    st.integers(1, 14),
    st.integers(1, 4),
)


@settings(deadline=None, max_examples=60)
@given(STRIPS, st.integers(0, 2), st.booleans())
def test_payloads_are_equal_byte_for_byte(strip, colour, match):
    colour = colour if strip.shape[2] >= 3 else 0
    symbols, indexes = reference.record(strip, colour, match)
    expected = rans.encode(symbols, lossless_tables(), indexes)
    for vectors in (False, True):
        native = _native.lossless_encode(strip, colour, match, lossless_tables().native, vectors)
        assert native == expected


@settings(deadline=None, max_examples=30)
@given(STRIPS, st.integers(0, 2), st.booleans())
def test_the_reference_plays_what_it_recorded(strip, colour, match):
    colour = colour if strip.shape[2] >= 3 else 0
    symbols, indexes = reference.record(strip, colour, match)
    stream = iter(zip(symbols.tolist(), indexes.tolist(), strict=True))

    def read(index: int) -> int:
        symbol, expected = next(stream)
        assert index == expected
        return symbol

    assert np.array_equal(reference.play(read, strip.shape, colour, match), strip)


@pytest.mark.parametrize("match", [False, True])
def test_a_longer_strip(match):
    strip = strip_of("smooth", 1, 48, 56, 3)
    strip[10:30, 20:40] = strip_of("few", 2, 20, 20, 3)
    symbols, indexes = reference.record(strip, 1, match)
    assert _native.lossless_encode(strip, 1, match, lossless_tables().native, True) == rans.encode(
        symbols, lossless_tables(), indexes
    )
