"""Frames on the GPU, in Triton's interpreter: what one side writes, the other reads."""

import importlib.util

import numpy as np
import pytest

from siglum.entropy import rans
from siglum.entropy.gaussian import GAUSSIAN_SCALES, gaussian_tables
from siglum.entropy.tables import Tables
from siglum.errors import ChecksumMismatch, LimitExceeded, Truncated, UsageError

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install siglum[gpu]", allow_module_level=True)

import torch

# The kernels become interpreted or compiled ones when they are imported.
with pytest.MonkeyPatch.context() as patch:
    patch.setenv("TRITON_INTERPRET", "1")
    from siglum.entropy import rans_gpu


@pytest.fixture(scope="module", autouse=True)
def interpreter():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        yield


@pytest.fixture(scope="module")
def source():
    rng = np.random.default_rng(5)
    indexes = rng.integers(0, 64, (30, 20)).astype(np.uint8)
    symbols = np.rint(rng.normal(size=indexes.shape) * GAUSSIAN_SCALES[indexes]).astype(np.int32)
    symbols[3, 4] = 100_000
    return symbols, indexes


def test_equal_frames(source):
    symbols, indexes = source
    tables = gaussian_tables()
    frame = rans_gpu.compress(torch.from_numpy(symbols), tables, torch.from_numpy(indexes), chunk=256)
    assert frame == rans.compress(symbols, tables, indexes, chunk=256, lanes=32)
    assert np.array_equal(rans.decompress(frame, tables, indexes), symbols)


@pytest.mark.parametrize("chunk", [None, 100])
def test_frames_of_the_cpu_whatever_its_lanes(source, chunk):
    symbols, indexes = source
    tables = gaussian_tables()
    frame = rans.compress(symbols, tables, indexes, chunk=chunk)
    found = rans_gpu.decompress(frame, tables, torch.from_numpy(indexes))
    assert np.array_equal(found.numpy(), symbols)


def test_parts(source):
    symbols, indexes = source
    tables, which = gaussian_tables(), torch.from_numpy(indexes)
    frame = rans.compress(symbols, tables, indexes, chunk=128, lanes=32)
    for start, stop in ((0, 1), (127, 129), (-5, None), (300, 200), (256, 384)):
        found = rans_gpu.decompress(frame, tables, which, start=start, stop=stop, dtype=torch.int64)
        assert np.array_equal(found.numpy(), symbols.ravel()[start:stop])


def test_one_table_of_bytes():
    symbols = np.random.default_rng(6).binomial(20, 0.3, 500).astype(np.uint8)
    tables = Tables.from_pmf([np.bincount(symbols, minlength=21) + 1.0], [0], closed=True)
    frame = rans_gpu.compress(torch.from_numpy(symbols), tables, chunk=200)
    assert frame == rans.compress(symbols, tables, chunk=200, lanes=32)
    found = rans_gpu.decompress(frame, tables, dtype=torch.uint8, device="cpu")
    assert np.array_equal(found.numpy(), symbols)


def test_nothing():
    tables = gaussian_tables()
    frame = rans_gpu.compress(torch.zeros(0, dtype=torch.int32), tables)
    assert frame == rans.compress(np.zeros(0, dtype=np.int32), tables, chunk=rans_gpu.CHUNK)
    assert len(rans_gpu.decompress(frame, tables, device="cpu")) == 0


def test_damage_and_misuse(source):
    symbols, indexes = source
    tables, which = gaussian_tables(), torch.from_numpy(indexes)
    frame = bytearray(rans.compress(symbols, tables, indexes, chunk=256, lanes=32))
    with pytest.raises(Truncated):
        rans_gpu.decompress(bytes(frame[:-1]), tables, which)
    with pytest.raises(LimitExceeded):
        rans_gpu.decompress(bytes(frame), tables, which, max_symbols=10)
    with pytest.raises(UsageError, match="other tables"):
        rans_gpu.decompress(bytes(frame), Tables.from_pmf([[0.5, 0.5]], [0]), which)
    with pytest.raises(UsageError, match="600 symbols"):
        rans_gpu.decompress(bytes(frame), tables, which[:-1])
    frame[-1] ^= 1
    with pytest.raises(ChecksumMismatch):
        rans_gpu.decompress(bytes(frame), tables, which)
