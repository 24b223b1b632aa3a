"""Components of a block as symbols: rounding, tables chosen by integers, and their entropy code.

The table of component j of token t is ``base[j] + band[j // 16] + 2 * token[t]``: the calibrated or estimated scale in
quantization steps, and corrections that the block sends where they pay. Rounding is to the nearest, and nothing is
moved towards zero: rounding that weighs bits against squared error shrinks what attention then adds up over many
tokens, and was measured to lose (docs/kv.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.scales import LOG_UNIT, UNITS_A_TABLE, step_units, table_of, value_of
from siglum.codecs.kv.transform import Transform
from siglum.entropy import rans
from siglum.entropy.gaussian import gaussian_tables
from siglum.entropy.gaussian_bank import LEVELS
from siglum.errors import ChecksumMismatch, MalformedHeader
from siglum.kernels.checksum import crc32c
from siglum.kernels.float_network import FloatNetwork, Pointwise

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]

BAND = 16  # components that share a correction
BANDS, TOKENS = 1, 2  # flags: which corrections a block has
WEAKEST = (
    8  # components of lower tables, deviations below a quarter of a step, are not coded: it gains nothing
)
LARGEST = 2**15 - 1  # a symbol's magnitude
MOST = 12  # of a correction
BAND_TABLE, TOKEN_TABLE = 21, 24  # of the bank: deviations of 0.9 and 1.2
CORRECTING_EFFORT = 4
STRONG = 44  # tables from here on have symbols beyond 256, which bfloat16 does not hold
MOST_ROUNDED_LEVEL = (
    166  # up to here tokens in bfloat16 are exact enough: a few percent of the noise of rounding
)


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
    """

    transform: Transform
    level: int
    scale: Integers
    shift: Integers | None = None

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
    def analysis(self) -> FloatNetwork:
        """Of a token less its mean to components in steps."""
        matrix = self.transform.analysis[:, self.coded] / np.float32(self.step)
        shift = (
            np.zeros(self.count, np.float32)
            if self.shift is None
            else self.shift[self.coded] / np.float32(-2)
        )
        return product(matrix, shift.astype(np.float32), may_round=self.level <= MOST_ROUNDED_LEVEL)

    @cached_property
    def synthesis(self) -> tuple[FloatNetwork, Floats]:
        """Of components in steps to a token; apart, (strong, width), those whose symbols bfloat16 does not hold."""
        matrix = self.transform.synthesis[self.coded] * np.float32(self.step)
        bias = self.transform.mean
        if self.shift is not None:
            bias = bias + (self.shift[self.coded] / np.float32(2)) @ matrix
        apart = matrix[self.strong]
        matrix[self.strong] = 0
        return product(matrix, bias.astype(np.float32), may_round=True), apart

    @cached_property
    def strong(self) -> NDArray[np.bool_]:
        """(count,) whether symbols of a component may go beyond 256."""
        return self.base >= STRONG

    def analyse(self, rows: Floats) -> Floats:
        """Tokens (n, width) to components in steps (n, count)."""
        if not self.count or not len(rows):
            return np.zeros((len(rows), self.count), np.float32)
        made: Floats = self.analysis((rows - self.transform.mean)[None])[0]
        return made

    def synthesise(self, components: Floats) -> Floats:
        """The inverse of `analyse`, as far as the components go."""
        if not self.count or not len(components):
            return np.repeat(self.transform.mean[None], len(components), axis=0)
        network, apart = self.synthesis
        out: Floats = network(components[None])[0]
        if len(apart):
            out += np.ascontiguousarray(components[:, self.strong]) @ apart
        return out


def product(matrix: Floats, bias: Floats, *, may_round: bool) -> FloatNetwork:
    """``x @ matrix + bias`` in the compiled kernels, packed once."""
    layer = Pointwise(np.ascontiguousarray(matrix.T, np.float32), bias, may_round=may_round)
    return FloatNetwork([layer], channels=matrix.shape[0])


def tables_of(
    base: Integers, band: Integers | None, token: Integers | None, tokens: int
) -> NDArray[np.uint8]:
    """(tokens, count) table of each symbol."""
    row = base if band is None else base + np.repeat(band, BAND)[: len(base)]
    if token is None:
        one = np.clip(row, 0, LEVELS - 1).astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(one, (tokens, len(base))))
    return np.clip(row.astype(np.int16) + 2 * token[:, None].astype(np.int16), 0, LEVELS - 1).astype(np.uint8)


