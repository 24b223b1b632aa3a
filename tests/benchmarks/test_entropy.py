import json

import numpy as np
import pytest
from click.testing import CliRunner

from siglum.benchmarks import entropy, entropy_report, entropy_sources
from siglum.benchmarks.entropy_coders import Absent, Coder, Ready
from siglum.cli.main import main

CODERS = {"siglum", "constriction", "compressai", "torch_ans", "zstd", "memcpy"}


@pytest.fixture(scope="module")
def rows():
    return list(entropy.run(entropy.tasks(quick=True, scale=0.004), repeats=1, seconds=0.01))


def test_sources_have_the_entropies_that_they_are_named_for():
    assert entropy_sources.entropy(entropy_sources.gaussian(10, 0).mass[0]) == pytest.approx(6.37, abs=0.01)
    for bits in (0.5, 2.0, 4.0):
        task = entropy_sources.laplace(bits, 20_000, 0)
        assert entropy_sources.entropy(task.mass[0]) == pytest.approx(bits, abs=1e-6)
        assert task.source_bits / task.count == pytest.approx(bits, rel=0.03)
        assert task.symbols.dtype == np.uint8


def test_the_bits_of_the_indexed_source_are_those_of_its_own_scales():
    task = entropy_sources.indexed(20_000, 0)
    mean = np.mean([entropy_sources.entropy(row) for row in task.mass])
    assert task.source_bits / task.count == pytest.approx(mean, rel=0.03)
    assert task.tables.bits(task.symbols, task.indexes) == pytest.approx(task.source_bits, rel=0.01)


def test_every_coder_has_a_row_with_figures_or_a_reason(rows):
    assert {row.coder for row in rows} == CODERS
    for row in rows:
        assert (row.encode_msps is None) == bool(row.note)
        assert row.note == "" or "installed" in row.note or "no GPU" in row.note, row.note
    mine = [row for row in rows if row.coder == "siglum" and row.settings != "triton"]
    assert all(row.encode_msps > 0 and row.decode_msps > 0 for row in mine)


def test_rates_are_near_the_entropy_where_they_should_be(rows):
    for row in rows:
        if row.coder in ("siglum", "constriction", "compressai") and row.bytes is not None:
            states = 8 * 180 * 100 / row.source_bits
            assert -1e-9 < row.over_percent < 3 + states, row


def test_the_report_names_what_was_compared(rows):
    text = entropy_report.table(rows)
    assert "gauss20: 4,000 symbols" in text
    assert max(map(len, text.splitlines())) <= 120
    bars = list(entropy_report.bars(rows))
    assert {bar.unit for bar in bars} >= {"Msym/s", "%", "bytes"}
    assert len(entropy_report.verdicts(bars).splitlines()) == len(bars)


def test_bars_say_what_is_missed():
    bar = entropy_report.Bar("a", 1.5, 2.0, "x")
    assert not bar.met
    assert entropy_report.Bar("a", 1.5, 2.0, "x", at_most=True).met
    assert entropy_report.Bar("a", 1.5, None, "x").met


def test_ratios_come_from_rows_of_one_task():
    def row(coder, settings, symbols, speed):
        return entropy.Row(
            "gauss20", symbols, coder, settings, "1", 1, "", "cpu", speed, speed, 10, 79.9, 79.9
        )

    found = [row("siglum", "compress", 100, 3000.0), row("zstd", "level 1 (zstd -1)", 100, 1500.0)]
    ratios = [bar for bar in entropy_report.bars(found) if bar.unit == "x"]
    assert [(bar.value, bar.met) for bar in ratios] == [(2.0, True)]
    found[1] = row("zstd", "level 1 (zstd -1)", 50, 1500.0)
    assert not [bar for bar in entropy_report.bars(found) if bar.unit == "x"]


def test_no_speed_without_the_symbols(monkeypatch):
    task = entropy_sources.gaussian(100, 0)
    wrong = Coder("wrong", "", lambda task: Ready(lambda: b"abc", lambda data: np.zeros(100, dtype=np.uint8)))

    def absent(task):
        raise Absent("not installed")

    monkeypatch.setattr(entropy, "own_coders", lambda: [wrong, Coder("absent", "", absent)])
    monkeypatch.setattr(entropy, "peer_coders", list)
    found = list(entropy.run([(task, False)], 1))
    assert [row.note for row in found] == ["failed: it does not give the symbols back", "not installed"]
    assert all(row.decode_msps is None for row in found)
    assert "does not give the symbols back" in entropy_report.table(found)


def test_the_command(monkeypatch):
    tasks = entropy.tasks
    monkeypatch.setattr(entropy, "tasks", lambda quick, seed: tasks(quick, seed, scale=0.002))
    result = CliRunner().invoke(main, ["bench", "entropy", "--quick", "--repeats", "1"])
    assert result.exit_code == 0, result.output
    assert "64 Gaussian tables" in result.output
    assert "at least" in result.output
    result = CliRunner().invoke(main, ["bench", "entropy", "--quick", "--repeats", "1", "--json"])
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert {row["coder"] for row in found} == CODERS
