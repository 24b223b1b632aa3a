import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs.image.lossless import MATCH, PALETTE, STORED, decode_strip, encode_strip
from siglum.codecs.image.lossless_tables import lossless_tables, miss_frequencies
from siglum.errors import BitstreamError, MalformedHeader, Truncated, UsageError
from siglum.kernels import _native

SIDES = st.integers(1, 40)


def smooth(rng, height, width, channels):
    y, x = np.mgrid[:height, :width]
    planes = [
        rng.uniform(-4, 4) * x + rng.uniform(-4, 4) * y + 9 * np.sin(x / 5 + c) for c in range(channels)
    ]
    return np.clip(128 + np.stack(planes, -1) + rng.normal(0, 2, (height, width, channels)), 0, 255).astype(
        np.uint8
    )


def text(rng, height, width, channels):
    glyphs = rng.integers(0, 2, (5, 6, 5))
    rows = [
        np.concatenate([glyphs[k] for k in rng.integers(0, 5, width // 5 + 1)], 1)
        for _ in range(height // 6 + 1)
    ]
    page = np.concatenate(rows)[:height, :width]
    return rng.integers(0, 256, (2, channels), dtype=np.uint8)[page]


def noise(rng, height, width, channels):
    return rng.integers(0, 256, (height, width, channels), dtype=np.uint8)


def constant(rng, height, width, channels):
    return np.broadcast_to(rng.integers(0, 256, channels, dtype=np.uint8), (height, width, channels)).copy()


def gradient(rng, height, width, channels):
    y, x, c = np.ogrid[:height, :width, :channels]
    return (x * rng.integers(0, 9) + y * rng.integers(0, 9) + 40 * c).astype(np.uint8)


def sparse(rng, height, width, channels):
    return rng.choice(np.array([0, 1, 7, 255], dtype=np.uint8), (height, width, channels))


def mixed(rng, height, width, channels):
    strip = text(rng, height, width, channels)
    strip[height // 3 :, width // 2 :] = smooth(rng, height, width, channels)[height // 3 :, width // 2 :]
    return strip


MAKERS = [smooth, text, noise, constant, gradient, sparse, mixed]


@settings(deadline=None, max_examples=120)
@given(st.sampled_from(MAKERS), SIDES, SIDES, st.integers(1, 4), st.integers(0, 2**32))
def test_round_trip(make, height, width, channels, seed):
    strip = make(np.random.default_rng(seed), height, width, channels)
    payload = encode_strip(strip)
    assert len(payload) <= strip.size + 1
    decoded = decode_strip(payload, *strip.shape)
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, strip)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(MAKERS),
    SIDES,
    SIDES,
    st.integers(1, 4),
    st.integers(0, 2**32),
    st.booleans(),
    st.booleans(),
)
def test_every_mode_of_the_kernel_round_trips(make, height, width, channels, seed, match, vectors):
    strip = make(np.random.default_rng(seed), height, width, channels)
    tables = lossless_tables().native
    for colour in range(3 if channels >= 3 else 1):
        payload = _native.lossless_encode(strip, colour, match, tables, vectors)
        assert payload == _native.lossless_encode(strip, colour, match, tables, not vectors)
        decoded = np.zeros_like(strip)
        data = np.frombuffer(payload, dtype=np.uint8)
        assert _native.lossless_decode(data, colour, match, tables, decoded, vectors) == 0
        assert np.array_equal(decoded, strip)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 4), (1, 300, 3), (300, 1, 3), (2, 2, 2)])
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_thin_strips(make, shape):
    strip = make(np.random.default_rng(5), *shape)
    assert np.array_equal(decode_strip(encode_strip(strip), *shape), strip)


def test_strips_need_not_be_contiguous():
    strip = smooth(np.random.default_rng(1), 20, 30, 4)[::2, ::-1, :3]
    assert np.array_equal(decode_strip(encode_strip(strip), *strip.shape), strip)


def test_flat_strips_cost_almost_nothing():
    assert len(encode_strip(np.full((512, 512, 3), 255, dtype=np.uint8))) < 60
    mask = np.zeros((512, 512, 1), dtype=np.uint8)
    mask[100:400, 50:300] = 255
    assert len(encode_strip(mask)) < 160


def test_modes_are_chosen_by_size():
    rng = np.random.default_rng(2)
    assert encode_strip(noise(rng, 40, 40, 3))[0] == STORED
    assert encode_strip(smooth(rng, 64, 64, 3))[0] & (MATCH | PALETTE | STORED) == 0
    assert encode_strip(text(rng, 200, 200, 3))[0] & PALETTE
    assert encode_strip(mixed(rng, 200, 200, 3))[0] & MATCH


