"""The GPU's search, compiled without a GPU: fused sums in float32, sums in registers."""

import importlib.util

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install siglum[gpu]", allow_module_level=True)

CODE = """
import json
from siglum.kernels.gpu.ahead_of_time import compile_nearest
for capability in (80, 90):
    for it in compile_nearest(capability):
        row = {"name": it.name, "registers": it.registers, "local": it.local_bytes, "shared": it.shared_bytes}
        row |= {"target": f".target sm_{capability}" in it.ptx, "cubin": it.cubin[:4] == b"\\x7fELF"}
        row |= {"fused": it.ptx.count("fma.rn.f32"), "tensor_cores": "mma" in it.ptx}
        print(json.dumps(row))
"""


@pytest.fixture(scope="module")
def rows(rows_of):
    return rows_of(CODE)


def test_every_form_compiles_for_both(rows):
    assert len(rows) == 2 * 4
    assert all(row["target"] and row["cubin"] for row in rows)


def test_products_are_those_of_float32(rows):
    """Tensor cores would round the factors to 10 bits."""
    for row in rows:
        assert not row["tensor_cores"], row
        assert row["fused"] or row["name"] == "sums", row


def test_sums_stay_in_registers(rows):
    """Two values of the residual stages do not, on sm_90; a tile of sums would be 64 bytes."""
    assert all(row["local"] <= 16 for row in rows), rows
