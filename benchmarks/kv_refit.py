"""Calibrations of other documents with the same weights: what a domain costs that a calibration never saw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from siglum.benchmarks.kv_documents import Document
from siglum.benchmarks.kv_model import Model
from siglum.codecs.kv.calibrate import FLOOR, SINKS
from siglum.codecs.kv.calibration import Calibration
from siglum.codecs.kv.fit import fit_transform
from siglum.codecs.kv.rows import floats_of


def refit(calibration: Calibration, documents: Sequence[Document], model: Model | None) -> Calibration:
    """Means, bases and scales of other documents; how errors are weighed stays as it was.

    Parameters
    ----------
    documents
        Their caches are of the calibration's model.
    model
        For documents that are texts.
    """
    layout = calibration.layout
    sums = {key: np.zeros(made.mean.shape[0]) for key, made in calibration.transforms.items()}
    products = {key: np.zeros((len(total), len(total))) for key, total in sums.items()}
    count = 0
    for document in documents:
        cache = document.cache(model)
        for key in sums:
            rows = floats_of(cache, layout, *key, SINKS, cache.tokens, 0)
            sums[key] += rows.sum(0, dtype=np.float64)
            products[key] += rows.T @ rows
        count += cache.tokens - SINKS
    transforms = {}
    for key, total in sums.items():
        mean = total / count
        covariance = products.pop(key) / count - np.outer(mean, mean)
        transforms[key] = fit_transform(
            mean, covariance, calibration.transforms[key].weight, floor=FLOOR, fineness=calibration.fineness
        )
    made = Calibration(layout, transforms, calibration.fineness, b"")
    return Calibration.from_tensors(made.tensors())  # rounded as a file would have it, and named
