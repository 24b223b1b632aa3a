"""Triton kernels of the rANS coder: one program, that is one warp of 32 lanes, codes one chunk.

The payload is described in `siglum.entropy.rans`. All integers of the states are uint32; places in a buffer are
int64, places within a chunk int32. No kernel trusts a payload: every load is masked to the chunk's bounds,
every loop is as long as the caller's count, and what was wrong is a number in ``status``:
0 sound, 1 truncated, 2 malformed, 3 corrupt, 4 an index names no table.

As the format does, a warp's lanes take consecutive words in increasing order: a lane's word is the running
total plus the number of lanes before it that need one (Giesen, arXiv 1402.3392), a prefix sum over the warp.
"""

from __future__ import annotations

import triton
import triton.language as tl

TRUNCATED = tl.constexpr(1)
MALFORMED = tl.constexpr(2)
CORRUPT = tl.constexpr(3)
NO_TABLE = tl.constexpr(4)
ESCAPED = tl.constexpr(-(2**31))  # stands in the output until the side stream is read
LOWEST = tl.constexpr(1 << 15)
WARP = tl.constexpr(32)


@triton.jit
def _open(data, begin, size, lane):
    """Read a payload's head: status, whether it is empty, lanes, states, place and number of words, side bytes."""
    head = tl.load(data + begin, mask=size > 0, other=0).to(tl.int64)
    status = tl.where(size == 0, TRUNCATED, tl.where((head & 7) > 5, MALFORMED, 0)).to(tl.int32)
    empty = (size == 1) & (head == 0)
    lanes = (1 << tl.minimum(head & 7, 5)).to(tl.int32)

    j = tl.arange(0, 16)
    number = tl.load(data + begin + 1 + j, mask=(j < 9) & (1 + j < size), other=128).to(tl.int64)
    end = tl.min(tl.where(number < 128, j, 16), 0)  # of the varint; a byte beyond the chunk counts as unended
    side = tl.sum(tl.where((j <= end) & (j < 9), (number & 127) << (7 * j).to(tl.int64), 0), 0)
    final = tl.sum(tl.where(j == end, number, 0), 0)
    aside = (head & 8) != 0
    wrong = tl.where(end < 16, tl.where(final == 0, MALFORMED, 0), tl.where(size > 9, MALFORMED, TRUNCATED))
    status = tl.where((status == 0) & aside, wrong, status).to(tl.int32)
    side = tl.where(aside, side, 0)
    position = tl.where(aside, tl.minimum(end, 9) + 2, 1).to(tl.int64)

    live = lane < lanes
    nibble = position + (4 * (lane - 1) >> 3)
    pair = tl.load(data + begin + nibble, mask=live & (lane > 0) & (nibble < size), other=0).to(tl.int64)
    exponent = tl.where(lane == 0, head >> 4, pair >> (4 * (lane - 1) & 7) & 15)
    width = tl.where(live, 15 + exponent, 0)
    bit = 4 * (lanes - 1) + tl.cumsum(width, 0) - width
    bits = 4 * (lanes - 1) + tl.sum(width, 0)
    stop = position + (bits + 7 >> 3)
    status = tl.where((status == 0) & ((stop > size) | (size - stop < side)), TRUNCATED, status).to(tl.int32)
    place = position + (bit >> 3)
    packed = tl.zeros_like(bit)
    for k in tl.static_range(5):
        byte = tl.load(data + begin + place + k, mask=live & (place + k < size), other=0)
        packed |= byte.to(tl.int64) << (8 * k)
    one = tl.full([WARP], 1, tl.int64) << width
    states = one | ((packed >> (bit & 7)) & (one - 1))
    final = tl.load(data + begin + stop - 1, mask=stop <= size, other=0).to(tl.int64)
    malformed = (final >> (bits - 8 * (stop - position - 1)) != 0) | (((size - stop - side) & 1) != 0)
    status = tl.where((status == 0) & malformed, MALFORMED, status).to(tl.int32)
    status = tl.where(empty, 0, status).to(tl.int32)
    words = tl.where(status == 0, (size - stop - side) >> 1, 0).to(tl.int32)
    return status, empty, lanes, states.to(tl.uint32), begin + stop, words, side


