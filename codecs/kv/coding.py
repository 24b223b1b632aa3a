"""Components of a block as symbols: rounding, tables chosen by integers, and their entropy code.

The table of component j of token t is ``base[j] + band[j // 16] + 2 * token[t]``: the calibrated or estimated scale in
quantization steps, and corrections that the block sends where they pay. Rounding is to the nearest, and nothing is
moved towards zero: rounding that weighs bits against squared error shrinks what attention then adds up over many
tokens, and was measured to lose (docs/kv.md). `siglum.codecs.kv.reference` decodes a block in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import siglum.kernels._native as _native
from siglum.codecs.kv.blocks import Block
from siglum.codecs.kv.factors import Factored
from siglum.codecs.kv.rope import Rope
from siglum.codecs.kv.scales import LOG_UNIT, UNITS_A_TABLE, step_units, table_of, value_of
from siglum.codecs.kv.transform import Transform
from siglum.entropy.gaussian import gaussian_tables
from siglum.errors import BitstreamError, ChecksumMismatch, MalformedHeader, Truncated
from siglum.kernels import dispatch

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]

BAND = 16  # components that share a correction
BANDS, TOKENS = 1, 2  # flags: which corrections a block has
WEAKEST = (
    8  # components of lower tables, deviations below a quarter of a step, are not coded: it gains nothing
)
RESIDUES_A_STEP = 16
LARGEST = 2**15 - 1  # a symbol's magnitude
MOST = 12  # of a correction
IGNORED = 1  # components of higher tables decide about corrections
BAND_TABLE, TOKEN_TABLE = 21, 24  # of the bank: deviations of 0.9 and 1.2
CORRECTING_EFFORT = 4
STRONG = 44  # tables from here on have symbols beyond 256, which bfloat16 does not hold
MOST_ROUNDED_LEVEL = (
    166  # up to here tokens in bfloat16 are exact enough: a few percent of the noise of rounding
)

DAMAGE: tuple[tuple[type[BitstreamError], str], ...] = (
    (BitstreamError, ""),
    (Truncated, "the coded chunk ends too early: the file is cut off or damaged"),
    (MalformedHeader, "the coded chunk does not begin as one: the file is damaged"),
    (BitstreamError, "the coded chunk is damaged: it does not end where its symbols do"),
    (MalformedHeader, "a block has flags that do not exist: the file is damaged"),
    (MalformedHeader, "a block has a correction out of range: the file is damaged"),
    (ChecksumMismatch, "a block does not decode to the checksum that the file gives"),
)
"""What the compiled decoder finds, by its numbers; 0 is nothing."""


class Turns(NamedTuple):
    """How keys of consecutive tokens are turned: (tokens, pairs) cosines and sines, and which channels pair."""

    cos: Floats
    sin: Floats
    interleaved: bool


def turns_of(rope: Rope | None, start: int, count: int) -> Turns:
    """The turns of positions start to start + count - 1; of none, no pairs."""
    if rope is None:
        none = np.zeros((count, 0), np.float32)
        return Turns(none, none, False)
    return Turns(*rope.tables(start, count), rope.layout == "interleaved")


@dataclass(frozen=True)
class Components:
    """A transform at a level of quality: what is coded, in which tables, by which step.

    Attributes
    ----------
    transform
        Mean, basis and scales.
    level
        Quality, 0 to 255.
    scale
        (rank,) int32: logarithms of deviations in units, the transform's or those of this cache.
    shift
        (rank,) int32: what is taken off the components, in halves of a step; or None.
    residue
        (width,) int32: what is left of this cache's mean in the weighted domain, in sixteenths of a step; or None.
    prepared
        What was packed for compiled code, by what it is for.
    """

    transform: Transform
    level: int
    scale: Integers
    shift: Integers | None = None
    residue: Integers | None = None
    prepared: dict[tuple[str, str, int], Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def step(self) -> float:
        """Quantization step in the weighted domain."""
        return float(value_of(step_units(self.level)))

    @cached_property
    def coded(self) -> NDArray[np.intp]:
        """Numbers of the components that are coded."""
        return np.flatnonzero(table_of(self.scale, step_units(self.level)) >= WEAKEST)

    @property
    def count(self) -> int:
        """How many components are coded."""
        return len(self.coded)

    @cached_property
    def base(self) -> Integers:
        """(count,) tables of the components that are coded."""
        return table_of(self.scale[self.coded], step_units(self.level))

    @cached_property
    def variance(self) -> NDArray[np.float64]:
        """(count,) of the components, in squared steps, with what rounding adds."""
        units = self.scale[self.coded] - step_units(self.level)
        return value_of(2 * units) + 1 / 12

    @cached_property
    def offsets(self) -> Floats:
        """(count,) what is taken off the components, in steps."""
        if self.shift is None:
            return np.zeros(self.count, np.float32)
        return (self.shift[self.coded] / np.float32(2)).astype(np.float32)

    @cached_property
    def taken(self) -> Floats:
        """(count,) as `offsets`, in analysis: factors are of what is left when the others' shifts are taken off."""
        if not isinstance(self.transform, Factored):
            return self.offsets
        return self.transform.centred(self.offsets, self.coded)

    @cached_property
    def loads(self) -> Floats | None:
        """(factors, others) what a symbol of each factor that is coded takes off the other components; or None."""
        if not isinstance(self.transform, Factored):
            return None
        made = self.transform.loads
        count, reach = made.shape
        found = np.zeros((count, self.transform.rank - count), np.float32)
        found[:, :reach] = made
        factors = int(np.count_nonzero(self.coded < count))
        return np.ascontiguousarray(found[self.coded[:factors]][:, self.coded[factors:] - count])

    @cached_property
    def centre(self) -> Floats:
        """(width,) what decoded tokens are around: the mean, and what coding would leave of this cache's own.

        Errors that all tokens share do not average out where attention sums over them.
        """
        if self.residue is None:
            return self.transform.mean
        moved = self.residue * np.float32(self.step / RESIDUES_A_STEP)
        return self.transform.mean + self.transform.unweighted(moved.astype(np.float32))

    @cached_property
    def strong(self) -> NDArray[np.bool_]:
        """(count,) whether symbols of a component may go beyond 256."""
        return self.base >= STRONG

    @cached_property
    def coder(self) -> Any:
        """The compiled coder of blocks."""
        unit = UNITS_A_TABLE * LOG_UNIT
        precision = (1 / self.variance).astype(np.float32)
        bank = gaussian_tables().native
        return _native.KvCoder(
            dispatch.isa(), bank, np.ascontiguousarray(self.base, np.int32), precision, BAND, BAND_TABLE, TOKEN_TABLE,
            MOST, unit, IGNORED, LARGEST,
        )  # fmt: skip

    def analyser(self, dim: int) -> Analyser:
        """Of heads of `dim` channels, packed once."""
        key = (dispatch.isa(), "analysis", dim)
        if key not in self.prepared:
            may_round = self.level <= MOST_ROUNDED_LEVEL
            self.prepared[key] = Analyser(self.transform, dim, self.step, self.coded, self.taken, may_round)
        made: Analyser = self.prepared[key]
        return made

    def synthesise(self, symbols: Integers, turns: Turns, dtype: str, out: NDArray[Any]) -> None:
        """Write what symbols (tokens, count) stand for.

        Parameters
        ----------
        turns
            Of the tokens.
        dtype
            Of the samples.
        out
            (layers, heads, tokens, channels) in NumPy's type for `dtype`.
        """
        key = (dispatch.isa(), "synthesis", out.shape[3])
        if key not in self.prepared:
            made = self.transform
            self.prepared[key] = _native.KvSynthesis(
                dispatch.isa(), True, made.synthesis, self.coded.astype(np.int32), self.strong.astype(np.uint8),
                self.offsets, self.step, self.centre, out.shape[3],
            )  # fmt: skip
        self.prepared[key].run(symbols, *turns, dtype, _bits(out))


