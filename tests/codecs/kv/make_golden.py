"""Writes the golden files again: ``python tests/codecs/kv/make_golden.py``; say so in the changelog when you do."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"
CASES = {
    "estimated": {"quality": 60, "calibration": None},
    "bases": {"quality": 70, "calibration": None, "group": 2, "window": 10},
    "lossless": {"lossless": True},
    "fixed": {"bits": 2.0, "calibration": None},
}


def main() -> None:
    """Encode the same cache in every way."""
    sys.path.insert(0, str(Path(__file__).parent))
    from conftest import make_cache

    from siglum import kv

    FOLDER.mkdir(exist_ok=True)
    for name, settings in CASES.items():
        cache = make_cache(300 if name in ("bases", "fixed") else 70, layers=2, dtype="bfloat16")
        data = kv.compress(cache, threads=1, **settings)
        (FOLDER / f"{name}.sgl").write_bytes(data)
        kv.write_cache(kv.decompress(data, threads=1), FOLDER / f"{name}.safetensors")


if __name__ == "__main__":
    main()