@triton.jit
def decode_kernel(
    data,
    starts,
    lookup,
    offsets,
    indexes,
    index,
    tables,
    chunk,
    total,
    out,
    report,
    PRECISION: tl.constexpr,
    INDEXED: tl.constexpr,
    CLOSED: tl.constexpr,
):
    """Decode the payload ``data[starts[c]:starts[c + 1]]`` to ``out[c * chunk:]``; escapes stay `ESCAPED`.

    ``report[c]`` is (status, escapes, bytes of the side stream).
    """
    program = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, WARP)
    begin = tl.load(starts + program)
    size = tl.load(starts + program + 1) - begin
    first = program * chunk
    count = tl.minimum(total - first, chunk).to(tl.int32)
    status, empty, lanes, x, place, words, side = _open(data, begin, size, lane)
    status = tl.where(empty & (count > 0), TRUNCATED, status).to(tl.int32)
    count = tl.where(status == 0, count, 0)

    position = tl.full([], 0, tl.int32)
    escapes = tl.zeros([WARP], tl.int32)
    strays = tl.zeros([WARP], tl.int32)
    if not INDEXED:
        offset = tl.load(offsets + index)
    for row in range(tl.cdiv(count, lanes)):
        i = row * lanes + lane
        live = (lane < lanes) & (i < count)
        slot = (x & ((1 << PRECISION) - 1)).to(tl.int32)
        if INDEXED:
            which = tl.load(indexes + first + i, mask=live, other=0).to(tl.int32)
            stray = (which < 0) | (which >= tables)
            strays |= stray.to(tl.int32)
            which = tl.where(stray, 0, which)
            offset = tl.load(offsets + which)
            entry = tl.load(lookup + (which << PRECISION) + slot).to(tl.uint32, bitcast=True)
        else:
            entry = tl.load(lookup + (index << PRECISION) + slot).to(tl.uint32, bitcast=True)
        y = ((entry >> 8) & 0xFFF) * (x >> PRECISION) + (entry >> 20)
        need = live & (y < LOWEST)
        due = need.to(tl.int32)
        before = tl.cumsum(due, 0) - due
        word = position + before
        inside = need & (word < words)
        at = data + place + 2 * word.to(tl.int64)
        low = tl.load(at, mask=inside, other=0).to(tl.uint32)
        high = tl.load(at + 1, mask=inside, other=0).to(tl.uint32)
        position += tl.sum(due, 0)
        y = tl.where(need, (y << 16) | (high << 8) | low, y)
        x = tl.where(live, y, x)
        number = (entry & 0xFF).to(tl.int32)
        symbol = offset + number
        if not CLOSED:
            escape = live & (number == 255)
            escapes += escape.to(tl.int32)
            symbol = tl.where(escape, ESCAPED, symbol)
        tl.store(out + first + i, symbol.to(out.dtype.element_ty), mask=live)

    escaped = tl.sum(escapes, 0)
    back = tl.sum(((lane < lanes) & (x != LOWEST)).to(tl.int32), 0) == 0
    ended = back & (position == words) & ((escaped > 0) | (side == 0))
    failed = tl.where(position > words, TRUNCATED, tl.where(ended | empty, 0, CORRUPT))
    status = tl.where(status == 0, failed, status)
    status = tl.where(tl.max(strays, 0) > 0, NO_TABLE, status)
    tl.store(report + 3 * program, status.to(tl.int64))
    tl.store(report + 3 * program + 1, escaped.to(tl.int64))
    tl.store(report + 3 * program + 2, side)


@triton.jit
def _peek(data, begin, size, bit):
    """At least 57 bits of a side stream, zeros after its end."""
    j = tl.arange(0, 8)
    place = (bit >> 3) + j
    each = tl.load(data + begin + place, mask=place < size, other=0).to(tl.uint64) << (8 * j).to(tl.uint64)
    return tl.sum(each, 0) >> (bit & 7).to(tl.uint64)


@triton.jit
def escape_kernel(
    data,
    starts,
    side_sizes,
    places,
    place_starts,
    offsets,
    lasts,
    orders,
    indexes,
    index,
    out,
    status,
    INDEXED: tl.constexpr,
):
    """Read the side stream of a chunk, one escape after the other, to ``out[places[...]]``."""
    program = tl.program_id(0)
    size = tl.load(side_sizes + program)
    begin = tl.load(starts + program + 1) - size
    bit = tl.full([], 0, tl.int64)
    wrong = tl.full([], 0, tl.int32)
    j = tl.arange(0, 64)
    for k in range(tl.load(place_starts + program), tl.load(place_starts + program + 1)):
        place = tl.load(places + k)
        if INDEXED:
            which = tl.load(indexes + place).to(tl.int32)
        else:
            which = index
        offset = tl.load(offsets + which).to(tl.int64)
        last = tl.load(lasts + which).to(tl.int64)
        order = tl.load(orders + which).to(tl.int64)
        ahead = _peek(data, begin, size, bit)
        ones = ((ahead >> j.to(tl.uint64)) & 1) != 0
        length = tl.min(tl.where(ones & (j < 33), j, 33), 0).to(tl.int64)
        endless = length + order > 32
        bit += length + 1
        rest = _peek(data, begin, size, bit).to(tl.int64)
        length = tl.where(endless, 0, length)
        one = tl.full([], 1, tl.int64)
        upper = ((one << length) | (rest & ((one << length) - 1))) - 1
        folded = (upper << order) | ((rest >> length) & ((one << order) - 1))
        bit += tl.where(endless, 0, length + order)
        steps = folded >> 1
        symbol = tl.where((folded & 1) != 0, offset - 1 - steps, offset + last + steps)
        outside = (folded >> 32 != 0) | (symbol < -2147483648) | (symbol > 2147483647)
        now = tl.where(bit > 8 * size, TRUNCATED, tl.where(endless | outside, CORRUPT, 0))
        wrong = tl.where(wrong == 0, now, wrong).to(tl.int32)
        tl.store(out + place, symbol.to(tl.int32))
    left = 8 * size - bit
    ended = (left >= 0) & (left < 8) & (_peek(data, begin, size, bit) == 0)
    wrong = tl.where((wrong == 0) & (ended == 0), CORRUPT, wrong)
    tl.store(status + program, wrong.to(tl.int64))


