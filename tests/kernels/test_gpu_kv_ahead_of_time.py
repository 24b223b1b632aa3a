"""The GPU's transforms of caches, compiled without a GPU: tensor cores, and nothing spilled."""

import importlib.util

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install siglum[gpu]", allow_module_level=True)

CODE = """
import json
from siglum.kernels.gpu.ahead_of_time import compile_kv
for capability in (80, 90):
    for it in compile_kv(capability):
        row = {"name": it.name, "capability": capability, "local": it.local_bytes, "shared": it.shared_bytes}
        row |= {"target": f".target sm_{capability}" in it.ptx, "cubin": it.cubin[:4] == b"\\x7fELF"}
        row |= {"tensor_cores": "mma" in it.ptx, "tf32": "tf32" in it.ptx, "registers": it.registers}
        print(json.dumps(row))
"""


@pytest.fixture(scope="module")
def rows(rows_of):
    return rows_of(CODE)


def test_every_form_compiles_for_both(rows):
    assert len(rows) == 2 * 12
    assert all(row["target"] and row["cubin"] for row in rows)


def test_products_run_on_tensor_cores(rows):
    assert all(row["tensor_cores"] and row["tf32"] for row in rows)


def test_blocks_fit_a_multiprocessor(rows):
    """48 KiB of shared memory let four blocks or more run on one."""
    assert all(row["shared"] <= 48 * 1024 for row in rows), rows
    assert all(row["local"] <= 64 for row in rows), rows
