"""Parts of recordings: decoded, they are what the whole has there."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs.audio.codec import AudioCodec
from siglum.codecs.audio.edit import Coded, join
from siglum.errors import ChecksumMismatch, MalformedHeader, Truncated, UsageError

LEVEL = 1 / 32768


def noise(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    random = np.random.default_rng(3)
    swell = 0.2 + 0.15 * np.sin(np.arange(int(seconds * rate)) / rate * 5)
    return (random.standard_normal((len(swell), channels)) * swell[:, None] * 0.3).astype(np.float32)


def encoded(samples: np.ndarray, rate: int, frames: int = 16) -> bytes:
    return AudioCodec(model="tiny", frames=frames, threads=1).encode_audio(samples, rate, 16)


def decoded(data: bytes, **options: object) -> np.ndarray:
    return AudioCodec(model="tiny", threads=1).decode_audio(data, **options).samples


def cut(data: bytes, start: int, stop: int) -> bytes:
    out = io.BytesIO()
    size = Coded(io.BytesIO(data)).cut(start, stop, out)
    assert size == len(out.getvalue())
    return out.getvalue()


def joined(*parts: bytes) -> bytes:
    out = io.BytesIO()
    join([(str(i), Coded(io.BytesIO(part))) for i, part in enumerate(parts)], out)
    return out.getvalue()


class Once:
    """What several examples of one test share."""

    whole: tuple[bytes, np.ndarray] | None = None


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 30000), st.integers(0, 30000), st.integers(0, 100), st.integers(0, 100))
def test_any_part_is_that_part_bit_for_bit(audio_models, a: int, b: int, c: int, d: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGLUM_MODELS", str(audio_models))
        if Once.whole is None:
            data = encoded(noise(30000 / 16000, 16000, 2), 16000)
            Once.whole = data, decoded(data)
        data, whole = Once.whole
        a, b = sorted((a, b))
        part = cut(data, a, b)
        assert np.array_equal(decoded(part), whole[a:b])
        assert len(part) < len(data) + 20
        c, d = sorted((c * (b - a) // 100, d * (b - a) // 100))
        assert np.array_equal(decoded(cut(part, c, d)), whole[a + c : a + d])


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 24000, 44100, 44101, 48000, 192000])
def test_parts_of_resampled_recordings(rate: int, tiny: str) -> None:
    data = encoded(noise(2.5, rate), rate, 25)
    whole = decoded(data)
    for a, b in ((rate // 3, rate), (rate, 2 * rate + 77), (2 * rate, len(whole)), (0, 5)):
        part = decoded(cut(data, a, b))
        assert part.shape == (b - a, 1)
        assert np.abs(part - whole[a:b]).max() <= LEVEL * max(np.abs(whole).max(), 1)


def test_joined_parts_are_the_whole_again(tiny: str) -> None:
    data = encoded(noise(2, 16000, 2), 16000)
    whole = decoded(data)
    places = [0, 100, 7777, 20000, 32000]
    parts = [cut(data, a, b) for a, b in itertools.pairwise(places)]
    again = joined(*parts)
    assert np.array_equal(decoded(again), whole)
    coded = Coded(io.BytesIO(again))
    assert (coded.samples, len(coded.segments), coded.form.depth) == (32000, 4, 16)
    assert np.array_equal(decoded(cut(again, 50, 9000)), whole[50:9000])
    assert np.array_equal(decoded(joined(again, data, again))[32000:64000], whole)


def test_recordings_whose_length_the_header_lacks(tiny: str) -> None:
    samples = noise(1, 16000)
    encoder = AudioCodec(model="tiny", frames=16, threads=1).stream(16000, 1)
    data = encoder.push(samples) + encoder.finish()
    assert Coded(io.BytesIO(data)).form.length is None
    assert np.array_equal(decoded(cut(data, 3000, 9000)), decoded(data)[3000:9000])
    assert len(decoded(joined(data, data))) == 32000


def test_decoding_from_the_middle_reads_what_it_needs_alone(tiny: str) -> None:
    data = encoded(noise(10, 16000), 16000)
    coded = Coded(io.BytesIO(data))
    needed = [number for number, _ in coded.pieces(80000, 88000)]
    assert len(needed) < 8 and len(coded.entries) > 30
    broken = bytearray(data)
    for entry in coded.entries:  # all others are damaged
        if entry.sequence not in needed:
            broken[entry.offset + entry.size - 1] ^= 1
    made = np.concatenate(list(Coded(io.BytesIO(bytes(broken))).decode(80000, 88000)))
    assert np.array_equal(made, decoded(data)[80000:88000])
    with pytest.raises(ChecksumMismatch, match=r"chunk 0 \(0.00 to 0.3\d s\)"):
        list(Coded(io.BytesIO(bytes(broken))).decode(0, 100))


def test_what_differs_is_not_joined(tiny: str) -> None:
    one = encoded(noise(1, 16000), 16000)
    for other, what in (
        (encoded(noise(1, 8000), 8000), "samples a second"),
        (encoded(noise(1, 16000, 2), 16000), "channels"),
        (encoded(noise(1, 16000), 16000, 20), "frames a chunk"),
    ):
        with pytest.raises(UsageError, match=what):
            joined(one, other)


def test_nothing_and_too_much(tiny: str) -> None:
    data = encoded(noise(1, 16000), 16000)
    assert len(decoded(cut(data, 500, 500))) == 0
    for a, b in ((-1, 5), (5, 4), (0, 16001)):
        with pytest.raises(UsageError, match="not within"):
            cut(data, a, b)
    empty = encoded(noise(0, 16000), 16000)
    assert len(decoded(joined(empty, data, empty))) == 16000


def test_a_file_that_was_cut_off_is_made_whole(tiny: str) -> None:
    data = encoded(noise(3, 16000), 16000)
    stump = data[: len(data) * 2 // 3]
    with pytest.raises(Truncated):
        Coded(io.BytesIO(stump))
    coded, out = Coded(io.BytesIO(stump), partial=True), io.BytesIO()
    coded.cut(0, coded.samples, out)
    whole, there = decoded(data), decoded(out.getvalue())
    assert 16000 < len(there) == coded.samples < 32000
    assert np.array_equal(there[:-2000], whole[: len(there) - 2000])
    assert np.array_equal(there, decoded(stump, partial=True))


def test_segments_in_a_wrong_order(tiny: str) -> None:
    from siglum.codecs import container

    data = encoded(noise(2, 16000), 16000)
    header, chunks = container.read(data)
    later = [container.Chunk(c.type, i, c.payload, c.symbols_crc) for i, c in enumerate(chunks[1:])]
    with pytest.raises(MalformedHeader):
        Coded(io.BytesIO(container.write(header, later)))
    twice = [*chunks[:-1], *chunks]
    again = [container.Chunk(c.type, i, c.payload, c.symbols_crc) for i, c in enumerate(twice)]
    with pytest.raises(MalformedHeader):
        Coded(io.BytesIO(container.write(header, again)))
    with pytest.raises(MalformedHeader):
        decoded(container.write(header, again))
