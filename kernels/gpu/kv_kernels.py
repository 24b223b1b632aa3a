"""Triton code of the transforms of key-value caches; `siglum.kernels.gpu.kv` launches it.

Channels are taken in the pairs that a rotary embedding turns together, so that it is undone before the first product
and done after the last in registers. `turns` says by which angle a pair is turned: -1 by none, -2 by none and there is
no second channel.
"""

from __future__ import annotations

import triton
import triton.language as tl

TOKENS = tl.constexpr(64)  # of a program
OUTPUTS = tl.constexpr(64)  # components, or pairs of channels
DEPTH = tl.constexpr(16)  # of a step of the product
LARGEST = tl.constexpr(32767.0)
BAD = tl.constexpr(-32768)  # in place of a symbol that has none
ROUNDER = tl.constexpr(12582912.0)  # 1.5 * 2^23: adding it leaves no fraction, rounded to the nearest even
WARPS = 8


@triton.jit
def _angles(table, rows, turns, angles, live, none):
    """Cosines or sines (tokens, pairs); `none` for pairs that are not turned."""
    return tl.load(
        table + rows[:, None] * angles + turns[None, :], mask=live & (turns >= 0)[None, :], other=none
    )


@triton.jit
def analyse_kernel(
    samples, first_place, second_place, turns, cos, sin, first_mean, second_mean, first_matrix, second_matrix,
    bias, tokens, pairs, angles, count, stride, out, QUANTISE: tl.constexpr,
):  # fmt: skip
    """Components of tokens: turned back, less the mean, times the matrices (pairs, count), plus the bias (count,).

    Sample (token, pair) lies at ``first_place[pair] + token * stride`` elements from `samples`, that of the pair's
    second channel at ``second_place[pair]`` likewise. out (tokens, count): int16 symbols, or float32.
    """
    rows = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    columns = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    total = tl.zeros((TOKENS, OUTPUTS), tl.float32)
    for begin in range(0, pairs, DEPTH):
        pair = begin + tl.arange(0, DEPTH)
        inside = pair < pairs
        live = (rows < tokens)[:, None] & inside[None, :]
        turn = tl.load(turns + pair, mask=inside, other=-2)
        place = tl.load(first_place + pair, mask=inside, other=0)
        a = tl.load(samples + place[None, :] + rows[:, None] * stride, mask=live, other=0.0).to(tl.float32)
        place = tl.load(second_place + pair, mask=inside, other=0)
        both = live & (turn > -2)[None, :]
        b = tl.load(samples + place[None, :] + rows[:, None] * stride, mask=both, other=0.0).to(tl.float32)
        c = _angles(cos, rows, turn, angles, live, 1.0)
        s = _angles(sin, rows, turn, angles, live, 0.0)
        first = a * c + b * s - tl.load(first_mean + pair, mask=inside, other=0.0)[None, :]
        second = b * c - a * s - tl.load(second_mean + pair, mask=inside, other=0.0)[None, :]
        where = pair[:, None] * count + columns[None, :]
        known = inside[:, None] & (columns < count)[None, :]
        matrix = tl.load(first_matrix + where, mask=known, other=0.0)
        total += tl.dot(first, matrix, input_precision="tf32x3")
        matrix = tl.load(second_matrix + where, mask=known, other=0.0)
        total += tl.dot(second, matrix, input_precision="tf32x3")
    total += tl.load(bias + columns, mask=columns < count, other=0.0)[None, :]
    to = out + rows[:, None] * count + columns[None, :]
    kept = (rows < tokens)[:, None] & (columns < count)[None, :]
    if QUANTISE:
        whole = (total + ROUNDER) - ROUNDER
        good = tl.abs(total) <= LARGEST  # false for what is no number
        tl.store(to, tl.where(good, whole, BAD).to(tl.int16), mask=kept)
    else:
        tl.store(to, total, mask=kept)


@triton.jit
def synthesise_kernel(
    values, first_matrix, second_matrix, first_bias, second_bias, first_place, second_place, turns, cos, sin,
    tokens, count, pairs, angles, stride, samples, LIMIT: tl.constexpr,
):  # fmt: skip
    """Samples of components: times the matrices (count, pairs), plus the biases (pairs,), turned.

    values (tokens, count): symbols or floats. Places are as of `analyse_kernel`. LIMIT is the largest number that
    samples can hold, or 0.
    """
    rows = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    pair = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    inside = pair < pairs
    first = tl.zeros((TOKENS, OUTPUTS), tl.float32)
    second = tl.zeros((TOKENS, OUTPUTS), tl.float32)
    for begin in range(0, count, DEPTH):
        component = begin + tl.arange(0, DEPTH)
        known = component < count
        x = tl.load(
            values + rows[:, None] * count + component[None, :],
            mask=(rows < tokens)[:, None] & known[None, :],
            other=0,
        ).to(tl.float32)
        where = component[:, None] * pairs + pair[None, :]
        mask = known[:, None] & inside[None, :]
        first += tl.dot(x, tl.load(first_matrix + where, mask=mask, other=0.0), input_precision="tf32x3")
        second += tl.dot(x, tl.load(second_matrix + where, mask=mask, other=0.0), input_precision="tf32x3")
    first += tl.load(first_bias + pair, mask=inside, other=0.0)[None, :]
    second += tl.load(second_bias + pair, mask=inside, other=0.0)[None, :]
    live = (rows < tokens)[:, None] & inside[None, :]
    turn = tl.load(turns + pair, mask=inside, other=-2)
    c = _angles(cos, rows, turn, angles, live, 1.0)
    s = _angles(sin, rows, turn, angles, live, 0.0)
    a = first * c - second * s
    b = second * c + first * s
    if LIMIT:
        limit = LIMIT * 1.0
        a = tl.minimum(tl.maximum(a, -limit), limit)
        b = tl.minimum(tl.maximum(b, -limit), limit)
    place = tl.load(first_place + pair, mask=inside, other=0)
    kind = samples.dtype.element_ty
    tl.store(samples + place[None, :] + rows[:, None] * stride, a.to(kind), mask=live)
    place = tl.load(second_place + pair, mask=inside, other=0)
    tl.store(samples + place[None, :] + rows[:, None] * stride, b.to(kind), mask=live & (turn > -2)[None, :])
