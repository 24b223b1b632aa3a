from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from siglum.codecs.tensor.codec import TensorCodec
from siglum.kernels import dispatch
from siglum.kernels.checksum import crc32c

HERE = Path(__file__).parent
SPEC = importlib.util.spec_from_file_location("make_golden_tensors", HERE / "make_golden.py")
assert SPEC is not None and SPEC.loader is not None
maker = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(maker)
DECODED = {"exact": 0x88C0517E, "steps": 0x3D67AA04, "bounded": 0x00548AA8}


@pytest.mark.parametrize("isa", dispatch.available_isas())
@pytest.mark.parametrize("name", DECODED)
def test_golden_files_decode_to_what_they_did(name: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGLUM_ISA", isa)
    data = (HERE / "golden" / f"{name}.sgl").read_bytes()
    wanted = maker.values()
    for threads in (1, 2):
        decoded = TensorCodec(threads=threads).decode(data)
        assert isinstance(decoded, dict) and list(decoded) == list(wanted)
        crc = 0
        for key, array in decoded.items():
            assert (array.shape, array.dtype) == (wanted[key].shape, wanted[key].dtype)
            if name == "exact" or array.dtype.kind != "f":
                assert np.array_equal(array, wanted[key])
            crc = crc32c(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, crc)
        assert crc == DECODED[name]
