"""Many integer tables at once: the same rule as `siglum.entropy.tables.normalise`, a row a table."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.errors import UsageError


def normalise_rows(weights: NDArray[np.int64], sizes: ArrayLike, precision: int) -> NDArray[np.uint32]:
    """Integer frequencies in proportion to integer weights, by largest remainders, ties to the lowest index.

    Parameters
    ----------
    weights : int64 array, shape (tables, n), not negative
        A row's sum times ``2**precision`` must stay below 2**63, and one weight must be positive.
    sizes : int array, shape (tables,), 1 to n
        Entries of each table; what stands after them is not looked at.
    precision : int
        Rows sum to ``2**precision``, which must be at least n.

    Returns
    -------
    frequencies : uint32 array, shape (tables, n)
        At least 1 within a table, 0 after it.

    Examples
    --------
    >>> normalise_rows(np.array([[6, 1, 0], [5, 5, 9]]), [3, 2], 3).tolist()
    [[6, 1, 1], [4, 4, 0]]
    """
    rows = np.asarray(weights, dtype=np.int64)
    inside = np.arange(rows.shape[1]) < np.asarray(sizes)[:, None]
    rows = np.where(inside, rows, 0)
    total = 1 << precision
    sums = rows.sum(axis=1)
    if rows.shape[1] > total or np.any(rows < 0) or np.any(sums <= 0) or np.any(sums >> 63 - precision):
        raise UsageError("weights must not be negative, one must be positive, and sums must be small")
    shared = inside.copy()
    left, weight = np.full(len(rows), total, dtype=np.int64), sums.copy()
    while True:  # at most n rounds: each takes at least one entry out
        small = shared & (rows * left[:, None] < weight[:, None])
        if not small.any():
            break
        shared &= ~small
        left -= small.sum(axis=1)
        weight -= np.where(small, rows, 0).sum(axis=1)
    products = rows * left[:, None]
    frequencies = np.where(shared, products // weight[:, None], inside.astype(np.int64))
    missing = total - frequencies.sum(axis=1)
    remainders = np.where(shared, products % weight[:, None], -1)
    order = np.argsort(-remainders, axis=1, kind="stable")
    extra = np.arange(rows.shape[1]) < missing[:, None]
    more = np.zeros_like(frequencies)
    np.put_along_axis(more, order, extra.astype(np.int64), axis=1)
    return (frequencies + more).astype(np.uint32)
