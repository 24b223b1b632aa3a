import sys

import pytest


def test_the_command_prints_a_line_for_every_measurement(monkeypatch, capsys):
    pytest.importorskip("constriction")
    from siglum.benchmarks import entropy

    monkeypatch.setattr(sys, "argv", ["entropy", "--symbols", "20000", "--repeats", "1"])
    entropy.main()
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(("static", "64 Gauss")) for line in lines) == 12
    assert lines[0].startswith("machine")
    assert lines[-1].startswith("memcpy")
