"""The GPU's kernels in Triton's interpreter: the CPU's bytes and the CPU's errors."""

import importlib.util
import os
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.entropy import rans
from siglum.entropy.gaussian import GAUSSIAN_SCALES, gaussian_tables
from siglum.entropy.tables import Tables, normalise
from siglum.errors import BitstreamError, MalformedHeader, Truncated, UsageError

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install siglum[gpu]", allow_module_level=True)

import torch

# The kernels become interpreted or compiled ones when they are imported.
with pytest.MonkeyPatch.context() as patch:
    patch.setenv("TRITON_INTERPRET", "1")
    from siglum.kernels.gpu import rans as gpu

LANES = [1, 2, 4, 8, 16, 32]


@pytest.fixture(scope="module", autouse=True)
def interpreter():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        yield


def on_cpu(symbols, tables, indexes, chunk, lanes):
    """Payloads of the CPU's encoder."""
    payloads = []
    for first in range(0, len(symbols), chunk):
        part = slice(first, first + chunk)
        encoder = rans.Encoder(lanes)
        encoder.push(
            symbols[part].astype(np.int32), tables, indexes if np.ndim(indexes) == 0 else indexes[part]
        )
        payloads.append(encoder.finish())
    return payloads


def both_ways(symbols, tables, indexes, chunk, lanes, dtype=torch.int32):
    """Bytes equal to the CPU's, and the symbols back from them."""
    which = indexes if np.ndim(indexes) == 0 else torch.from_numpy(indexes)
    expected = on_cpu(symbols, tables, indexes, chunk, lanes)
    coded = gpu.encode_chunks(torch.from_numpy(symbols), tables, which, chunk, lanes)
    assert coded.to_bytes() == expected
    for payloads in (coded, expected):
        found = gpu.decode_chunks(payloads, tables, which, len(symbols), chunk, dtype, "cpu")
        assert found.dtype == dtype
        assert np.array_equal(found.numpy(), symbols)
    return expected


def gaussian(count, seed, kind=np.uint8):
    rng = np.random.default_rng(seed)
    indexes = rng.integers(0, 64, count).astype(kind)
    return np.rint(rng.normal(size=count) * GAUSSIAN_SCALES[indexes]).astype(np.int32), indexes


def some_tables(rng, precision, count):
    sizes = [min(int(rng.choice([2, 3, 17, 256])), 1 << precision - 1) for _ in range(count)]
    weights = [(rng.gamma(0.3, size=max(n, 2)) * 2**32).astype(int).tolist() for n in sizes]
    return Tables.from_frequencies(
        [normalise(table, precision) for table in weights], rng.integers(-200, 100, count), precision
    )


@pytest.mark.parametrize("kind", [np.uint8, np.int32])
def test_gaussian_tables_over_several_chunks(kind):
    symbols, indexes = gaussian(1100, 1, kind)
    both_ways(symbols, gaussian_tables(), indexes, 512, 32)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("count", [1, 31, 65])
def test_any_number_of_lanes_and_of_symbols(lanes, count):
    symbols, indexes = gaussian(count, lanes)
    both_ways(symbols, gaussian_tables(), indexes, 40, lanes)


@pytest.mark.parametrize("precision", [1, 2, 7, 12])
def test_every_precision(precision):
    rng = np.random.default_rng(precision)
    tables = some_tables(rng, precision, 3)
    indexes = rng.integers(0, 3, 150).astype(np.uint8)
    symbols = (tables.offsets[indexes] + rng.integers(-3, 260, 150)).astype(np.int32)
    both_ways(symbols, tables, indexes, 80, 32)


@pytest.mark.parametrize("source", [np.uint8, np.int16, np.int32])
def test_one_table_of_bytes(source):
    rng = np.random.default_rng(2)
    symbols = rng.binomial(255, 0.4, 700).astype(source)
    tables = Tables.from_pmf([np.bincount(symbols, minlength=256)[60:150] + 1.0], [60])
    both_ways(symbols, tables, 0, 256, 32, torch.uint8)


def test_closed_tables_have_all_bytes():
    rng = np.random.default_rng(7)
    symbols = rng.integers(0, 256, 500).astype(np.uint8)
    tables = Tables.from_pmf([rng.gamma(1.0, size=256) + 0.01] * 2, [0, 0], closed=True)
    both_ways(symbols, tables, 1, 256, 32, torch.uint8)
    both_ways(symbols, tables, rng.integers(0, 2, 500).astype(np.uint8), 256, 32, torch.uint8)
    with pytest.raises(UsageError, match="no escape"):
        gpu.encode_chunks(torch.tensor([3, 256], dtype=torch.int32), tables)


