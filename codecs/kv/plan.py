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
from numpy.typing import NDArray

from siglum.codecs.container_source import Source, append_varint
from siglum.codecs.kv import factors
from siglum.codecs.kv.calibration import Calibration
from siglum.codecs.kv.coding import RESIDUES_A_STEP, WEAKEST, Analyser, Components, Floats, Integers
from siglum.codecs.kv.fit import fit_transform
from siglum.codecs.kv.layout import BLOCK, KEYS, VALUES, Layout
from siglum.codecs.kv.packing import (
    check_rank,
    pack_basis,
    pack_numbers,
    rans_count,
    unpack_basis,
    unpack_numbers,
)
from siglum.codecs.kv.factors import Factored, Factors
from siglum.codecs.kv.sample import MANY, MOST, Sample
from siglum.codecs.kv.scales import MAX_UNITS, UNITS_A_TABLE, step_units, table_of, units_of, value_of
from siglum.codecs.kv.transform import Transform
from siglum.errors import MalformedHeader
from siglum.kernels import dispatch

AS_CALIBRATED, CORRECTED, ESTIMATED, CENTRED, FACTORED = 0, 1, 2, 3, 4
FEWEST = 256  # tokens from which statistics of a cache are worth their bytes
FEWEST_FACTORED = 512  # tokens from which factors may be
REACH = 34  # tables below the weakest that is coded
MOST_CHANGE = 64  # of a scale, in tables
MOST_RESIDUE = 2**15  # of a mean, in sixteenths of a step
LOCAL_FINENESS = -474  # of bases that travel with the cache: 0.05 of a step
LOCAL_FLOOR = -160  # below the step, in units: components that would hardly ever be anything but zero
MAX_WEIGHT = 300  # of a head, in whole tables
LOCAL_WEIGHT = -18  # in whole tables: qualities then mean about what they do with a calibration
RELATIVE = 0.5  # how far heads are brought to equal strength where nothing is known of what looks at them

Plan = Mapping[tuple[int, int], Components]


