import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.entropy import frames, rans
from siglum.entropy.gaussian import gaussian_tables
from siglum.entropy.tables import Tables
from siglum.errors import (
    BitstreamError,
    ChecksumMismatch,
    LimitExceeded,
    MalformedHeader,
    SiglumError,
    Truncated,
    UsageError,
)

TABLES = Tables.from_pmf([np.exp(-np.abs(np.arange(-20, 21)) / 3)], [-20])
RNG = np.random.default_rng(0)
SYMBOLS = np.clip(np.rint(RNG.laplace(0, 3, 3000)), -100, 100).astype(np.int16)
FRAME = rans.compress(SYMBOLS, TABLES, chunk=700)


def test_what_a_frame_says():
    info = frames.inspect(FRAME)
    assert (info.symbols, info.chunk, len(info.checksums)) == (3000, 700, 5)
    assert info.fingerprint == TABLES.fingerprint
    assert info.starts[-1] == len(FRAME)
    parts = frames.payloads(FRAME)
    decoded = [rans.decode(p, TABLES, 0, shape=min(700, 3000 - 700 * i)) for i, p in enumerate(parts)]
    assert np.array_equal(np.concatenate(decoded), SYMBOLS)


def test_shapes_and_outputs():
    assert rans.decompress(FRAME, TABLES).shape == (3000,)
    out = np.empty((30, 100), np.int16)
    assert rans.decompress(FRAME, TABLES, out=out) is out
    assert np.array_equal(out.ravel(), SYMBOLS)
    indexes = np.zeros((50, 60), np.uint8)
    assert np.array_equal(rans.decompress(FRAME, TABLES, indexes), SYMBOLS.reshape(50, 60))
    for empty in (np.zeros(0, np.int32), np.zeros((0, 4), np.uint8)):
        frame = rans.compress(empty, TABLES)
        assert rans.decompress(frame, TABLES).size == 0
    assert rans.decompress(FRAME, TABLES, start=-5).tolist() == SYMBOLS[-5:].tolist()
    assert rans.decompress(FRAME, TABLES, start=10, stop=10).size == 0


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(SYMBOLS)
    assert rans.compress(tensor, TABLES, chunk=700) == FRAME
    assert rans.compress(tensor.long(), TABLES, chunk=700) == FRAME
    out = torch.empty(3000, dtype=torch.int16)
    assert rans.decompress(FRAME, TABLES, out=out) is out
    assert torch.equal(out, tensor)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damage_is_always_found(data):
    broken = bytearray(FRAME)
    kind = data.draw(st.sampled_from(["flip", "cut", "longer", "splice", "random"]))
    if kind == "flip":
        bit = data.draw(st.integers(0, 8 * len(broken) - 1))
        broken[bit // 8] ^= 1 << bit % 8
    elif kind == "cut":
        broken = broken[: data.draw(st.integers(0, len(broken) - 1))]
    elif kind == "longer":
        broken += data.draw(st.binary(min_size=1, max_size=5))
    elif kind == "splice":
        a, b = sorted(data.draw(st.tuples(st.integers(0, len(broken)), st.integers(0, len(broken)))))
        broken = broken[:a] + broken[b:]
        if a == b:
            return
    else:
        broken = bytearray(data.draw(st.binary(max_size=200)))
    with pytest.raises(SiglumError):
        rans.decompress(bytes(broken), TABLES)
    assert np.array_equal(rans.decompress(FRAME, TABLES), SYMBOLS)


def varint(value):
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Truncated),
        (b"\x05", Truncated),
        (b"\x05\x00" + bytes(8), MalformedHeader),  # chunks of no symbols
        (b"\x85\x00\x05" + bytes(8), MalformedHeader),  # a padded number
        (b"\xff" * 12, MalformedHeader),
        (varint(2**60) + b"\x01" + bytes(100), Truncated),  # more chunks than bytes
        (varint(2**60) + varint(2**60) + bytes(4) + varint(2**61) + bytes(8), ChecksumMismatch),
        (FRAME + b"\0", BitstreamError),
        (FRAME[:-1], Truncated),
    ],
)
def test_bad_frames(data, error):
    with pytest.raises(error):
        rans.decompress(data, TABLES)


