"""What the encoder decides: gains, stages, codes; and codes of fixed length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs.audio import allocate, gain
from siglum.codecs.audio.books import Books
from siglum.codecs.audio.codec import model_for
from siglum.codecs.audio.plain import PlainCodes
from siglum.codecs.audio.presets import Preset
from siglum.errors import BitstreamError

PRESET = Preset(16000, 160, 12, 2, 4, 20, 8, 1, 1, 8, 1, 1, layout=(0, 1, 1, 1, 0, 1, 1, 1))


@pytest.fixture(scope="module")
def books() -> Books:
    random = np.random.default_rng(0)
    return Books({str(i): random.standard_normal((20, 6)) * 0.7 ** (i // 2) for i in range(8)}, PRESET)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 2**31))
def test_plain_codes_come_back(frames: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    codes, counts = random.integers(0, 20, (frames, 8)), random.integers(0, 5, frames)
    codes[np.arange(8)[None] // 2 >= counts[:, None]] = 0
    payload = PlainCodes(PRESET).encode(codes, counts)
    again, stages = PlainCodes(PRESET).decode(payload, frames)
    assert (again == codes).all() and (stages == counts).all()
    with pytest.raises(BitstreamError):
        PlainCodes(PRESET).decode(payload + b"..", frames)


def test_codes_of_any_layout_add_up(books: Books) -> None:
    latents = np.random.default_rng(1).standard_normal((50, 12)).astype(np.float32)
    codes, errors = books.encode(latents)
    for stages in range(5):
        left = np.square(latents - books.decode(codes, np.full(50, stages))).sum(1)
        np.testing.assert_allclose(left, errors[:, stages], rtol=1e-4)
    counts = np.random.default_rng(2).integers(0, 5, 50)
    better = books.refine(latents, codes, counts, 8)
    before, after = (np.square(latents - books.decode(each, counts)).sum(1) for each in (codes, better))
    assert (after <= before + 1e-4).all() and after.sum() < before.sum()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.floats(0, 3000), st.integers(0, 2**31))
def test_stages_stay_within_their_bits(frames: int, most: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    errors = np.sort(random.exponential(1, (frames, 5)).astype(np.float32), axis=1)[:, ::-1]
    bits = np.concatenate([np.zeros((frames, 1)), np.cumsum(random.uniform(5, 20, (frames, 4)), 1)], 1)
    counts = allocate.within(errors, bits.astype(np.float32), most)
    assert bits[np.arange(frames), counts].sum() <= most + 1e-3
    assert (allocate.within(errors, bits.astype(np.float32), 1e9) == 4).all() or errors.min() == 0


def test_gain_moves_without_a_step_and_keeps_silence() -> None:
    chain = [gain.curve(a, b, 20, 320) for a, b in ((0, 0), (0, 12), (12, -8), (-8, -8))]
    whole = np.concatenate(chain)
    assert np.abs(np.diff(np.log10(whole))).max() * 20 < 0.02
    assert gain.choose(np.zeros((3200, 1), np.float32), 320, 7) == 7
    loud = np.full((3200, 1), 0.07, np.float32)
    assert gain.choose(loud, 320, None) == 0
    assert gain.choose(loud / 100, 320, None) == round(40 / gain.STEP)


def test_quieter_channels_count_for_less() -> None:
    random = np.random.default_rng(0)
    sound = random.standard_normal((4000, 3)).astype(np.float32) * np.array([0.1, 0.01, 0], np.float32)
    loud, quiet, silent = gain.heard(sound)
    assert loud == 1 and quiet == pytest.approx(10**-1.2, rel=0.1) and silent == pytest.approx(0.01)
    assert (gain.heard(0 * sound) == 1).all() and (gain.heard(sound[:0]) == 1).all()


def test_model_by_rate_and_bits() -> None:
    assert model_for(16000, None) == model_for(16000, 24000) == "speech"
    assert model_for(44100, None) == model_for(48000, 12000) == model_for(22050, 8000) == "fullband"
    assert model_for(44100, 6000) == "speech"
