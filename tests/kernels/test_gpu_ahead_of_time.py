"""The GPU's kernels, compiled without a GPU: one warp a chunk, no barrier, nothing spilled."""

import importlib.util

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install siglum[gpu]", allow_module_level=True)

CODE = """
import json, sys
from siglum.kernels.gpu.ahead_of_time import compile_all
for capability in (80, 90):
    for it in compile_all(capability):
        row = {"name": it.name, "registers": it.registers, "local": it.local_bytes, "shared": it.shared_bytes}
        row |= {"barriers": it.barriers, "target": f".target sm_{capability}" in it.ptx}
        row |= {"cubin": it.cubin[:4] == b"\\x7fELF", "mulhi": "mul.hi.u32" in it.ptx}
        print(json.dumps(row))
"""


@pytest.fixture(scope="module")
def rows(rows_of):
    return rows_of(CODE)


def test_every_form_compiles_for_both(rows):
    assert len(rows) == 2 * 19
    assert all(row["target"] and row["cubin"] for row in rows)


def test_a_chunk_is_one_warp_without_barriers(rows):
    for row in rows:
        if row["name"] != "gather":
            assert (row["barriers"], row["shared"]) == (0, 0), row


def test_registers_suffice(rows):
    """Up to 64 registers let a multiprocessor hold the 32 programs that it can schedule."""
    for row in rows:
        assert row["local"] == 0, row
        assert row["registers"] <= 64, row


def test_division_is_a_multiplication(rows):
    assert all(row["mulhi"] for row in rows if row["name"].startswith("encode"))
