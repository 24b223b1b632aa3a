"""Triton kernels of the search for the nearest codeword: one pass over the codewords, no matrix in memory.

A program holds a block of vectors and walks over the codewords, 64 at a time. Each of the 64 columns keeps the best
score that it has seen, the first of equals; the columns are compared once, at the end, and again the lowest index
wins. Scores are those of `siglum.kernels.nearest`: they start at ``-(|c|² + bias) / 2``.
"""

from __future__ import annotations

import triton
import triton.language as tl

VECTORS = tl.constexpr(64)
CODEWORDS = tl.constexpr(64)
STEP = tl.constexpr(16)  # dimensions that are multiplied at a time; more of them do not fit into registers
WARPS = 8
NO_INDEX = tl.constexpr(2**31 - 1)


@triton.jit
def _scores(x, rows, live, codewords, start, which, end, dimension):
    """Scores of the codewords `which`, those from `end` on being minus infinity, for rows of x."""
    steps = tl.arange(0, STEP)
    known = which < end
    bias = tl.load(start + which, mask=known, other=float("-inf"))
    sums = tl.broadcast_to(bias[None, :], (VECTORS, CODEWORDS))
    from_x = x + rows[:, None] * dimension + steps[None, :]
    from_codewords = codewords + which[None, :].to(tl.int64) * dimension + steps[:, None]
    for d in range(0, dimension, STEP):
        inside = d + steps < dimension
        values = tl.load(from_x + d, mask=live[:, None] & inside[None, :], other=0.0)
        weights = tl.load(from_codewords + d, mask=known[None, :] & inside[:, None], other=0.0)
        sums = tl.dot(values, weights, sums, input_precision="ieee")
    return sums


@triton.jit
def _winner(best, index):
    """Best score and lowest index of each row."""
    most = tl.max(best, 1)
    return most, tl.min(tl.where(best == most[:, None], index, NO_INDEX), 1)


@triton.jit
def search_kernel(x, codewords, start, count, total, dimension, before_scores, before, scores, out, stride):
    """The best codeword of each vector; with `before`, the best of those that come after it in the order.

    x (count, dimension), codewords (total, dimension), start (total,); scores (count,) and out with `stride`.
    """
    rows = tl.program_id(0).to(tl.int64) * VECTORS + tl.arange(0, VECTORS)
    live = rows < count
    best = tl.full((VECTORS, CODEWORDS), float("-inf"), tl.float32)
    index = tl.zeros((VECTORS, CODEWORDS), tl.int32)
    if before is not None:
        last_score = tl.load(before_scores + rows, mask=live, other=0.0)
        last = tl.load(before + rows * stride, mask=live, other=0)
    for first in range(0, total, CODEWORDS):
        which = first + tl.arange(0, CODEWORDS)
        sums = _scores(x, rows, live, codewords, start, which, total, dimension)
        if before is not None:
            later = (sums == last_score[:, None]) & (which[None, :] > last[:, None])
            sums = tl.where((sums < last_score[:, None]) | later, sums, float("-inf"))
        better = sums > best
        best = tl.where(better, sums, best)
        index = tl.where(better, which[None, :], index)
    most, winner = _winner(best, index)
    tl.store(scores + rows, most, mask=live)
    tl.store(out + rows * stride, winner, mask=live)


@triton.jit
def residual_kernel(left, codewords, start, ends, count, dimension, stages, codes):
    """All residual stages of a block of vectors, which meanwhile stays in the multiprocessor's cache.

    left (count, dimension): the vectors, and what the stages leave of them. codewords and start of all stages one
    after another, up to ends (stages,); codes (count, stages).
    """
    rows = tl.program_id(0).to(tl.int64) * VECTORS + tl.arange(0, VECTORS)
    live = rows < count
    begin = 0
    for stage in range(stages):
        end = tl.load(ends + stage)
        best = tl.full((VECTORS, CODEWORDS), float("-inf"), tl.float32)
        index = tl.zeros((VECTORS, CODEWORDS), tl.int32)
        for first in range(begin, end, CODEWORDS):
            which = first + tl.arange(0, CODEWORDS)
            sums = _scores(left, rows, live, codewords, start, which, end, dimension)
            better = sums > best
            best = tl.where(better, sums, best)
            index = tl.where(better, which[None, :], index)
        _, winner = _winner(best, index)
        tl.store(codes + rows * stages + stage, winner - begin, mask=live)
        tl.debug_barrier()  # all threads have read the block before one writes it
        for d in range(0, dimension, STEP):
            inside = d + tl.arange(0, STEP)
            here = live[:, None] & (inside < dimension)[None, :]
            place = left + rows[:, None] * dimension + inside[None, :]
            chosen = codewords + winner[:, None].to(tl.int64) * dimension + inside[None, :]
            values = tl.load(place, mask=here, other=0.0) - tl.load(chosen, mask=here, other=0.0)
            tl.store(place, values, mask=here)
        tl.debug_barrier()
        begin = end


@triton.jit
def sum_kernel(x, order, starts, sums, dimension):
    """The sum of the vectors of one codeword, 64 at a time in the order of vectors.

    order (N,): vectors sorted by codeword; those of codeword k are starts[k] to starts[k + 1].
    """
    codeword = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * STEP + tl.arange(0, STEP)
    lanes = tl.arange(0, VECTORS)
    inside = d < dimension
    total = tl.zeros((STEP,), tl.float32)
    begin, end = tl.load(starts + codeword), tl.load(starts + codeword + 1)
    for first in range(begin, end, VECTORS):
        member = first + lanes
        vector = tl.load(order + member, mask=member < end, other=0)
        values = tl.load(
            x + vector[:, None] * dimension + d[None, :],
            mask=(member < end)[:, None] & inside[None, :],
            other=0.0,
        )
        total += tl.sum(values, 0)
    tl.store(sums + codeword * dimension + d, total, mask=inside)