def test_escapes_near_and_far():
    symbols, indexes = gaussian(400, 3)
    places = np.random.default_rng(3).choice(400, 30, replace=False)
    far = [2**31 - 300, -(2**31) + 300, 2**24, -5000, 300, -129, 128]
    symbols[places] = np.resize(np.array(far, dtype=np.int32), 30)
    both_ways(symbols, gaussian_tables(), indexes, 150, 32)
    both_ways(symbols[:100], gaussian_tables(), 60, 50, 8)
    both_ways(symbols.astype(np.int64), gaussian_tables(), indexes, 200, 16, torch.int64)


def test_bytes_that_escape():
    symbols = np.array([3, 200, 255, 4, 0] * 20, dtype=np.uint8)
    tables = Tables.from_pmf([[0.5, 0.5]], [3])
    payloads = both_ways(symbols, tables, 0, 64, 4, torch.uint8)
    with pytest.raises(BitstreamError, match="does not fit"):
        gpu.decode_chunks(payloads, tables, 0, 100, 64, torch.int8, "cpu")
    with pytest.raises(UsageError, match="does not hold"):
        gpu.decode_chunks(payloads, Tables.from_pmf([[0.5, 0.5]], [300]), 0, 100, 64, torch.uint8, "cpu")


def test_everything_escapes_and_the_side_stream_is_long():
    symbols = np.full(80, 2**30, dtype=np.int32)
    payload = both_ways(symbols, Tables.from_pmf([[0.5, 0.5]], [0]), 0, 80, 32)[0]
    assert len(payload) > 80 * 61 // 8  # its size takes two bytes


