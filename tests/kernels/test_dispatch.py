from __future__ import annotations

import os
import subprocess
import sys

import pytest

from siglum.errors import UsageError
from siglum.kernels import dispatch


def test_the_plain_variant_is_always_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIGLUM_ISA", raising=False)
    available = dispatch.available_isas()
    assert available[0] == "scalar"
    assert set(available) <= set(dispatch.ISAS)
    assert dispatch.isa() == available[-1]


@pytest.mark.parametrize("name", dispatch.available_isas())
def test_isa_can_be_forced(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("SIGLUM_ISA", name)
    assert dispatch.isa() == name


@pytest.mark.parametrize("name", ["sse9", "AVX2", " scalar", "avx2\n"])
def test_an_unknown_isa_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("SIGLUM_ISA", name)
    with pytest.raises(UsageError, match="unknown"):
        dispatch.isa()


def test_an_isa_that_the_machine_lacks_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "available_isas", lambda: ("scalar",))
    monkeypatch.setenv("SIGLUM_ISA", "avx512")
    with pytest.raises(UsageError, match="not available"):
        dispatch.isa()


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIGLUM_THREADS", raising=False)
    assert dispatch.threads() == min(dispatch.cpu_count(), dispatch.MAX_THREADS) >= 1
    monkeypatch.setenv("SIGLUM_THREADS", "3")
    assert dispatch.threads() == 3
    assert dispatch.threads(2) == 2


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "9999", "10000000", "²"])
def test_bad_thread_counts_in_the_environment(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SIGLUM_THREADS", text)
    with pytest.raises(UsageError):
        dispatch.threads()


@pytest.mark.parametrize("number", [0, -1, dispatch.MAX_THREADS + 1, True, 1.0])
def test_bad_thread_counts_as_arguments(number: int) -> None:
    with pytest.raises(UsageError):
        dispatch.threads(number)


def test_importing_the_kernels_does_not_import_torch() -> None:
    code = (
        "import sys, siglum.kernels.dispatch as d, siglum.entropy.integer_network\n"
        "assert 'torch' not in sys.modules\n"
        "print(d.isa())"
    )
    environment = {**os.environ, "SIGLUM_ISA": "scalar"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "scalar"
