"""constriction as an independent coder, on the same symbols and the same integer tables."""

import sys

import numpy as np
import pytest

from siglum.entropy import rans
from siglum.entropy.gaussian import GAUSSIAN_SCALES, gaussian_tables
from siglum.entropy.tables import Tables
from siglum.errors import BitstreamError, SiglumError, Truncated

constriction = pytest.importorskip("constriction")
from siglum.entropy import constriction as oracle  # noqa: E402


def gaussian_source(bits, count, seed=0):
    """A discretised Gaussian of the given entropy: its table, its true mass, and symbols drawn from it."""
    low, high = 0.1, 100.0
    for _ in range(60):
        scale = (low * high) ** 0.5
        k = np.arange(-120, 121)
        mass = np.exp(-0.5 * (k / scale) ** 2)
        mass /= mass.sum()
        entropy = -(mass[mass > 0] * np.log2(mass[mass > 0])).sum()
        low, high = (scale, high) if entropy < bits else (low, scale)
    kept = mass >= 0.25 / 4096
    tables = Tables.from_pmf([mass[kept]], [int(k[kept][0])])
    symbols = np.random.default_rng(seed).choice(k, size=count, p=mass).astype(np.int32)
    return tables, float(-np.log2(mass[symbols + 120]).sum()), symbols


@pytest.mark.parametrize("bits", [0.5, 2, 6])
@pytest.mark.parametrize("count", [1000, 65536, 400_000])
def test_size_is_the_entropy(bits, count):
    tables, true_bits, symbols = gaussian_source(bits, count)
    size = len(rans.encode(symbols, tables, 0))
    assert size <= tables.bits(symbols, 0) / 8 * 1.0015 + 100
    assert size <= true_bits / 8 * 1.0015 + 100


@pytest.mark.parametrize("bits", [0.5, 2, 6])
def test_constriction_needs_as_many_bytes(bits):
    tables, _, symbols = gaussian_source(bits, 1_000_000)  # the states of 32 lanes cost 0.15 % at 0.5 bits
    encoder = oracle.Encoder()
    encoder.push(symbols, tables, 0)
    theirs = encoder.finish()
    decoder = oracle.Decoder(theirs)
    assert np.array_equal(decoder.decode(tables, 0, shape=len(symbols)), symbols)
    decoder.finish()
    assert len(rans.encode(symbols, tables, 0)) == pytest.approx(len(theirs), rel=0.005)


def test_several_steps_and_tables_through_both():
    rng = np.random.default_rng(4)
    tables = gaussian_tables()
    ours, theirs, steps = rans.Encoder(), oracle.Encoder(), []
    for count in (7000, 1, 0, 90000):
        indexes = rng.integers(0, 64, count).astype(np.uint8)
        symbols = np.rint(rng.normal(size=count) * GAUSSIAN_SCALES[indexes]).astype(np.int32)
        symbols[::3000] += 500
        ours.push(symbols, tables, indexes)
        theirs.push(symbols, tables, indexes)
        steps.append((symbols, indexes))
    payload = theirs.finish()
    assert len(ours.finish()) == pytest.approx(len(payload), rel=0.005)
    decoder = oracle.Decoder(payload)
    for symbols, indexes in steps:
        assert np.array_equal(decoder.decode(tables, indexes), symbols)
    decoder.finish()


def test_their_gaussian_bounds_ours():
    """64 scales, nearest in log, at 12 bits cost little over a Gaussian of the exact scale at 24 bits."""
    rng = np.random.default_rng(5)
    scales = np.exp(rng.uniform(np.log(0.3), np.log(40), 100_000))
    symbols = np.rint(rng.normal(size=len(scales)) * scales).astype(np.int32)
    model = constriction.stream.model.QuantizedGaussian(-1000, 1000)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(symbols, model, np.zeros(len(scales)), scales)
    bound = 4 * len(coder.get_compressed())
    from siglum.entropy.gaussian import scale_index

    size = len(rans.encode(symbols, gaussian_tables(), scale_index(scales)))
    assert 0.999 * bound < size < 1.003 * bound + 100


def test_damage_to_the_research_coder_is_found():
    tables, _, symbols = gaussian_source(2, 500)
    encoder = oracle.Encoder()
    encoder.push(symbols, tables, 0)
    payload = encoder.finish()
    for broken in (b"", payload[:3], payload[:-1]):
        with pytest.raises(Truncated):
            oracle.Decoder(broken)
    with pytest.raises(BitstreamError):
        oracle.Decoder(payload[:-4] + bytes(4))
    decoder = oracle.Decoder(payload)
    decoder.decode(tables, 0, shape=400)
    with pytest.raises(BitstreamError):
        decoder.finish()


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(SiglumError, match="pip install constriction"):
        oracle.Encoder()
