"""Calibrations of other documents with the same weights: what a domain costs that a calibration never saw."""

from __future__ import annotations

from collections.abc import Sequence

from siglum.benchmarks.kv_documents import Document
from siglum.benchmarks.kv_model import Model
from siglum.codecs.kv.calibration import Calibration
from siglum.codecs.kv.refit import refit as refitted


def refit(calibration: Calibration, documents: Sequence[Document], model: Model | None) -> Calibration:
    """Means, bases and scales of other documents; how errors are weighed stays as it was.

    Parameters
    ----------
    documents
        Their caches are of the calibration's model.
    model
        For documents that are texts.
    """
    made = refitted(calibration, (document.cache(model) for document in documents))
    return Calibration.from_tensors(made.tensors())  # rounded as a file would have it, and named
