"""Large alphabets as cell and member: which symbols share a cell, and the tables of both steps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from siglum.entropy.normalise import normalise_rows
from siglum.entropy.tables import MAX_ENTRIES, MAX_PRECISION, Tables


class Layout(NamedTuple):
    """Cells and members of all contexts; ranks count symbols by falling weight."""

    order: NDArray[np.int32]  # (contexts, N): symbol of each rank
    coded: NDArray[np.int64]  # (contexts,): symbols that are not left to the escape
    first: NDArray[np.int32]  # (contexts, most cells + 1): first rank of each cell, then the number of coded
    member_table: NDArray[np.int32]  # (contexts, most cells + 1): table of its members, -1 if it has one
    cells: NDArray[np.int64]  # (contexts,)
    cell_of: NDArray[np.int32]  # (contexts, N), by symbol: entry of the first step
    member_of: NDArray[np.int32]  # (contexts, N), by symbol
    cell_tables: Tables | None
    member_tables: Tables | None


def without_tail(weights: NDArray[np.int64], mass: float) -> NDArray[np.int64]:
    """Weights with the least ones, of this share together, set to zero."""
    order = np.argsort(weights, axis=-1, kind="stable")
    cumulative = np.cumsum(np.take_along_axis(weights, order, -1), axis=-1)
    dropped = cumulative <= cumulative[..., -1:] * mass
    result = weights.copy()
    kept = np.where(dropped, 0, np.take_along_axis(weights, order, -1))
    np.put_along_axis(result, order, kept, axis=-1)
    return result


def _cut(weights: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """First ranks of cells: falling weights cut into at most ``most`` cells of about equal mass.

    Each cell takes members until it has its share of what is left, at most 256 of them, and as many as the
    cells after it could not hold.
    """
    n = len(weights)
    if n <= most:
        return np.arange(n)
    cumulative = np.concatenate([[0], np.cumsum(weights)])
    starts: list[int] = []
    position = 0
    for left in range(most, 0, -1):
        if position == n:
            break
        starts.append(position)
        share = -(-(int(cumulative[-1]) - int(cumulative[position])) // left)
        end = int(np.searchsorted(cumulative, int(cumulative[position]) + share))
        end = max(min(end, position + MAX_ENTRIES, n), n - MAX_ENTRIES * (left - 1), position + 1)
        position = end
    return np.array(starts)


def build(weights: NDArray[np.int64]) -> Layout:
    """Lay out integer weights, shape (contexts, N), one positive in each context."""
    contexts, n = weights.shape
    order = np.argsort(-weights, axis=1, kind="stable").astype(np.int32)
    coded = (weights > 0).sum(axis=1)
    closed = bool((coded == n).all())
    most = MAX_ENTRIES if closed else MAX_ENTRIES - 1
    if coded.max() > most * MAX_ENTRIES:  # one symbol of 65,536 has weight 0, say: its weight becomes 1
        return build(np.maximum(weights, 1))
    first = np.repeat(coded.astype(np.int32)[:, None], most + 1, axis=1)
    member_table = np.full((contexts, most + 1), -1, np.int32)
    cell_of, member_of = np.zeros((contexts, n), np.int32), np.zeros((contexts, n), np.int32)
    cells = np.zeros(contexts, np.int64)
    masses = np.zeros((contexts, most + 1), np.int64)
    members: list[NDArray[np.int64]] = []
    for c in range(contexts):
        ranked = weights[c][order[c]]
        starts = _cut(ranked[: coded[c]], most)
        cells[c] = len(starts)
        first[c, : len(starts)] = starts
        sizes = np.diff(np.append(starts, coded[c]))
        masses[c, : len(starts)] = np.add.reduceat(ranked[: coded[c]], starts)
        for i in np.flatnonzero(sizes > 1):
            member_table[c, i] = len(members)
            members.append(ranked[starts[i] : starts[i] + sizes[i]])
        rank = np.arange(n)
        cell = np.searchsorted(starts, rank, side="right") - 1
        inside = rank < coded[c]
        cell_of[c, order[c]] = np.where(inside, cell, len(starts) + rank - coded[c])
        member_of[c, order[c]] = np.where(inside, rank - starts[cell], 0)
    entries = cells + (not closed)
    cell_tables = _tables(masses, entries, closed) if n > 1 else None
    member_tables = None
    if members:
        rows = np.zeros((len(members), MAX_ENTRIES), np.int64)
        for row, member in zip(rows, members, strict=True):
            row[: len(member)] = member
        member_tables = _tables(rows, np.array([len(member) for member in members]), closed=True)
    return Layout(order, coded, first, member_table, cells, cell_of, member_of, cell_tables, member_tables)


def _tables(weights: NDArray[np.int64], sizes: NDArray[np.int64], closed: bool) -> Tables:
    rows = normalise_rows(weights, sizes, MAX_PRECISION)
    frequencies = [row[:size] for row, size in zip(rows, sizes, strict=True)]
    return Tables(frequencies, np.zeros(len(rows), np.int32), MAX_PRECISION, closed=closed)
