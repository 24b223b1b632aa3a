"""Write the golden files of the tensor codec beside this script: python tests/codecs/tensor/make_golden.py.

Run it only when the format changes, and say so in CHANGELOG.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from siglum.codecs.tensor.codec import TensorCodec

FOLDER = Path(__file__).parent / "golden"
CODECS = {"exact": TensorCodec(), "steps": TensorCodec(quality=45), "bounded": TensorCodec(max_error=0.02)}


def values() -> dict[str, np.ndarray]:
    """Arrays that are the same everywhere: sums of pseudo-random integers, so nearly Gaussian."""
    state, rows = 12345, []
    for _ in range(4 * 3000):
        state = (1103515245 * state + 12345) % 2**31
        rows.append(state >> 16)
    sums = np.array(rows).reshape(4, 3000).sum(axis=0) - 65536
    return {
        "half": (sums / 16384).astype(np.float16).reshape(30, 100),
        "single": (sums / 16384).astype(np.float32).reshape(10, 3, 100),
        "double": sums / 16384,
        "counts": np.cumsum(sums & 7),
        "bytes": (sums & 31).astype(np.uint8),
        "none": np.zeros((0, 4), np.int16),
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, codec in CODECS.items():
        (FOLDER / f"{name}.sgl").write_bytes(codec.encode(values()))
