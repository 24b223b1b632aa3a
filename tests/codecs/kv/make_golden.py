"""Writes the golden files again: ``python tests/codecs/kv/make_golden.py``; say so in the changelog when you do."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"
CALIBRATION = FOLDER / "synthetic.kvcal.safetensors"
CASES = {
    "estimated": {"quality": 60, "calibration": None},
    "bases": {"quality": 70, "calibration": None, "group": 2, "window": 10},
    "lossless": {"lossless": True},
    "fixed": {"bits": 2.0, "calibration": None},
    "calibrated": {"quality": 20, "calibration": CALIBRATION},
    "factored": {"quality": 20, "calibration": CALIBRATION},
}


def main() -> None:
    """Encode the same cache in every way."""
    sys.path.insert(0, str(Path(__file__).parent))
    from conftest import make_cache, make_calibration, make_foreign, make_moved

    from siglum import kv

    FOLDER.mkdir(exist_ok=True)
    if not CALIBRATION.exists():
        make_calibration(CALIBRATION)
    for name, settings in CASES.items():
        cache = make_cache(300 if name in ("bases", "fixed") else 70, layers=2, dtype="bfloat16")
        if name == "calibrated":  # with corrections of the file and what is left of its mean
            cache = make_moved(make_cache(300, seed=9), 0.5)
        if name == "factored":
            cache = make_foreign(make_cache(600, seed=9), 6)
        data = kv.compress(cache, threads=1, **settings)
        (FOLDER / f"{name}.sgl").write_bytes(data)
        decoded = kv.decompress(data, calibration=settings.get("calibration"), threads=1)
        kv.write_cache(decoded, FOLDER / f"{name}.safetensors")


if __name__ == "__main__":
    main()