def test_correlated_colours_cost_little():
    gray = smooth(np.random.default_rng(3), 96, 96, 1)
    alone, repeated = len(encode_strip(gray)), len(encode_strip(np.repeat(gray, 3, axis=2)))
    assert repeated < alone + 40


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(MAKERS), st.integers(1, 4), st.integers(0, 2**32), st.data())
def test_damage_raises_or_gives_the_right_shape(make, channels, seed, data):
    strip = make(np.random.default_rng(seed), 24, 31, channels)
    payload = bytearray(encode_strip(strip))
    if data.draw(st.booleans()):
        del payload[data.draw(st.integers(0, len(payload) - 1)) :]
    else:
        bit = data.draw(st.integers(0, 8 * len(payload) - 1))
        payload[bit // 8] ^= 1 << bit % 8
    try:
        decoded = decode_strip(bytes(payload), *strip.shape)
    except BitstreamError:
        return
    assert decoded.shape == strip.shape
    assert decoded.dtype == np.uint8


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=400), SIDES, SIDES, st.integers(1, 4))
def test_foreign_bytes(payload, height, width, channels):
    try:
        decoded = decode_strip(payload, height, width, channels)
    except BitstreamError:
        return
    assert decoded.shape == (height, width, channels)


def test_every_truncation_is_noticed():
    strip = mixed(np.random.default_rng(4), 30, 30, 3)
    payload = encode_strip(strip)
    for end in range(len(payload)):
        with pytest.raises(BitstreamError):
            decode_strip(payload[:end], *strip.shape)


def test_first_bytes_are_checked():
    strip = smooth(np.random.default_rng(6), 16, 16, 3)
    payload = encode_strip(strip)
    for mode in (0x03, 0x07, 0x09, 0x11, 0x14, 0x20, 0x80, 0xFF):
        with pytest.raises(MalformedHeader, match="unknown mode"):
            decode_strip(bytes([mode]) + payload[1:], 16, 16, 3)
    with pytest.raises(MalformedHeader, match="unknown mode"):
        decode_strip(b"\x01" + payload[1:], 16, 16, 1)
    with pytest.raises(Truncated):
        decode_strip(b"", 16, 16, 3)
    with pytest.raises(Truncated, match="palette"):
        decode_strip(bytes([PALETTE, 255, 0, 0]), 16, 16, 3)
    with pytest.raises(MalformedHeader, match="follow"):
        decode_strip(bytes([STORED]) + bytes(16 * 16 * 3 + 1), 16, 16, 3)


def test_colours_outside_the_palette():
    strip = np.array([[[0], [255], [9]]], dtype=np.uint8)
    payload = bytes(_native.lossless_encode(strip, 0, False, lossless_tables().native, False))
    with pytest.raises(BitstreamError, match="outside its palette"):
        decode_strip(bytes([PALETTE, 1, 10, 20]) + payload, 1, 3, 1)


@pytest.mark.parametrize(
    "strip",
    [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 5), np.uint8),
     np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 0), np.uint8)],
)  # fmt: skip
def test_arrays_that_are_no_strips(strip):
    with pytest.raises(UsageError, match="a strip is uint8"):
        encode_strip(strip)


@pytest.mark.parametrize("shape", [(0, 1, 1), (1, -1, 1), (1, 1, 0), (1, 1, 5)])
def test_shapes_that_are_no_strips(shape):
    with pytest.raises(UsageError, match="shape"):
        decode_strip(b"\x00", *shape)


def test_threads_and_processes_agree():
    strips = [make(np.random.default_rng(8), 50, 60, 3) for make in MAKERS]
    payloads = [encode_strip(strip) for strip in strips]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(encode_strip, strips * 3)) == payloads * 3
        decoded = list(pool.map(lambda p: decode_strip(p, 50, 60, 3), payloads * 3))
    assert all(np.array_equal(a, b) for a, b in zip(decoded, strips * 3, strict=True))
    program = (
        "import hashlib, numpy as np\n"
        "from siglum.codecs.image.lossless import encode_strip\n"
        "y, x, c = np.ogrid[:50, :60, :3]\n"
        "print(hashlib.sha256(encode_strip((x * y // 7 + 40 * c).astype(np.uint8))).hexdigest())"
    )
    y, x, c = np.ogrid[:50, :60, :3]
    expected = hashlib.sha256(encode_strip((x * y // 7 + 40 * c).astype(np.uint8))).hexdigest()
    for isa in ("", "scalar"):
        environment = {"PATH": "", "SIGLUM_ISA": isa}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected


def test_the_tables_are_the_ones_of_the_format():
    tables = lossless_tables()
    assert len(tables) == 131
    raw = (
        b"".join(f.astype("<u2").tobytes() for f in tables.frequencies)
        + tables.offsets.astype("<i4").tobytes()
    )
    assert (
        hashlib.sha256(raw).hexdigest() == "68c2fe4b27a10e0b06e3c42ed70f68f797f4558f25fcdb15835681625599e7b0"
    )
    misses = miss_frequencies()
    assert len(misses) == 67
    assert misses == sorted(misses)
