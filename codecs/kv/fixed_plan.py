"""What a file of a fixed rate is coded with: the bytes of a token, the transforms, and the level that suits them."""

from __future__ import annotations

from collections.abc import Mapping

from siglum.codecs.container import Header
from siglum.codecs.kv import plan, planning
from siglum.codecs.kv.blocks import FIXED, TRANSFORM
from siglum.codecs.kv.calibration import Calibration
from siglum.codecs.kv.coding import Components
from siglum.codecs.kv.fixed import FixedPart, allot, level_for, size_for
from siglum.codecs.kv.layout import FIXED_KEY, KEYS, VALUES, Layout
from siglum.codecs.kv.sample import Sample
from siglum.codecs.kv.settings import MAX_LEVEL
from siglum.errors import MalformedHeader

__all__ = ["FIXED_KEY", "AnyPlan", "FixedPart", "allot", "check_method", "plan_for", "restored", "size_of"]

FIRST_LEVEL, LEVELS_A_BIT = 63, 31  # a guess where scales are not known before the level is
MOST = 8  # bits an element

AnyPlan = Mapping[tuple[int, int], Components | FixedPart]


def size_of(layout: Layout, bits: float) -> int:
    """Bytes of a token of a layout at a rate.

    Raises
    ------
    UsageError
        If the rate is too low.
    """
    return size_for(bits, layout.token_elements, 2 * len(layout.groups))


def plan_for(
    layout: Layout, bits: float, calibration: Calibration | None, sample: Sample
) -> tuple[int, plan.Plan]:
    """The level and the components of a cache at a rate, of which there is a sample."""
    size = size_of(layout, bits)
    if calibration is not None:
        keys = [(group, which) for group in range(len(layout.groups)) for which in (KEYS, VALUES)]
        level = level_for([calibration.transforms[key].scale for key in keys], size)
    else:
        guess = min(int(FIRST_LEVEL + LEVELS_A_BIT * bits), MAX_LEVEL)
        first = planning.plan_of(layout, guess, None, sample)
        level = level_for([part.scale for part in first.values()], size)
    return level, planning.plan_of(layout, level, calibration, sample, centred=False)


def restored(found: plan.Plan, header: Header) -> AnyPlan:
    """The plan of a file that is read: at a fixed rate if its header says so.

    Raises
    ------
    MalformedHeader
        If the header says what cannot be.
    """
    size = header.extra.get(FIXED_KEY)
    if size is None:
        return found
    elements = sum(len(part.transform.mean) for part in found.values())
    if not isinstance(size, int) or size > elements * MOST // 8:
        raise MalformedHeader(f"a token of {elements} numbers has no {size!r} bytes: the file is damaged")
    return allot(found, size)


def check_method(method: int, header: Header) -> None:
    """Refuse a block that is coded as others of its file are not.

    Raises
    ------
    MalformedHeader
        If it is.
    """
    if method in (TRANSFORM, FIXED) and (method == FIXED) != (FIXED_KEY in header.extra):
        raise MalformedHeader("a block is coded as others of the file are not: it is damaged")
