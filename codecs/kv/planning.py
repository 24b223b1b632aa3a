"""Deciding what a cache is coded with: corrections of a calibration, factors, or a transform of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv import factors
from siglum.codecs.kv.calibration import Calibration
from siglum.codecs.kv.coding import RESIDUES_A_STEP, WEAKEST, Analyser, Components, Floats
from siglum.codecs.kv.fit import fit_transform
from siglum.codecs.kv.layout import BLOCK, KEYS, VALUES, Layout
from siglum.codecs.kv.plan import (
    LOCAL_FINENESS,
    MOST_CHANGE,
    MOST_RESIDUE,
    Plan,
    as_calibrated,
    reach_of,
    with_factors,
)
from siglum.codecs.kv.sample import MANY, MOST, Sample
from siglum.codecs.kv.scales import UNITS_A_TABLE, step_units, table_of, units_of, value_of
from siglum.kernels import dispatch

FEWEST = 256  # tokens from which statistics of a cache are worth their bytes
FEWEST_FACTORED = 512  # tokens from which factors may be
LOCAL_FLOOR = -160  # below the step, in units: components that would hardly ever be anything but zero
LOCAL_WEIGHT = -18  # in whole tables: qualities then mean about what they do with a calibration
RELATIVE = 0.5  # how far heads are brought to equal strength where nothing is known of what looks at them


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
        Whether factors are looked for, too, if centred.
    """
    factored = factored and centred and sample.tokens >= FEWEST_FACTORED
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
    found = predicted = None
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
    places = sample.places(group, MOST, most)
    decoded = (np.rint(values[places] + (half - taken)) + taken) * coded
    if predicted is not None:
        decoded += predicted[places]
    residue = _residue(part, sample.rows(group, which, MOST, most), decoded)
    centre = residue if residue.any() or found is not None else None
    return with_factors(part, scale, shift, centre, found)


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