def test_a_huge_count_is_refused_before_any_memory_is_taken():
    from siglum.kernels.checksum import crc32c

    head = (
        varint(2**60)
        + varint(2**60)
        + TABLES.fingerprint.to_bytes(4, "little")
        + b"\x01"
        + crc32c(b"\0").to_bytes(4, "little")
    )
    data = head + crc32c(head).to_bytes(4, "little") + b"\0"
    assert frames.inspect(data).symbols == 2**60
    with pytest.raises(LimitExceeded):
        rans.decompress(data, TABLES)
    with pytest.raises(Truncated):  # a payload without symbols where some are due
        rans.decompress(data, TABLES, start=0, stop=1000)


def test_other_tables_are_refused():
    with pytest.raises(UsageError, match="other tables"):
        rans.decompress(FRAME, gaussian_tables())
    assert TABLES.fingerprint == Tables(TABLES.frequencies, TABLES.offsets).fingerprint
    shifted = Tables(TABLES.frequencies, TABLES.offsets + 1)
    assert shifted.fingerprint != TABLES.fingerprint


@pytest.mark.parametrize(
    "arguments",
    [
        {"chunk": 0},
        {"chunk": 1.5},
        {"lanes": 3},
        {"threads": 0},
        {"indexes": 1},
        {"indexes": np.zeros(4, np.uint8)},
    ],
)
def test_wrong_arguments(arguments):
    with pytest.raises(UsageError):
        rans.compress(SYMBOLS, TABLES, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"out": np.empty(5, np.int16)},
        {"out": np.empty(3000, np.float32)},
        {"out": np.empty(3000, np.uint8)},  # -20 does not fit
        {"out": [0] * 3000},
        {"dtype": np.int64},
        {"indexes": np.zeros(5, np.uint8)},
    ],
)
def test_wrong_arguments_of_decoding(arguments):
    with pytest.raises(UsageError):
        rans.decompress(FRAME, TABLES, **arguments)


def test_an_escape_that_leaves_the_type_is_an_error():
    frame = rans.compress(np.array([0, 300], np.int32), TABLES)
    assert rans.decompress(frame, TABLES, dtype=np.int16).tolist() == [0, 300]
    with pytest.raises(BitstreamError):
        rans.decompress(frame, TABLES, dtype=np.int8)


def test_closed_tables():
    tables = Tables.from_pmf([np.ones(256)], [0], closed=True)
    symbols = np.random.default_rng(1).integers(0, 256, 100_000).astype(np.uint8)
    frame = rans.compress(symbols, tables)
    assert len(frame) < 100_400
    assert np.array_equal(rans.decompress(frame, tables, dtype=np.uint8), symbols)
    for wrong in (-1, 256):
        with pytest.raises(UsageError, match="no entry"):
            rans.compress(np.array([wrong]), tables)
        with pytest.raises(UsageError, match="no entry"):
            tables.bits(np.array([wrong]), 0)


def test_memory_stays_within_twice_the_input(peak_of):
    program = """
import resource, numpy as np
from siglum.entropy import Tables, rans
tables = Tables.from_pmf([np.ones(256)], [0], closed=True)
symbols = np.random.default_rng(0).integers(0, 256, 2**26, dtype=np.uint8)
out = np.zeros(2**26, np.uint8)
rans.decompress(rans.compress(symbols[:1000], tables), tables)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
frame = rans.compress(symbols, tables)
assert peak() - before < 2.1 * 2**26, (peak() - before) / 2**26
before = peak()
rans.decompress(frame, tables, out=out)
assert peak() - before < 0.1 * 2**26, (peak() - before) / 2**26
assert np.array_equal(out, symbols)
"""
    peak_of(sys.executable, "-c", program)  # whose own peak does not begin with that of the tests


def test_the_size_is_the_entropy():
    for scale in (3, 20):
        symbols = np.rint(np.random.default_rng(2).normal(128, scale, 1_000_000)).astype(np.uint8)
        counts = np.bincount(symbols, minlength=256)
        p = counts[counts > 0] / counts.sum()
        entropy = -(p * np.log2(p)).sum() * symbols.size / 8
        kept = np.flatnonzero(counts >= 60)
        tables = Tables.from_pmf([counts[kept[0] : kept[-1] + 1] / counts.sum()], [int(kept[0])])
        assert len(rans.compress(symbols, tables)) <= 1.0045 * entropy
