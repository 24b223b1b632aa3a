"""Exported tables give the module's codes and values, without torch, from a file too."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from siglum import quantizers  # noqa: E402
from siglum.quantizers.chain_tables import ChainTables, Table  # noqa: E402
from siglum.quantizers.level_tables import LevelTables  # noqa: E402
from siglum.quantizers.tables import Tables  # noqa: E402

sys.path.append(str(Path(__file__).parent))
from quantizer_cases import NAMES, started, vectors  # noqa: E402

exported = [name for name in NAMES if name != "lattice large"]


@pytest.mark.parametrize("name", exported)
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10_000), beam=st.sampled_from([1, 3]))
def test_codes_and_values_are_the_modules(name: str, seed: int, beam: int) -> None:
    quantizer, x = started(name), vectors(50, seed)
    tables = quantizer.export()
    assert tables.dim == quantizer.dim and tables.sizes == quantizer.sizes
    codes = quantizer.encode(x, beam=beam)
    found = tables.encode(x.numpy(), beam=beam)
    assert found.dtype == np.int64 and (found == codes.numpy()).all()
    values = quantizer.decode(codes).detach().numpy()
    np.testing.assert_allclose(tables.decode(found), values, rtol=1e-6, atol=1e-6)
    for count in {1, quantizer.stages // 2 or 1}:
        short = quantizer.encode(x, stages=count, beam=beam)
        assert (tables.encode(x.numpy(), stages=count, beam=beam) == short.numpy()).all()
        expected = quantizer.decode(short).detach().numpy()
        np.testing.assert_allclose(tables.decode(short.numpy()), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", exported)
def test_files(name: str, tmp_path: Path) -> None:
    tables, x = started(name).export(), vectors(30, 1).numpy().reshape(5, 6, 8)
    tables.save(tmp_path / "tables.safetensors")
    again = Tables.load(tmp_path / "tables.safetensors")
    assert type(again) is type(tables) and again.sizes == tables.sizes
    codes = again.encode(x)
    assert codes.shape == (5, 6, tables.stages) and (codes == tables.encode(x)).all()
    assert (again.decode(codes) == tables.decode(codes)).all()


def test_biases_and_projections_are_exported() -> None:
    config: dict[str, Any] = {"kind": "entropy-constrained", "multiplier": 0.1}
    quantizer = quantizers.get("residual", dim=8, stages=2, codewords=16, codebook=config)
    x = vectors(400)
    quantizer.start(x)
    tables = quantizer.eval().export()
    assert isinstance(tables, ChainTables) and tables.tables[0].bias is not None
    for beam in (1, 4):
        assert (tables.encode(x.numpy(), beam=beam) == quantizer.encode(x, beam=beam).numpy()).all()


def test_torch_is_not_imported(tmp_path: Path) -> None:
    started("group-residual").export().save(tmp_path / "tables.safetensors")
    script = f"""
import sys
import numpy as np
import siglum
from siglum.quantizers.tables import Tables
tables = Tables.load({str(tmp_path / "tables.safetensors")!r})
tables.decode(tables.encode(np.zeros((3, 8), np.float32), beam=2))
assert len(siglum.quantizers.names()) > 10
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_bad_input(tmp_path: Path) -> None:
    tables = started("residual").export()

    def refused(pattern: str) -> Any:
        return pytest.raises(ValueError, match=re.escape(pattern))

    with refused("x is float32 of shape (3, 7), wanted floats (..., 8)"):
        tables.encode(np.zeros((3, 7), np.float32))
    with refused("at least one vector"):
        tables.encode(np.zeros((0, 8), np.float32))
    with refused("wanted floats"):
        tables.encode(np.zeros((3, 8), np.int32))
    with refused("x of shape (3, 8) has NaN"):
        tables.encode(np.full((3, 8), np.nan, np.float32))
    with refused("stages is 4, wanted an integer from 1 to 3"):
        tables.encode(np.zeros((3, 8), np.float32), stages=4)
    with refused("beam is 0"):
        tables.encode(np.zeros((3, 8), np.float32), beam=0)
    with refused("codes of shape (1, 3) are out of range in stage 1, wanted 0 to 15"):
        tables.decode(np.array([[0, 16, 0]]))
    with refused("wanted integers of shape (..., 1 to 3)"):
        tables.decode(np.zeros((2, 4), np.int64))
    with refused("with at least one"):
        tables.decode(np.zeros((0, 3), np.int64))
    with refused("table 0 has shape (4, 3), wanted (codewords, 2)"):
        ChainTables(2, [np.zeros((4, 3), np.float32)], [0])
    with refused("which is [1], wanted numbers of the 1 tables"):
        ChainTables(2, [Table(np.zeros((4, 2), np.float32))], [1])
    with refused("rotation has shape (3, 3), wanted (2, 2)"):
        ChainTables(2, [np.zeros((4, 2), np.float32)], [0], rotation=np.eye(3))
    with refused("thresholds of component 0 have shape (2,), wanted (1,)"):
        LevelTables([np.zeros(2, np.float32)], [np.zeros(2, np.float32)], separate=True)
    (tmp_path / "other").write_bytes(b"nothing of that kind")
    with refused("holds no tables"):
        Tables.load(tmp_path / "other")
    with refused("a table of 16777216 codewords a block, wanted at most 65536"):
        started("lattice large").export()
