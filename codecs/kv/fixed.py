"""The fixed-rate mode: bytes allotted to components by their strength, the same for every token of a file.

Components of a group are sorted by strength and taken eight at a time. Eight components, each in its own standard
deviations and those in the token's gain, are coded by zero to eight bytes: stages of a residual vector quantizer, the
same for all. A byte goes where it takes off the most squared error: reverse water-filling (Cover and Thomas, Elements
of Information Theory, 10.3.3) in whole bytes. Scales are integers, and so is all that decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.coding import MOST_ROUNDED_LEVEL, Analyser, Components, Floats
from siglum.codecs.kv.fixed_books import SIZE, STAGES, books, packed, worth
from siglum.codecs.kv.scales import (
    LOG_UNIT,
    STEP_OF_LEVEL_0,
    UNITS_A_LEVEL,
    UNITS_A_TABLE,
    value_of,
)
from siglum.codecs.kv.settings import MAX_LEVEL
from siglum.errors import MalformedHeader, UsageError
from siglum.kernels import nearest
from siglum.kernels.float_network import FloatNetwork, Pointwise

MIDDLE = 128  # the byte of a token whose gain is one
BEAMS = {
    4: 2,
    5: 4,
    6: 4,
    7: 8,
    8: 8,
    9: 16,
}  # partial solutions of the search by effort; below 4 there is one
SUSPECT = 1.5  # times the median of the tokens' errors: those above are tried with larger gains
LARGER_GAINS = (4, 8, 13, 20, 30)  # in tables: factors of 1.5 to 21
STEP_OF_WORTH = (
    171  # units: the step whose noise is that which the last byte to be given would have taken off
)

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class FixedPart:
    """What a group's keys or values are coded with at a fixed rate.

    Attributes
    ----------
    components
        Transform, and scales of this cache.
    stages
        (units,) bytes of each unit of eight components that has any, most first.
    """

    components: Components
    stages: NDArray[np.int64]

    @property
    def record(self) -> int:
        """Bytes of a token: its gain and its codes."""
        return 1 + int(self.stages.sum())

    @property
    def count(self) -> int:
        """Numbers that `analyse` gives for a token."""
        return len(self.stages) * SIZE

    @cached_property
    def chosen(self) -> NDArray[np.intp]:
        """Numbers of the components that are coded, strongest first; the last unit may have fewer than eight."""
        return order_of(self.components.scale)[: self.count]

    @cached_property
    def deviation(self) -> Floats:
        """(components,) standard deviations."""
        return value_of(self.components.scale[self.chosen]).astype(np.float32)

    @cached_property
    def analysis_matrix(self) -> tuple[Floats, Floats]:
        """(width, count) and (count,): a token less its mean, times the one, plus the other, is what is coded."""
        part, inner = self.components, len(self.chosen)
        matrix = np.zeros((len(part.transform.mean), self.count), np.float32)
        matrix[:, :inner] = part.transform.analysis[:, self.chosen] / self.deviation
        bias = np.zeros(self.count, np.float32)
        if part.shift is not None:
            bias[:inner] = part.shift[self.chosen] * np.float32(-part.step / 2) / self.deviation
        return matrix, bias

    @cached_property
    def synthesis_matrix(self) -> tuple[Floats, Floats]:
        """(count, width) and (width,): the inverse, as far as the components go, with the mean."""
        part, inner = self.components, len(self.chosen)
        matrix = np.zeros((self.count, len(part.transform.mean)), np.float32)
        rows = part.transform.synthesis[self.chosen]
        matrix[:inner] = rows * self.deviation[:, None]
        bias = part.centre
        if part.shift is not None:
            bias = bias + (part.shift[self.chosen] * np.float32(part.step / 2)) @ rows
        return matrix, bias.astype(np.float32)

    @cached_property
    def _analysis(self) -> FloatNetwork:
        return _product(*self.analysis_matrix, may_round=self.components.level <= MOST_ROUNDED_LEVEL)

    @cached_property
    def _synthesis(self) -> FloatNetwork:
        return _product(*self.synthesis_matrix, may_round=True)

    def analyser(self, dim: int) -> Analyser:
        """From samples of heads of `dim` channels to components, which `padded` takes."""
        part = self.components
        shift = (
            np.zeros(len(self.chosen)) if part.shift is None else part.shift[self.chosen] * (part.step / 2)
        )
        may_round = part.level <= MOST_ROUNDED_LEVEL
        return Analyser(part.transform, dim, 1.0, self.chosen, shift.astype(np.float32), may_round)

    def padded(self, components: Floats) -> Floats:
        """Components (n, components) in their deviations (n, count)."""
        out = np.zeros((len(components), self.count), np.float32)
        np.divide(components, self.deviation, out=out[:, : len(self.chosen)])
        return out

    def analyse(self, rows: Floats) -> Floats:
        """Tokens (n, width) to components in their deviations (n, count)."""
        if not self.count or not len(rows):
            return np.zeros((len(rows), self.count), np.float32)
        made: Floats = self._analysis((rows - self.components.transform.mean)[None])[0]
        return made

    def synthesise(self, values: Floats) -> Floats:
        """The inverse of `analyse`, as far as the components go."""
        if not self.count or not len(values):
            return np.repeat(self.synthesis_matrix[1][None], len(values), axis=0)
        made: Floats = self._synthesis(np.ascontiguousarray(values)[None])[0]
        return made

    def runs(self) -> list[tuple[int, int, int, int]]:
        """Units that have equally many stages: first, past the last, stages, place of their codes in a record."""
        found, place = [], 1
        for stages in range(STAGES, 0, -1):
            units = np.flatnonzero(self.stages == stages)
            if len(units):
                found.append((int(units[0]), int(units[-1]) + 1, stages, place))
                place += len(units) * stages
        return found

    def encode(self, values: Floats, effort: int) -> Bytes:
        """Records (tokens, record) of components in their deviations (tokens, count)."""
        gains = gains_of(values)
        out = self._coded(values, gains, effort)
        if not self.count or not len(values):
            return out
        # A component far beyond its deviation is out of reach of its codewords: a larger gain for the token brings it
        # back, where that makes the token's error smaller.
        error = self._error(out, values)
        for more in LARGER_GAINS:
            tokens = np.flatnonzero(error > SUSPECT * np.median(error))
            if not len(tokens):
                break
            raised = np.minimum(gains[tokens].astype(np.int32) + more, 255).astype(np.uint8)
            tried = self._coded(values[tokens], raised, effort)
            found = self._error(tried, values[tokens])
            better = found < error[tokens]
            out[tokens[better]], error[tokens[better]] = tried[better], found[better]
        return out

    def _error(self, records: Bytes, values: Floats) -> Floats:
        """(tokens,) squared errors in the weighted domain."""
        inner = len(self.chosen)
        left = (self.decode(records) - values)[:, :inner] * self.deviation
        made: Floats = np.square(left).sum(axis=1)
        return made

    def _coded(self, values: Floats, gain: Bytes, effort: int) -> Bytes:
        out = np.empty((len(values), self.record), np.uint8)
        out[:, 0] = gain
        scaled = values * (1 / gain_values(gain))[:, None]
        for first, stop, stages, place in self.runs():
            vectors = np.ascontiguousarray(scaled[:, first * SIZE : stop * SIZE]).reshape(-1, SIZE)
            chain = packed()[:stages]
            if stages > 1 and effort in BEAMS:
                codes = nearest.beam(vectors, chain, BEAMS[effort], threads=1)
            else:
                codes = nearest.residual(vectors, chain, threads=1)
            out[:, place : place + (stop - first) * stages] = codes.reshape(len(values), -1)
        return out

    def decode(self, records: Bytes) -> Floats:
        """Components in their deviations (tokens, count) of records (tokens, record)."""
        out = np.empty((len(records), self.count), np.float32)
        known = books()
        for first, stop, stages, place in self.runs():
            codes = records[:, place : place + (stop - first) * stages].reshape(len(records), -1, stages)
            values = known[0][codes[..., 0]]
            for stage in range(1, stages):
                values += known[stage][codes[..., stage]]
            out[:, first * SIZE : stop * SIZE] = values.reshape(len(records), -1)
        out *= gain_values(records[:, 0])[:, None]
        return out


Plan = Mapping[tuple[int, int], FixedPart]


def allot(plan: Mapping[tuple[int, int], Components], size: int) -> dict[tuple[int, int], FixedPart]:
    """Give each token's bytes to the units of components where they take off the most squared error.

    Parameters
    ----------
    plan
        Components of every group and half, in the order of a file.
    size
        Bytes of a token in all groups; what is beyond all stages of all units is not used.

    Raises
    ------
    MalformedHeader
        If there are fewer than one for each group and half.
    """
    if size < len(plan):
        raise MalformedHeader(
            f"{size} bytes a token are fewer than {len(plan)}, one for each group's keys and values"
        )
    value, owner = _worths([part.scale for part in plan.values()])
    given = np.sort(_best(value, size - len(plan)))
    out = {}
    for number, (key, part) in enumerate(plan.items()):
        mine = given[owner[given] == number] - np.searchsorted(owner, number)
        stages = np.bincount(mine // STAGES) if len(mine) else np.zeros(0, np.int64)
        out[key] = FixedPart(part, stages.astype(np.int64))
    return out


def level_for(scales: list[NDArray[np.int32]], size: int) -> int:
    """The level of quality whose step makes about the error of so many bytes a token."""
    value, _ = _worths(scales)
    count = min(max(size - len(scales), 0), len(value))
    if not count:
        return 0
    last = int(value[_best(value, count)].min())
    step = last // 2 + STEP_OF_WORTH
    return int(np.clip((STEP_OF_LEVEL_0 - step) // UNITS_A_LEVEL, 0, MAX_LEVEL))


def size_for(bits: float, elements: int, parts: int) -> int:
    """Bytes of a token of so many numbers at a rate.

    Raises
    ------
    UsageError
        If that is less than one for each group's keys and values.
    """
    size = int(bits * elements / 8)
    if size < parts:
        raise UsageError(
            f"{bits:g} bits an element are {size} bytes a token, and {parts} is the least for "
            f"{parts // 2} groups of layers"
        )
    return size


def order_of(scale: NDArray[np.int32]) -> NDArray[np.intp]:
    """Components by strength, the first of equals first."""
    return np.argsort(-scale.astype(np.int64), kind="stable")


def gains_of(values: Floats) -> Bytes:
    """(tokens,) bytes: logarithms of how much stronger a token is than its scales say, in tables."""
    if not values.shape[1]:
        return np.full(len(values), MIDDLE, np.uint8)
    power = np.square(values, dtype=np.float64).mean(axis=1)
    tables = np.rint(np.log(np.maximum(power, 1e-30)) / (2 * UNITS_A_TABLE * LOG_UNIT))
    return np.clip(tables + MIDDLE, 0, 255).astype(np.uint8)


def gain_values(gains: Bytes) -> Floats:
    """The inverse of `gains_of`: factors."""
    return value_of((gains.astype(np.int32) - MIDDLE) * UNITS_A_TABLE).astype(np.float32)


def _worths(scales: list[NDArray[np.int32]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of every stage of every unit: logarithm of the squared error that it takes off, and the part that it is of."""
    worths, owners = [], []
    for number, scale in enumerate(scales):
        ordered = scale[order_of(scale)].astype(np.int64)
        starts = np.arange(0, len(ordered), SIZE)
        if len(starts):
            members = np.diff(np.append(starts, len(ordered)))
            level = np.add.reduceat(ordered, starts) // members
            worths.append((2 * level[:, None] + worth()).ravel())
            owners.append(np.full(len(starts) * STAGES, number))
    if not worths:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(worths), np.concatenate(owners)


def _best(value: NDArray[np.int64], count: int) -> NDArray[np.intp]:
    """Places of the greatest, the first of equals."""
    return np.argsort(-value, kind="stable")[:count]


def _product(matrix: Floats, bias: Floats, *, may_round: bool) -> FloatNetwork:
    """``x @ matrix + bias`` in the compiled kernels, packed once."""
    layer = Pointwise(np.ascontiguousarray(matrix.T, np.float32), bias, may_round=may_round)
    return FloatNetwork([layer], channels=matrix.shape[0])