@settings(deadline=None, max_examples=6)
@given(st.data())
def test_what_the_cpu_writes(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    tables = some_tables(rng, data.draw(st.integers(2, 12)), 3)
    count = data.draw(st.integers(1, 100))
    indexes = rng.integers(0, 3, count).astype(np.uint8) if data.draw(st.booleans()) else 1
    symbols = (tables.offsets[indexes] + rng.integers(-3, 260, count)).astype(np.int32)
    chunk, lanes = data.draw(st.integers(30, 100)), data.draw(st.sampled_from(LANES))
    both_ways(symbols, tables, indexes, chunk, lanes)


def test_nothing_to_code():
    coded = gpu.encode_chunks(torch.zeros(0, dtype=torch.int32), gaussian_tables())
    assert coded.to_bytes() == []
    assert gpu.decode_chunks(coded, gaussian_tables(), 0, 0).shape == (0,)


def test_shapes_are_kept():
    symbols, indexes = gaussian(60, 4)
    which = torch.from_numpy(indexes.reshape(3, 4, 5))
    coded = gpu.encode_chunks(torch.from_numpy(symbols).reshape(3, 4, 5), gaussian_tables(), which)
    found = gpu.decode_chunks(coded, gaussian_tables(), which)
    assert np.array_equal(found.numpy(), symbols.reshape(3, 4, 5))


def outcome(decode):
    """The symbols or the error of a decoder."""
    try:
        return decode()
    except BitstreamError as error:
        return error


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_damage_is_found_wherever_the_cpu_finds_it(data):
    """And never read beyond: the payload lies between guards that would show in the symbols."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    tables = some_tables(rng, 8, 2)
    indexes = rng.integers(0, 2, 40).astype(np.uint8)
    symbols = (tables.offsets[indexes] + rng.integers(-3, 260, 40)).astype(np.int32)
    payload = bytearray(on_cpu(symbols, tables, indexes, 40, data.draw(st.sampled_from([8, 32])))[0])
    kind = data.draw(st.sampled_from(["cut", "flip", "head", "random", "longer"]))
    if kind == "cut":
        del payload[data.draw(st.integers(0, len(payload) - 1)) :]
    elif kind == "flip":
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "head":
        payload[0 : data.draw(st.integers(1, 4))] = data.draw(st.binary(min_size=1, max_size=12))
    elif kind == "random":
        payload[:] = data.draw(st.binary(max_size=200))
    else:
        payload += data.draw(st.binary(min_size=1, max_size=4))
    damaged = bytes(payload)
    expected = outcome(lambda: rans.decode(damaged, tables, indexes))
    guard = data.draw(st.sampled_from([b"\0", b"\xff"])) * 64
    whole = torch.from_numpy(np.frombuffer(guard + damaged + guard, dtype=np.uint8).copy())
    payloads = gpu.Payloads(whole, torch.tensor([64, 64 + len(damaged)]))
    result = outcome(lambda: gpu.decode_chunks(payloads, tables, torch.from_numpy(indexes), chunk=40).numpy())
    # Where several things are wrong, another one may be reported.
    assert isinstance(result, BitstreamError) == isinstance(expected, BitstreamError)
    assert isinstance(result, BitstreamError) or np.array_equal(result, expected)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", Truncated),
        (b"\0", Truncated),
        (b"\x06" + bytes(200), MalformedHeader),
        (b"\x08\x00" + bytes(200), MalformedHeader),
        (b"\x08" + b"\x80" * 20, MalformedHeader),
        (b"\x08\xff", Truncated),
        (b"\x08" + b"\xff" * 8 + b"\x7f" + bytes(9), Truncated),
        (b"\x05" + bytes(50), Truncated),
    ],
)
def test_heads_that_are_none(payload, error):
    with pytest.raises(error, match="chunk 1"):
        gpu.decode_chunks([*on_cpu(np.zeros(8), gaussian_tables(), 0, 8, 1), payload], gaussian_tables(), 0, 16, 8,
                          device="cpu")  # fmt: skip


def test_indexes_that_name_no_table():
    tables = gaussian_tables()
    symbols = torch.zeros(40, dtype=torch.int32)
    for bad in (64, 255, -1):
        indexes = torch.zeros(40, dtype=torch.int16)
        indexes[33] = bad
        with pytest.raises(UsageError, match="no table"):
            gpu.encode_chunks(symbols, tables, indexes)
        with pytest.raises(UsageError, match="no table"):
            gpu.decode_chunks(on_cpu(np.zeros(40), tables, 0, 40, 32), tables, indexes, device="cpu")
    with pytest.raises(UsageError, match="no table"):
        gpu.encode_chunks(symbols, tables, 64)


def test_arguments_that_do_not_fit():
    tables = gaussian_tables()
    symbols = torch.zeros(40, dtype=torch.int32)
    with pytest.raises(UsageError, match="lanes"):
        gpu.encode_chunks(symbols, tables, lanes=3)
    with pytest.raises(UsageError, match="a chunk has"):
        gpu.encode_chunks(symbols, tables, chunk=0)
    with pytest.raises(UsageError, match="shape of the symbols"):
        gpu.encode_chunks(symbols, tables, torch.zeros(41, dtype=torch.uint8))
    with pytest.raises(UsageError, match="must be a tensor"):
        gpu.encode_chunks(symbols.to(torch.float32), tables)
    with pytest.raises(UsageError, match="beyond its table"):
        gpu.encode_chunks(
            torch.full((5,), 2**31 - 1, dtype=torch.int32), Tables.from_pmf([[0.5, 0.5]], [-500])
        )
    coded = gpu.encode_chunks(symbols, tables)
    with pytest.raises(UsageError, match="needs a count"):
        gpu.decode_chunks(coded, tables)
    with pytest.raises(UsageError, match="do not fit 1 payloads"):
        gpu.decode_chunks(coded, tables, 0, 40, chunk=20)
    with pytest.raises(UsageError, match="do not fit 41 symbols"):
        gpu.decode_chunks(coded, tables, torch.zeros(40, dtype=torch.uint8), 41)
    with pytest.raises(UsageError, match="decoded to integers"):
        gpu.decode_chunks(coded, tables, 0, 40, dtype=torch.float32)


def test_every_frequency_divides_exactly():
    """The reciprocals of the tables against true division, at the ends of what a state can be."""
    from siglum.kernels.gpu.rans_tables import _entries

    frequencies = np.arange(1, 4096, dtype=np.int64)
    entries = _entries(frequencies, np.zeros_like(frequencies), 12).view(np.uint64)
    reciprocal, shift = entries >> np.uint64(32), entries >> np.uint64(26) & np.uint64(63)
    near = np.array([1, 2**15, 2**30, 2**31 - 1], dtype=np.uint64)
    multiples = (2**31 - 1) // frequencies.astype(np.uint64) * frequencies.astype(np.uint64)
    for x in [*(np.full(4095, value) for value in near), multiples, multiples - np.uint64(1)]:
        quotient = (x * reciprocal >> np.uint64(32)) >> shift
        quotient[0] += np.uint64(1)  # the bias of frequency 1 makes up for this
        assert np.array_equal(quotient, x // frequencies.astype(np.uint64))


def test_compiled_kernels_refuse_tensors_of_the_cpu():
    import subprocess

    code = (
        "import torch; from siglum.entropy import gaussian_tables; from siglum.kernels.gpu import rans\n"
        "try: rans.encode_chunks(torch.zeros(3, dtype=torch.int32), gaussian_tables())\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("UsageError the GPU coder takes tensors on a GPU")