class Analyser:
    """From samples of a group of layers to components in steps, in compiled code.

    Parameters
    ----------
    transform
        Mean and basis.
    dim
        Channels of a head.
    step
        Quantization step.
    chosen
        Numbers of the components that are wanted.
    offsets
        What is taken off them.
    may_round
        Whether products may be of bfloat16.
    """

    def __init__(
        self,
        transform: Transform,
        dim: int,
        step: float,
        chosen: NDArray[np.intp],
        offsets: Floats,
        may_round: bool,
    ) -> None:
        self.count = len(chosen)
        self._native = _native.KvAnalysis(
            dispatch.isa(), may_round, transform.analysis, chosen.astype(np.int32), offsets, 1 / step, transform.mean,
            dim,
        )  # fmt: skip

    def __call__(self, parts: Sequence[NDArray[Any]], dtype: str, turns: Turns) -> Floats | None:
        """(tokens, count) components of the arrays (heads, tokens, channels) of layers; None if any is not finite."""
        out = np.empty((parts[0].shape[1], self.count), np.float32)
        samples = [_bits(part) for part in parts]
        return out if self._native.run(samples, *turns, dtype, out) else None


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    """Samples of 16 bits as integers, with their last axis contiguous."""
    if array.strides[-1] != array.itemsize or not array.flags.aligned or not array.dtype.isnative:
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return array if array.itemsize == 4 else array.view(np.uint16)


def encode(
    part: Components, values: Floats, lengths: Sequence[int], effort: int
) -> list[tuple[bytes, int] | None]:
    """Code components in steps (tokens, count), as blocks of so many tokens each.

    Returns
    -------
    The payload of each and the CRC32C of its symbols; None if a symbol is too large to be coded.
    """
    if part.loads is not None:
        values = _predicted(values, part.loads)
    made: list[tuple[bytes, int] | None] = part.coder.encode(
        values, np.array(lengths, np.int32), effort >= CORRECTING_EFFORT
    )
    return made


def _predicted(values: Floats, loads: Floats) -> Floats:
    """Factors rounded, and the other components less what those will add when they are decoded."""
    count = len(loads)
    symbols = np.clip(np.rint(values[:, :count]), -LARGEST - 1, LARGEST + 1)
    values[:, :count] = symbols
    values[:, count:] -= symbols @ loads
    return values


def decode(part: Components, blocks: Sequence[Block]) -> tuple[Integers, list[BitstreamError | None]]:
    """Symbols (tokens, count) of blocks, one after the other, and what is wrong with each."""
    lengths = np.array([block.part.tokens for block in blocks], np.int32)
    crcs = np.array([block.crc for block in blocks], np.uint32)
    out = np.empty((int(lengths.sum()), part.count), np.int32)
    damage = part.coder.decode([block.body for block in blocks], lengths, crcs, out)
    return out, [DAMAGE[number][0](DAMAGE[number][1]) if number else None for number in damage]
