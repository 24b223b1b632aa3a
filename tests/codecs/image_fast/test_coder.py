"""The compiled patch coder against its NumPy oracle, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs.image_fast import tiles, weights
from siglum.codecs.image_fast.coder import Level, PatchCoder
from siglum.entropy import rans
from siglum.errors import BitstreamError
from siglum.kernels import dispatch
from siglum.kernels.checksum import crc32c


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth waves with noise in one half, (height, width, 3) uint8."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    planes = [128 + 90 * np.sin(rows / (11 + c)) * np.cos(columns / (17 - c)) for c in range(3)]
    noise = random.standard_normal((height, width, 3)) * 25 * (columns > width / 2)[..., None]
    return np.clip(np.stack(planes, -1) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> weights.FastWeights:
    return weights.load_by_name("small")


def by_reference(model: weights.FastWeights, pixels: np.ndarray, level: Level) -> tuple[bytes, int]:
    symbols, flags, coded = model.coder.reference(pixels, level)
    crc = crc32c(symbols.astype("<i2").tobytes())
    if not symbols.shape[2]:
        return b"\0", crc
    encoder = rans.Encoder()
    encoder.push(flags.astype(np.int32), weights.flag_tables(), 0)
    for residuals, tables in coded:
        encoder.push(residuals.astype(np.int32), model.bank, tables.astype(np.uint8))
    groups = [8, 32, 64, 128, 192].index(symbols.shape[2]) + 1
    return bytes([groups]) + encoder.finish(), crc


@pytest.mark.parametrize("isa", dispatch.available_isas())
@pytest.mark.parametrize(
    ("size", "number"), [((80, 112), 60), ((35, 50), 200), ((1, 1), 255), ((17, 130), 0)]
)
def test_bytes_are_those_of_the_oracle(
    model: weights.FastWeights, size: tuple[int, int], number: int, isa: str
) -> None:
    pixels, level = picture(*size), model.level(number)
    places = tiles.tiles(*size)
    assert model.coder.encode(pixels, level, places, isa=isa) == [by_reference(model, pixels, level)]


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    number=st.integers(0, 255),
    groups=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_what_is_decoded_is_what_was_encoded(
    height: int, width: int, number: int, groups: int, seed: int
) -> None:
    model = weights.load_by_name("small")
    pixels, level = picture(height, width, seed), model.level(number)
    level = Level(level.scales, level.biases, level.thresholds, groups)
    [(payload, crc)] = model.coder.encode(pixels, level, tiles.tiles(height, width))
    for isa in dispatch.available_isas():
        out = np.full((*tiles.grid(height, width), 192), np.nan, np.float32)
        assert model.coder.decode(payload, level.biases, np.zeros((64, 2), np.float32), out, isa=isa) == crc
        whole = out.astype("<i2")
        kept = [0, 8, 32, 64, 128, 192][payload[0]]
        assert crc32c(np.ascontiguousarray(whole[..., :kept]).tobytes()) == crc
        assert not whole[..., kept:].any()


def test_a_tile_does_not_depend_on_its_neighbours_or_threads(model: weights.FastWeights) -> None:
    pixels, level = picture(160, 200), model.level(90)
    places = [(slice(0, 5), slice(0, 6)), (slice(0, 5), slice(6, 13)), (slice(5, 10), slice(0, 13))]
    coded = model.coder.encode(pixels, level, places)
    assert coded == model.coder.encode(pixels, level, places, threads=3)
    cut = np.ascontiguousarray(pixels[80:])
    assert model.coder.encode(cut, level, [(slice(0, 5), slice(0, 13))]) == coded[2:]
    strided = np.zeros((160, 300, 3), np.uint8)
    strided[:, :200] = pixels
    assert model.coder.encode(strided[:, :200], level, places) == coded


def test_damaged_payloads_raise_or_decode(model: weights.FastWeights) -> None:
    pixels, level = picture(64, 96), model.level(120)
    [(payload, _)] = model.coder.encode(pixels, level, tiles.tiles(64, 96))
    random, out = np.random.default_rng(5), np.empty((4, 6, 192), np.float32)
    raised = 0
    for _ in range(300):
        bad = bytearray(payload[: random.integers(len(payload) + 1)] if random.integers(3) == 0 else payload)
        for place in random.integers(0, max(len(bad), 1), random.integers(1, 4)):
            if bad:
                bad[place] = random.integers(256)
        try:
            model.coder.decode(bytes(bad), level.biases, model.offsets, out)
        except BitstreamError:
            raised += 1
        assert np.isfinite(out).all()
    assert raised > 200


def test_wrong_arrays_are_refused(model: weights.FastWeights) -> None:
    level, pixels = model.level(0), picture(32, 32)
    with pytest.raises(ValueError, match="not within"):
        model.coder.encode(pixels, level, [(slice(0, 3), slice(0, 2))])
    for bad in (
        Level(level.scales[:-1], level.biases, level.thresholds, 5),
        Level(level.scales, level.biases[:-1], level.thresholds, 5),
        Level(level.scales, level.biases, level.thresholds, 6),
        Level(level.scales, level.biases, level.thresholds + 40, 5),
    ):
        with pytest.raises(ValueError):
            model.coder.encode(pixels, bad, tiles.tiles(32, 32))
    made = model.coder
    weight, first, means, magnitudes, skip = made.weight, made.first, made.means, made.magnitudes, made.skip
    with pytest.raises(ValueError):
        PatchCoder(
            weight[:100],
            first,
            means,
            magnitudes,
            model.contexts.networks,
            skip,
            model.bank,
            weights.flag_tables(),
        )
    with pytest.raises(ValueError):
        PatchCoder(
            weight,
            first,
            means,
            magnitudes,
            model.contexts.networks[:-1],
            skip,
            model.bank,
            weights.flag_tables(),
        )
