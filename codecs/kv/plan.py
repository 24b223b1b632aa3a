"""What a file is coded with: the transform of each group, and what was estimated from the cache itself.

Payload of the chunk TABLES, for each group its keys, then its values: a byte, and by it

0. nothing: components as in the calibration;
1. corrections: numbers (whole tables, added to the scales), numbers (shifts in halves of a step);
3. the same, then numbers (of each channel in the weighted domain, added to the mean, in sixteenths of a step);
4. the same as 3, then factors (`siglum.codecs.kv.factors`): u8 how many, a byte for each, the table of its symbols, a
   byte for each, the table of its loads, numbers (differences of the steps of loads, in units), varint bytes, a frame
   of the loads, factor by factor;
2. a transform: varint rank, numbers (scales, in whole tables), numbers (the mean in the weighted domain, in quarters of
   a step), u8 (0 or 1: weights follow), numbers (logarithms of the weight of each head), varint bytes, the basis.

Numbers are the byte of a table, the varint of their size, and a frame of `siglum.entropy.rans.compress`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from siglum.codecs.container_source import Source, append_varint
from siglum.codecs.kv import factors
from siglum.codecs.kv.calibration import Calibration
from siglum.codecs.kv.coding import WEAKEST, Components, Integers
from siglum.codecs.kv.factors import Factored, Factors
from siglum.codecs.kv.layout import KEYS, VALUES, Layout
from siglum.codecs.kv.packing import (
    check_rank,
    pack_basis,
    pack_numbers,
    rans_count,
    unpack_basis,
    unpack_numbers,
)
from siglum.codecs.kv.scales import MAX_UNITS, UNITS_A_TABLE, step_units, table_of, units_of, value_of
from siglum.codecs.kv.transform import Transform
from siglum.errors import MalformedHeader

AS_CALIBRATED, CORRECTED, ESTIMATED, CENTRED, FACTORED = 0, 1, 2, 3, 4
REACH = 34  # tables below the weakest that is coded
MOST_CHANGE = 64  # of a scale, in tables
MOST_RESIDUE = 2**15  # of a mean, in sixteenths of a step
LOCAL_FINENESS = -474  # of bases that travel with the cache: 0.05 of a step
MAX_WEIGHT = 300  # of a head, in whole tables

Plan = Mapping[tuple[int, int], Components]


def as_calibrated(calibration: Calibration, group: int, which: int, level: int) -> Components:
    """Components without corrections, made once for the quality that was used last: short files have no others."""
    kept = calibration.prepared
    if (group, which, level) not in kept:
        for old in [key for key in kept if key[2] != level]:
            kept.pop(old, None)
        transform = calibration.transforms[group, which]
        kept[group, which, level] = Components(transform, level, transform.scale)
    found: Components = kept[group, which, level]
    return found


def pack(plan: Plan, layout: Layout, calibrated: bool) -> bytes:
    """The payload of the chunk TABLES."""
    out = bytearray()
    for group, which in ((g, w) for g in range(len(layout.groups)) for w in (KEYS, VALUES)):
        part = plan[group, which]
        if not calibrated:
            _pack_transform(out, part, layout.kind(group).value_dim if which else layout.kind(group).key_dim)
        elif part.shift is None:
            out.append(AS_CALIBRATED)
        else:
            factored = part.transform if isinstance(part.transform, Factored) else None
            plain = part.transform if factored is None else factored.plain
            skipped = 0 if factored is None else factored.factors.count
            out.append(CORRECTED if part.residue is None else CENTRED if factored is None else FACTORED)
            reach = reach_of(part)
            pack_numbers(out, (part.scale[skipped:] - plain.scale)[:reach] // UNITS_A_TABLE)
            pack_numbers(out, part.shift[skipped:][:reach])
            if part.residue is not None:
                pack_numbers(out, part.residue)
            if factored is not None:
                factors.pack(out, factored.factors)
    return bytes(out)


def unpack(data: bytes, layout: Layout, level: int, calibration: Calibration | None) -> Plan:
    """The inverse of `pack`.

    Raises
    ------
    BitstreamError
        If the data are damaged.
    """
    source, plan = Source(data), {}
    for group in range(len(layout.groups)):
        for which in (KEYS, VALUES):
            kind = source.read(1, "a kind of tables")[0]
            if kind == ESTIMATED and calibration is None:
                plan[group, which] = _unpack_transform(source, layout, group, which, level)
            elif kind in (AS_CALIBRATED, CORRECTED, CENTRED, FACTORED) and calibration is not None:
                plain = as_calibrated(calibration, group, which, level)
                plan[group, which] = (
                    plain if kind == AS_CALIBRATED else _unpack_corrections(source, plain, kind)
                )
            else:
                raise MalformedHeader(f"tables of kind {kind} do not fit the file's header: it is damaged")
    if not source.at_end():
        raise MalformedHeader("bytes follow the tables: the file is damaged")
    return plan


def with_factors(
    part: Components, scale: Integers, shift: Integers, residue: Integers | None, found: Factors | None
) -> Components:
    """Components after what a file says of them, and its factors before them."""
    if found is None:
        return Components(part.transform, part.level, scale, shift, residue)
    step = step_units(part.level)
    usual = factors.deviations(part.scale[: found.numbers.shape[1]], step)
    scales = np.concatenate([found.scale(step), scale])
    made = Factored(part.transform, found, found.loads(part.scale, step), usual, scales)
    shifts = np.concatenate([np.zeros(found.count, np.int32), shift])
    return Components(made, part.level, scales, shifts, residue)


def reach_of(part: Components) -> int:
    """How many components can have corrections: in another domain weak ones may be strong."""
    made = part.transform.plain if isinstance(part.transform, Factored) else part.transform
    tables = table_of(made.scale, step_units(part.level))
    return int(np.count_nonzero(tables >= WEAKEST - REACH))


def _unpack_corrections(source: Source, part: Components, kind: int) -> Components:
    scale, shift = part.scale.copy(), np.zeros(part.transform.rank, np.int32)
    reach = reach_of(part)
    change = np.clip(unpack_numbers(source, reach), -MOST_CHANGE, MOST_CHANGE)
    scale[:reach] += change * UNITS_A_TABLE
    shift[:reach] = unpack_numbers(source, reach)
    residue = None
    if kind != CORRECTED:
        residue = np.clip(unpack_numbers(source, len(part.transform.mean)), -MOST_RESIDUE, MOST_RESIDUE)
    found = factors.unpack(source, reach) if kind == FACTORED else None
    return with_factors(part, scale, shift, residue, found)


def _pack_transform(out: bytearray, part: Components, dim: int) -> None:
    made, step = part.transform, step_units(part.level)
    assert made.weight is not None
    out.append(ESTIMATED)
    append_varint(out, made.rank)
    pack_numbers(out, np.diff(made.scale // UNITS_A_TABLE, prepend=np.int32(0)))
    pack_numbers(out, np.rint(made.mean * made.weight / (value_of(step) / 4)))
    # Heads have one weight each, which repeats over their channels.
    pack_numbers(out, np.rint(units_of(made.weight) / UNITS_A_TABLE).astype(np.int32)[::dim])
    basis = pack_basis(made.basis, made.scale, step + LOCAL_FINENESS)
    append_varint(out, len(basis))
    out += basis


def _unpack_transform(source: Source, layout: Layout, group: int, which: int, level: int) -> Components:
    step, kind, width = step_units(level), layout.kind(group), layout.width(group, which)
    dim = kind.value_dim if which else kind.key_dim
    rank = source.read_varint("the number of components")
    check_rank(rank, width)
    scale = np.cumsum(unpack_numbers(source, rank), dtype=np.int64) * UNITS_A_TABLE
    mean = unpack_numbers(source, width) * (value_of(step) / 4)
    weights = np.clip(unpack_numbers(source, width // dim), -MAX_WEIGHT, MAX_WEIGHT)
    if np.abs(scale).max(initial=0) > MAX_UNITS:
        raise MalformedHeader("a scale is out of range: the file is damaged")
    weight = np.repeat(value_of(weights * UNITS_A_TABLE), dim).astype(np.float32)
    size = source.read_varint("the size of a basis")
    data = source.read(size, "a basis")
    if rans_count(data) != rank * width:
        raise MalformedHeader("a basis has another size than is due: the file is damaged")
    exact = scale.astype(np.int32)
    basis = unpack_basis(data, exact, width, step + LOCAL_FINENESS)
    made = Transform((mean / weight).astype(np.float32), basis, exact, weight)
    return Components(made, level, exact)