@triton.jit
def encode_kernel(
    symbols,
    indexes,
    index,
    entries,
    entry_starts,
    offsets,
    lasts,
    tables,
    chunk,
    total,
    lanes,
    scratch,
    states,
    report,
    PRECISION: tl.constexpr,
    INDEXED: tl.constexpr,
    CLOSED: tl.constexpr,
):
    """Code ``symbols[c * chunk:]`` backwards; the words end up at the end of chunk c's part of ``scratch``.

    ``report[c]`` is (status, escapes, words).
    """
    program = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, WARP)
    first = program * chunk
    count = tl.minimum(total - first, chunk).to(tl.int32)
    x = tl.full([WARP], LOWEST, tl.uint32)
    position = count
    escapes = tl.zeros([WARP], tl.int32)
    strays = tl.zeros([WARP], tl.int32)
    if not INDEXED:
        offset = tl.load(offsets + index)
        last = tl.load(lasts + index)
        start = tl.load(entry_starts + index)
    rows = tl.cdiv(count, lanes)
    for back in range(rows):
        i = (rows - 1 - back) * lanes + lane
        live = (lane < lanes) & (i < count)
        symbol = tl.load(symbols + first + i, mask=live, other=0).to(tl.int64)
        if INDEXED:
            which = tl.load(indexes + first + i, mask=live, other=0).to(tl.int32)
            stray = (which < 0) | (which >= tables)
            strays |= stray.to(tl.int32)
            which = tl.where(stray, 0, which)
            offset = tl.load(offsets + which)
            last = tl.load(lasts + which)
            start = tl.load(entry_starts + which)
        number = symbol - offset
        if CLOSED:
            escape = (number < 0) | (number > last)
        else:
            escape = (number < 0) | (number >= last)
        escapes += (escape & live).to(tl.int32)
        number = tl.where(escape, last, number).to(tl.int32)
        entry = tl.load(entries + start + number).to(tl.uint64, bitcast=True)
        reciprocal = (entry >> 32).to(tl.uint32)
        packed = entry.to(tl.uint32)
        frequency = packed & 0xFFF
        due = live & (x >= (frequency << (31 - PRECISION)))
        ones = due.to(tl.int32)
        position -= tl.sum(ones, 0)
        word = position + tl.cumsum(ones, 0) - ones
        tl.store(scratch + first + word, (x & 0xFFFF).to(scratch.dtype.element_ty), mask=due)
        y = tl.where(due, x >> 16, x)
        quotient = tl.umulhi(y, reciprocal) >> (packed >> 26)
        y = y + ((packed >> 12) & 0x3FFF) + quotient * ((1 << PRECISION) - frequency)
        x = tl.where(live, y, x)

    tl.store(states + program * WARP + lane, x.to(tl.int64))
    status = tl.where(tl.max(strays, 0) > 0, NO_TABLE, 0)
    tl.store(report + 3 * program, status.to(tl.int64))
    tl.store(report + 3 * program + 1, tl.sum(escapes, 0).to(tl.int64))
    tl.store(report + 3 * program + 2, (count - position).to(tl.int64))


@triton.jit
def gather_kernel(
    heads, head_sizes, HEAD: tl.constexpr, words, word_ends, word_sizes, sides, side_starts, out, out_starts,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Write a block of bytes of a payload: its head, its words (the end of its scratch), its side stream."""
    program = tl.program_id(0).to(tl.int64)
    begin = tl.load(out_starts + program)
    size = tl.load(out_starts + program + 1) - begin
    head = tl.load(head_sizes + program)
    length = tl.load(word_sizes + program)
    j = tl.program_id(1).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    word = j - head
    side = word - length
    value = tl.load(heads + program * HEAD + j, mask=j < head, other=0)
    inside = (word >= 0) & (side < 0)
    value |= tl.load(words + tl.load(word_ends + program) - length + word, mask=inside, other=0)
    value |= tl.load(sides + tl.load(side_starts + program) + side, mask=(side >= 0) & (j < size), other=0)
    tl.store(out + begin + j, value, mask=j < size)
