"""Other transforms for a calibration: what caches are like is learned anew, what looks at them stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from siglum.codecs.kv.cache import KVCache
from siglum.codecs.kv.calibrate import FLOOR, SINKS
from siglum.codecs.kv.calibration import Calibration
from siglum.codecs.kv.fit import fit_transform
from siglum.codecs.kv.rows import floats_of
from siglum.errors import UnsupportedInputError

__all__ = ["refit"]


def refit(
    calibration: Calibration, caches: Iterable[KVCache], progress: Callable[[int], None] | None = None
) -> Calibration:
    """Means, bases and scales of other caches; how errors are weighed stays as it was, so no model is needed.

    Parameters
    ----------
    caches
        Of the calibration's model. Every token counts the same.
    progress
        Called with the number of caches done.

    Raises
    ------
    UnsupportedInputError
        If a cache does not fit the calibration, or there are no tokens beyond the first four.
    """
    layout = calibration.layout
    sums = {key: np.zeros(made.mean.shape[0]) for key, made in calibration.transforms.items()}
    products = {key: np.zeros((len(total), len(total))) for key, total in sums.items()}
    count = 0
    for done, cache in enumerate(caches, 1):
        calibration.with_layout(cache)
        first = max(SINKS, max(layer.start for layer in cache.layers))
        if cache.tokens > first:
            for key in sums:
                rows = floats_of(cache, layout, *key, first, cache.tokens, 0)
                sums[key] += rows.sum(0, dtype=np.float64)
                products[key] += rows.T @ rows
            count += cache.tokens - first
        if progress is not None:
            progress(done)
    if not count:
        raise UnsupportedInputError(f"the caches have no tokens beyond the first {SINKS}")
    transforms = {}
    for key, total in sums.items():
        mean = total / count
        covariance = products.pop(key) / count - np.outer(mean, mean)
        weight = calibration.transforms[key].weight
        transforms[key] = fit_transform(mean, covariance, weight, floor=FLOOR, fineness=calibration.fineness)
    return Calibration(layout, transforms, calibration.fineness, b"")