def plan_of(
    layout: Layout,
    level: int,
    calibration: Calibration | None,
    sample: Sample,
    centred: bool = True,
    factored: bool = False,
) -> Plan:
    """Decide what the cache that `sample` is taken from is coded with.

    Parameters
    ----------
    centred
        Whether what coding by the step leaves of the cache's mean is sent.
    factored
        Whether factors are looked for, too.
    """
    factored = factored and sample.tokens >= FEWEST_FACTORED
    plan, tokens = {}, sample.tokens
    for group in range(len(layout.groups)):
        for which in (KEYS, VALUES):
            if calibration is None:
                plan[group, which] = _estimated(
                    layout, group, which, level, tokens, sample.rows(group, which)
                )
            else:
                plain = as_calibrated(calibration, group, which, level)
                plan[group, which] = (
                    _corrected(plain, layout, group, which, sample, centred, factored)
                    if tokens >= FEWEST
                    else plain
                )
    return plan


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
            made, skipped = part.transform, 0
            if isinstance(made, Factored):
                made, skipped = made.plain, made.factors.count
            kind = FACTORED if skipped else CORRECTED if part.residue is None else CENTRED
            out.append(kind)
            reach = reach_of(part)
            pack_numbers(out, (part.scale[skipped:] - made.scale)[:reach] // UNITS_A_TABLE)
            pack_numbers(out, part.shift[skipped:][:reach])
            if part.residue is not None:
                pack_numbers(out, part.residue)
            if isinstance(part.transform, Factored):
                factors.pack(out, part.transform.factors)
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


def _corrected(
    part: Components, layout: Layout, group: int, which: int, sample: Sample, centred: bool, factored: bool
) -> Components:
    """Means and scales as this cache has them; what the calibration says is kept where they hardly differ."""
    made, step = part.transform, step_units(part.level)
    reach = reach_of(part)
    if not reach:
        return part
    kind = layout.kind(group)
    dim = kind.value_dim if which else kind.key_dim
    key = (dispatch.isa(), "reach", dim)
    if key not in part.prepared:
        part.prepared[key] = Analyser(
            made, dim, part.step, np.arange(reach), np.zeros(reach, np.float32), may_round=True
        )
    most = MANY if factored else MOST
    values = sample.components(group, which, part.prepared[key], most)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    shift, scale = np.zeros(made.rank, np.int32), part.scale.copy()
    moved = np.where(np.abs(mean) > 0.15 * deviation + 0.05, np.rint(2 * mean), 0)
    shift[:reach] = np.clip(moved, -(2**24), 2**24)
    half = (moved / 2).astype(np.float32)
    values -= half
    found = None
    if factored:
        usual = factors.deviations(part.scale[:reach], step)
        found = factors.fit(values, usual, sample.tokens)
    if found is not None:
        loads = found.loads(part.scale, step)
        predicted = np.rint(values @ factors.estimator(loads, usual)) @ loads
        values -= predicted
    spread = np.sqrt(np.mean(np.square(values), axis=0))
    found_units = units_of(np.maximum(spread, 1e-3)) + step
    change = np.clip(np.rint((found_units - scale[:reach]) / UNITS_A_TABLE), -MOST_CHANGE, MOST_CHANGE)
    change = change.astype(np.int32)
    # What is not coded either way needs no correction.
    idle = table_of(np.maximum(scale[:reach], scale[:reach] + change * UNITS_A_TABLE), step) < WEAKEST
    scale[:reach] += np.where(idle, 0, change) * UNITS_A_TABLE
    shift[:reach][idle] = 0
    if not centred:
        return Components(made, part.level, scale, shift)
    coded = table_of(scale[:reach], step) >= WEAKEST
    taken = (shift[:reach] / 2).astype(np.float32)
    values += half - taken
    decoded = (np.rint(values) + taken) * coded
    if found is not None:
        decoded += predicted
    places = sample.places(group, MOST, most)
    residue = _residue(part, sample.rows(group, which, MOST, most), decoded[places])
    centre = residue if residue.any() or found is not None else None
    return _with_factors(part, scale, shift, centre, found)


def _with_factors(
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


def _residue(part: Components, rows: Floats, decoded: Floats) -> NDArray[np.int32]:
    """What coding leaves of a cache's mean (width,), in sixteenths of a step, as far as a sample tells it.

    Parameters
    ----------
    rows
        Tokens (n, width).
    decoded
        Their first components (n, count) as they will be decoded, in steps.
    """
    made, whole = part.transform, len(rows) // BLOCK * BLOCK

    def spans(numbers: Floats) -> Floats:
        return numbers[:whole].reshape(-1, BLOCK, numbers.shape[1]).mean(axis=1)

    back = (spans(decoded) * np.float32(part.step)) @ made.synthesis[: decoded.shape[1]]
    left = made.weighted(spans(rows) - made.mean - back) / part.step
    mean = left.mean(axis=0)
    doubt = left.var(axis=0, ddof=1) / len(left)
    kept = np.maximum(1 - doubt / np.maximum(np.square(mean), 1e-12), 0)  # as James and Stein shrink
    found: NDArray[np.int32] = np.clip(
        np.rint(RESIDUES_A_STEP * kept * mean), -MOST_RESIDUE, MOST_RESIDUE
    ).astype(np.int32)
    return found


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
    return _with_factors(part, scale, shift, residue, found)


def _estimated(layout: Layout, group: int, which: int, level: int, tokens: int, rows: Floats) -> Components:
    """The transform of a cache whose model is not known."""
    step = step_units(level)
    kind = layout.kind(group)
    dim = kind.value_dim if which else kind.key_dim
    heads = rows.shape[1] // dim
    exact = rows.astype(np.float64)
    mean = exact.mean(axis=0)
    centred = exact - mean
    strength = units_of(np.sqrt(np.square(centred).mean(axis=0).reshape(heads, dim).mean(axis=1)) + 1e-9)
    weights = LOCAL_WEIGHT - (strength * RELATIVE / UNITS_A_TABLE).round().astype(np.int32)
    weight = np.repeat(value_of(weights * UNITS_A_TABLE), dim).astype(np.float32)
    unit = value_of(step) / 4
    mean = np.rint(mean * weight / unit) * unit / weight
    covariance = centred.T @ centred / max(len(rows), 1)
    if tokens < FEWEST:  # no basis is worth its bytes: channels as they are
        covariance = np.diag(np.diag(covariance))
    made = fit_transform(
        mean,
        covariance,
        weight,
        floor=step + LOCAL_FLOOR,
        fineness=step + LOCAL_FINENESS,
        shrinkage=0.0,
        whole=True,
    )
    return Components(made, level, made.scale)


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
