"""The GPU's transforms of caches, compiled without a GPU: tensor cores, and nothing spilled."""

import importlib.util
import json
import os
import subprocess
import sys

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
def rows(tmp_path_factory):
    # Its own process, since the interpreter's tests import the same kernels in their interpreted form.
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_form_compiles_for_both(rows):
    assert len(rows) == 2 * 12
    assert all(row["target"] and row["cubin"] for row in rows)


def test_products_run_on_tensor_cores(rows):
    assert all(row["tensor_cores"] and row["tf32"] for row in rows)


def test_blocks_fit_a_multiprocessor(rows):
    """48 KiB of shared memory let four blocks or more run on one."""
    assert all(row["shared"] <= 48 * 1024 for row in rows), rows
    assert all(row["local"] <= 64 for row in rows), rows
