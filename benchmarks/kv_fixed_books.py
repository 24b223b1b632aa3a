"""Fit the codebooks of the `kv` codec's fixed-rate mode: ``python -m siglum.benchmarks.kv_fixed_books CACHE...``.

Vectors are eight components of equal strength, in their deviations and the gain of their token, of caches that are
coded with their model's calibration and without one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv import fixed, fixed_books, planning
from siglum.codecs.kv.calibration import Calibration, installed_for
from siglum.codecs.kv.files import read_cache
from siglum.codecs.kv.layout import KEYS, VALUES, Layout
from siglum.codecs.kv.rows import floats_of
from siglum.codecs.kv.sample import Sample
from siglum.codecs.kv.scales import LOG_UNIT
from siglum.errors import require_torch

RATES = (1.5, 2.5)
LEVELS = (120, 145)  # of the estimated transforms, for each rate
SINKS = 4
A_CACHE = 8000  # vectors of a cache, mode and rate
BEAM, ITERATIONS = 4, 15


def vectors_of(path: Path, calibration: Calibration | None, rate: float, level: int) -> NDArray[np.float32]:
    """Vectors (n, 8) of a cache, each stage of a unit counting as much as the other."""
    cache = read_cache(path)
    layout = Layout.of(cache, 1) if calibration is None else calibration.with_layout(cache)
    keys = [(group, which) for group in range(len(layout.groups)) for which in (KEYS, VALUES)]
    size = fixed.size_for(rate, layout.token_elements, len(keys))
    if calibration is not None:
        level = fixed.level_for([calibration.transforms[key].scale for key in keys], size)
    parts = fixed.allot(planning.plan_of(layout, level, calibration, Sample(cache, layout, SINKS)), size)
    random, out = np.random.default_rng(0), []
    total = sum(len(part.stages) for part in parts.values())
    for (group, which), part in parts.items():
        count = A_CACHE * len(part.stages) // total
        if not count:
            continue
        values = part.analyse(floats_of(cache, layout, group, which, SINKS, cache.tokens, 0))
        values /= fixed.gain_values(fixed.gains_of(values))[:, None]
        units = values.reshape(len(values), -1, fixed_books.SIZE)
        out.append(units[random.integers(0, len(units), count), random.integers(0, units.shape[1], count)])
    return np.concatenate(out)


def fit(x: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Codebooks (stages, 256, 8) in int8, their units, and what each stage is worth."""
    require_torch("fitting codebooks")
    import torch

    from siglum import quantizers
    from siglum.kernels import nearest

    size, stages = fixed_books.SIZE, fixed_books.STAGES
    quantizer: Any = quantizers.get("residual", dim=size, stages=stages, codewords=fixed_books.CODEWORDS)
    quantizer.fit(
        torch.from_numpy(x), beam=BEAM, iterations=ITERATIONS, rounds=0
    )  # prefixes must be good, too
    made = np.stack([table.values for table in quantizer.export().tables])
    unit = (np.abs(made).max(axis=(1, 2)) / 127).astype(np.float32)
    words = np.rint(made / unit[:, None, None]).astype(np.int8)
    known = words.astype(np.float32) * unit[:, None, None]
    errors = [float(np.mean(np.square(x)))]
    for count in range(1, stages + 1):
        codes = nearest.beam(x, list(known[:count]), BEAM)
        values = sum(known[stage][codes[:, stage]] for stage in range(count))
        errors.append(float(np.mean(np.square(x - values))))
    print("squared errors after 0, 1, ... stages:", " ".join(f"{error:.5f}" for error in errors))
    worth = np.rint(np.log(-np.diff(errors)) / LOG_UNIT).astype(np.int32)
    if not (np.diff(worth) < 0).all():
        raise ValueError(f"stages take off {worth}, wanted a strictly decreasing sequence")
    return {"codewords": words, "unit": unit, "worth": worth}


def main() -> None:
    """Fit and write the file that the package has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("caches", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=fixed_books.FILE)
    options = parser.parse_args()
    found = []
    for path in options.caches:
        calibrations = [installed_for(read_cache(path)), None]
        for rate, level in zip(RATES, LEVELS, strict=True):
            found += [vectors_of(path, calibration, rate, level) for calibration in calibrations]
    from safetensors.numpy import save_file

    tensors = fit(np.concatenate(found))
    save_file(tensors, options.output, {"format": "siglum-kv-fixed-books"})


if __name__ == "__main__":
    main()
