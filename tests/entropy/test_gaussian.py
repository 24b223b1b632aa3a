from math import erfc, sqrt

import numpy as np
import pytest

from siglum.entropy import gaussian, gaussian_bank
from siglum.entropy.gaussian import GAUSSIAN_SCALES, gaussian_tables, scale_index
from siglum.errors import SiglumError, UsageError


def test_the_shipped_bank_is_what_the_builder_builds():
    assert np.array_equal(np.load(gaussian_bank.BANK_PATH), gaussian_bank.build())


def test_scales_are_log_spaced():
    expected = 0.11 * (64 / 0.11) ** (np.arange(64) / 63)
    assert np.abs(GAUSSIAN_SCALES - expected).max() <= 0.5 / 65536 + 1e-12
    assert GAUSSIAN_SCALES[-1] == 64


def test_masses_agree_with_erf():
    for half_steps, scale in ((1, 65536), (1, 7209), (5, 80000), (255, 64 << 16)):
        exact = gaussian_bank.half_mass(half_steps, scale) / 2**384
        z = half_steps / 2 / (scale / 65536)
        assert exact == pytest.approx(0.5 - 0.5 * erfc(z / sqrt(2)), abs=1e-15)


@pytest.mark.parametrize("index", [0, 13, 14, 31, 47, 58, 60])
def test_tables_cost_next_to_nothing_over_the_entropy(index):
    tables, scale = gaussian_tables(), GAUSSIAN_SCALES[index]
    k = np.arange(-int(8 * scale) - 2, int(8 * scale) + 3)
    z = (np.abs(k)[:, None] + np.array([-0.5, 0.5])) / scale / sqrt(2)
    mass = np.array([(erfc(a) - erfc(b)) / 2 for a, b in z])
    k, mass = k[mass > 1e-12], mass[mass > 1e-12]
    entropy = -(mass * np.log2(mass)).sum()
    cost = sum(p * tables.bits(np.array([s]), index) for p, s in zip(mass, k, strict=True))
    assert cost - entropy < 0.0004 + 0.0008 * entropy


def test_tables_are_symmetric_but_for_remainders():
    tables = gaussian_tables()
    assert len(tables) == 64
    for frequencies, offset in zip(tables.frequencies, tables.offsets, strict=True):
        assert len(frequencies) == 2 - 2 * offset
        body = frequencies[:-1].astype(int)
        assert np.abs(body - body[::-1]).max() <= 1


def test_nearest_scale_in_log():
    assert scale_index(GAUSSIAN_SCALES).tolist() == list(range(64))
    values = np.geomspace(0.05, 200, 5000)
    nearest = np.abs(np.log(values)[:, None] - np.log(GAUSSIAN_SCALES)).argmin(axis=1)
    assert np.mean(scale_index(values) != nearest) < 0.001  # thresholds stand on the grid too
    ends = scale_index(np.array([[0.0, -1.0], [1e30, np.inf]]))
    assert ends.dtype == np.uint8
    assert ends.tolist() == [[0, 0], [63, 63]]
    with pytest.raises(UsageError):
        scale_index(np.array([1.0, np.nan]))


def test_an_altered_bank_is_refused(tmp_path):
    data = bytearray(gaussian_bank.BANK_PATH.read_bytes())
    data[-1] ^= 1
    path = tmp_path / "bank.npy"
    path.write_bytes(data)
    with pytest.raises(SiglumError, match="altered"):
        gaussian.load_bank(path)
    with pytest.raises(SiglumError, match="cannot be read"):
        gaussian.load_bank(tmp_path / "none.npy")
