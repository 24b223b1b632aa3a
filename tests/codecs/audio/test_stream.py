"""However a recording comes, the same file; however the file comes, the same recording."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs.audio.codec import AudioCodec
from siglum.codecs.audio.decoder import StreamDecoder
from siglum.errors import UnsupportedInputError, UsageError

RATES = (8000, 16000, 22050, 44100, 48000, 192000)


def samples_of(length: int, channels: int) -> np.ndarray:
    return (0.2 * np.random.default_rng(length).standard_normal((length, channels))).astype(np.float32)


def pieces(total: int, cuts: list[int]) -> list[slice]:
    places = [0, *sorted(cut * total // 1000 for cut in cuts), total]
    return [slice(a, b) for a, b in itertools.pairwise(places)]


CUTS = st.lists(st.integers(0, 1000), max_size=6)


@settings(deadline=None, max_examples=40)
@given(
    st.one_of(st.integers(0, 3000), st.integers(10000, 20000)),
    st.sampled_from(RATES),
    st.sampled_from((1, 2, 3, 8)),
    CUTS,
    CUTS,
)
def test_pieces_do_not_matter(audio_models, length: int, rate: int, channels: int, cuts, more) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGLUM_MODELS", str(audio_models))
        codec, samples = AudioCodec(model="tiny", frames=16, threads=1), samples_of(length, channels)
        data = codec.encode_audio(samples, rate)
        encoder = codec.stream(rate, channels, length=length)
        parts = [encoder.push(samples[piece]) for piece in pieces(length, cuts)]
        assert b"".join([*parts, encoder.finish()]) == data
        whole = codec.decode_audio(data)
        assert (whole.samples.shape, whole.rate) == ((length, channels), rate)
        decoder = StreamDecoder()
        made = [decoder.push(data[piece]) for piece in pieces(len(data), more)]
        made = [part for part in [*made, decoder.finish()] if len(part)]
        there = np.concatenate([np.empty((0, channels), np.float32), *made])
        assert np.array_equal(there, whole.samples)


@pytest.mark.parametrize("length", [0, 1, 319, 320, 321, 5119, 5120, 5121, 20000])
@pytest.mark.parametrize("known", [True, False])
def test_lengths_at_the_edges_of_chunks(length: int, known: bool, tiny: str) -> None:
    codec, samples = AudioCodec(model=tiny, frames=16, threads=1), samples_of(length, 1)
    encoder = codec.stream(16000, 1, length=length if known else None)
    data = encoder.push(samples) + encoder.finish()
    assert encoder.finish() == b""
    assert codec.decode_audio(data).samples.shape == (length, 1)
    out = io.BytesIO()
    assert codec.write([samples], out, 16000, 1, length=length if known else None) == len(data)
    assert out.getvalue() == data
    assert sum(len(part.samples) for part in codec.read(io.BytesIO(data))) == length


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_packets_leave_as_they_are_made_and_samples_too(rate: int, tiny: str) -> None:
    codec = AudioCodec(model=tiny, frames=25, threads=1)
    encoder, decoder = codec.stream(rate, 1), StreamDecoder()
    samples, gone, back = samples_of(10 * rate, 1), 0, 0
    for at in range(0, len(samples), 1000):
        back += len(decoder.push(encoder.push(samples[at : at + 1000])))
        gone += 1000
        assert gone - back <= (encoder.latency + decoder.latency) * rate + 1000
    back += len(decoder.push(encoder.finish()))
    assert back == len(samples)
    assert 0.8 < encoder.latency < 1.1 and 0 < decoder.latency < 0.1


def test_what_is_no_recording_is_refused(tiny: str) -> None:
    codec = AudioCodec(model=tiny)
    for bad in (np.nan, np.inf):
        with pytest.raises(UnsupportedInputError, match="NaN"):
            codec.encode_audio(np.array([0.0, bad, 0.0]), 16000)
    with pytest.raises(UnsupportedInputError, match="channels"):
        codec.encode_audio(np.zeros((10, 9), np.float32), 16000)
    with pytest.raises(UnsupportedInputError, match="rates of 4000"):
        codec.encode_audio(np.zeros(10, np.float32), 3999)
    encoder = codec.stream(16000, 2, length=10)
    with pytest.raises(UsageError, match="2"):
        encoder.push(np.zeros(5, np.float32))
    with pytest.raises(UsageError, match="more samples"):
        encoder.push(np.zeros((11, 2), np.float32))
    with pytest.raises(UsageError, match="announced"):
        codec.stream(16000, 1, length=10).finish()


@pytest.mark.parametrize("kind", ["silence", "square", "int16", "int32"])
def test_samples_at_the_limits(kind: str, tiny: str) -> None:
    square = np.where(np.arange(20000) // 50 % 2, 1.0, -1.0)
    samples = {
        "silence": np.zeros(20000, np.float32),
        "square": square,
        "int16": (square * 32767).astype(np.int16),
        "int32": (square * (2**31 - 1)).astype(np.int32),
    }[kind]
    decoded = AudioCodec(model=tiny, threads=1).decode_audio(
        AudioCodec(model=tiny, threads=1).encode_audio(samples, 16000)
    )
    assert decoded.samples.shape == (20000, 1) and np.isfinite(decoded.samples).all()


def test_a_bit_rate_is_that_of_the_whole_file(tiny: str) -> None:
    samples = samples_of(16000 * 20, 1)
    for bitrate in (700, 1000, 1500):
        data = AudioCodec(model=tiny, bitrate=bitrate, threads=1).encode_audio(samples, 16000)
        assert 0.8 * bitrate < 8 * len(data) / 20 <= bitrate