def encode(part: Components, values: Floats, effort: int) -> tuple[bytes, int] | None:
    """Code components in steps (tokens, count), a block.

    Returns
    -------
    The payload and the CRC32C of its symbols; None if a symbol is too large to be coded.
    """
    band, token = corrections(part, values) if effort >= CORRECTING_EFFORT else (None, None)
    index = tables_of(part.base, band, token, len(values))
    if values.size and float(np.abs(values).max()) > LARGEST:
        return None
    symbols = np.rint(values).astype(np.int32)
    encoder, flags = rans.Encoder(), 0
    if band is not None:
        encoder.push(band, gaussian_tables(), BAND_TABLE)
        flags |= BANDS
    if token is not None:
        encoder.push(token, gaussian_tables(), TOKEN_TABLE)
        flags |= TOKENS
    encoder.push(symbols, gaussian_tables(), index)
    return bytes([flags]) + encoder.finish(), _crc(band, token, symbols)


def decode(part: Components, body: bytes, crc: int, tokens: int) -> Floats:
    """Components in steps (tokens, count) of a block.

    Raises
    ------
    BitstreamError
        If the data are damaged.
    """
    if not body or body[0] & ~(BANDS | TOKENS):
        raise MalformedHeader("a block has flags that do not exist: the file is damaged")
    decoder = rans.Decoder(memoryview(body)[1:])
    count, bank = part.count, gaussian_tables()
    band = decoder.decode(bank, BAND_TABLE, -(-count // BAND)) if body[0] & BANDS else None
    token = decoder.decode(bank, TOKEN_TABLE, tokens) if body[0] & TOKENS else None
    for correction in (band, token):
        if correction is not None and correction.size and np.abs(correction).max() > MOST:
            raise MalformedHeader("a block has a correction out of range: the file is damaged")
    index = tables_of(part.base, band, token, tokens)
    symbols = decoder.decode(bank, index)
    decoder.finish()
    if _crc(band, token, symbols) != crc:
        raise ChecksumMismatch("a block does not decode to the checksum that the file gives")
    return symbols.astype(np.float32)


def corrections(part: Components, values: Floats) -> tuple[Integers | None, Integers | None]:
    """What a block says of its scales: for bands of components, and for tokens; None where it would not pay."""
    strong = part.base >= 2
    count = int(np.count_nonzero(strong))
    if not count or len(values) < 2:
        return None, None
    energy = np.square(values) + np.float32(1 / 12)
    energy *= (1 / part.variance).astype(np.float32)
    by_token = energy @ strong.astype(np.float32) / count
    token = _rounded(by_token, 2)
    weight = np.exp(-4 * UNITS_A_TABLE * LOG_UNIT * token).astype(np.float32)
    by_component = weight @ energy / len(values)
    edges = np.arange(0, part.count, BAND)
    size = np.diff(np.append(edges, part.count))
    by_band = np.add.reduceat(by_component, edges) / size
    band = _rounded(by_band, 1)
    # What tables of a wrong scale cost, in bits; those of weak components hardly matter.
    ratio = np.exp(2 * UNITS_A_TABLE * LOG_UNIT * band.astype(np.float64))
    lost = (
        np.add.reduceat(np.where(strong, len(values), 0), edges) * (ratio - 1 - np.log(ratio)) / 2 / np.log(2)
    )
    factor = np.exp(4 * UNITS_A_TABLE * LOG_UNIT * token.astype(np.float64))
    saved = float(np.sum(count * (factor - 1 - np.log(factor)))) / 2 / np.log(2)
    keep_bands = float(lost.sum()) > 3 * len(band) + 8
    return band if keep_bands else None, token if saved > 3 * len(token) else None


def _rounded(energy: NDArray[np.floating], tables: int) -> Integers:
    """Relative energies as corrections of so many tables each."""
    logs = np.log(np.maximum(energy, 1e-12)) / (2 * UNITS_A_TABLE * LOG_UNIT * tables)
    return np.clip(np.rint(logs), -MOST, MOST).astype(np.int32)


def _crc(band: Integers | None, token: Integers | None, symbols: Integers) -> int:
    crc = 0
    for part in (band, token, symbols):
        if part is not None:
            crc = crc32c(np.ascontiguousarray(part, "<i4").data.cast("B") if part.size else b"", crc)
    return crc
