"""What the components of a cache have in common that no calibration knows: factors, fitted to the cache, in its header.

In a domain that the calibration never saw its components are not independent: a few directions, spread over all of
them, are far stronger than expected. Such a factor becomes a component of its own: its symbol, times its loads, is
predicted and taken off the others before they are rounded, so what is decoded is as near as without it, at fewer bits
(closed-loop prediction; factor analysis with the calibration's deviations as uniquenesses: Jöreskog, "Some
contributions to maximum likelihood factor analysis", 1967). Nothing needs to be orthogonal, and a decoder sees a
transform with some rows more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.container_source import Source, append_varint
from siglum.codecs.kv.packing import pack_numbers, rans_count, unpack_numbers
from siglum.codecs.kv.scales import LOWEST, UNITS_A_TABLE, units_of, value_of
from siglum.codecs.kv.transform import Transform
from siglum.entropy import rans
from siglum.entropy.gaussian import gaussian_tables
from siglum.entropy.gaussian_bank import LEVELS
from siglum.errors import MalformedHeader

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]

MOST_FACTORS = 48  # of a group's keys or values
WILD = 32  # times the usual size of a token: so large a one is not what factors are for
SPARE = 8  # directions more in the search for the strongest
ROUNDS = 2  # of that search
COARSE = 2.0  # step of a factor, in deviations that the calibration expects: what it leaves is coded after it
PRICE = 0.4  # of loads in their bits, by trial on documents of the calibration: errors become fewer, too
LEAST_UNITS, MOST_UNITS = -2000, 1000  # of the step of loads
MOST_STRENGTH = 2000  # of a component, in units above the step: what is stronger weighs no more
LARGEST_LOAD = 2**15 - 1


@dataclass(frozen=True)
class Factors:
    """Factors of a group's keys or values.

    Attributes
    ----------
    numbers
        (count, reach) int32: loads of the first components, in steps of each factor's own, relative to `deviations`.
    units
        (count,) int32: logarithms of those steps, in units.
    tables
        (count,) int32: of the bank, for the symbols of each.
    """

    numbers: Integers
    units: Integers
    tables: Integers

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.numbers)

    def loads(self, scale: Integers, step: int) -> Floats:
        """(count, reach) what a symbol of each adds to the components, in steps.

        Parameters
        ----------
        scale
            (rank,) of the calibration.
        step
            Logarithm of the quantization step in units.
        """
        rows = self.numbers * value_of(self.units)[:, None]
        return (rows * deviations(scale[: self.numbers.shape[1]], step)).astype(np.float32)

    def scale(self, step: int) -> Integers:
        """(count,) logarithms of the deviations of their symbols, as those of components are given."""
        return (step + LOWEST + UNITS_A_TABLE * self.tables).astype(np.int32)


class Factored(Transform):
    """A transform whose first components are factors.

    Parameters
    ----------
    plain
        The calibration's transform.
    factors
        As the file has them.
    loads
        (count, reach), see `Factors.loads`.
    deviation
        (reach,), see `deviations`.
    scale
        (count + rank,) of factors and components.
    """

    def __init__(
        self, plain: Transform, factors: Factors, loads: Floats, deviation: Floats, scale: Integers
    ) -> None:
        super().__init__(plain.mean, plain.basis, scale, plain.weight)
        object.__setattr__(self, "plain", plain)
        object.__setattr__(self, "factors", factors)
        object.__setattr__(self, "loads", loads)
        object.__setattr__(self, "deviation", deviation)

    plain: Transform
    factors: Factors
    loads: Floats
    deviation: Floats

    @property
    def rank(self) -> int:
        """How many components there are, factors among them."""
        return len(self.scale)

    @property
    def synthesis(self) -> Floats:
        """(rank, width), as of any transform."""
        rows = self.plain.synthesis
        return np.concatenate([self.loads @ rows[: self.loads.shape[1]], rows])

    def centred(self, offsets: Floats, coded: NDArray[np.intp]) -> Floats:
        """What analysis takes off components that are coded, where `offsets` is what synthesis adds."""
        count, reach = self.loads.shape
        everywhere = np.zeros(self.rank, np.float32)
        everywhere[coded] = offsets
        everywhere[:count] = everywhere[count : count + reach] @ estimator(self.loads, self.deviation)
        return np.ascontiguousarray(everywhere[coded])

    @property
    def analysis(self) -> Floats:
        """(width, rank): factors before rounding, and components from which nothing was taken off."""
        columns = self.plain.analysis
        reach = self.loads.shape[1]
        return np.concatenate([columns[:, :reach] @ estimator(self.loads, self.deviation), columns], axis=1)


def deviations(scale: Integers, step: int) -> Floats:
    """(reach,) deviations of components in steps as the calibration has them, with what rounding adds."""
    strength = np.minimum(scale - step, MOST_STRENGTH)
    return np.sqrt(value_of(2 * strength) + 1 / 12).astype(np.float32)


def estimator(loads: Floats, deviation: Floats) -> Floats:
    """(reach, count): components times it are factors, the least squares in deviations."""
    rows = (loads / deviation).astype(np.float64)
    gram = rows @ rows.T
    gram += np.eye(len(rows)) * (1e-9 * np.trace(gram) + 1e-30)
    return (np.linalg.solve(gram, rows) / deviation).T.astype(np.float32)


def fit(values: Floats, deviation: Floats, tokens: int) -> Factors | None:
    """The factors that pay in a cache, or None.

    Parameters
    ----------
    values
        Components (n, reach) of a sample in steps, less their mean.
    deviation
        (reach,), see `deviations`.
    tokens
        Of the whole cache: what they save must pay for the loads.
    """
    relative = values / deviation
    size = np.sqrt(np.einsum("ij,ij->i", relative, relative))
    wild = size > WILD * np.median(size)
    relative[wild] *= (np.median(size) / size[wild])[:, None]
    found = strongest(relative, MOST_FACTORS)
    if found is None:
        return None
    strength, directions = found
    reach = values.shape[1]
    real = unbiased(strength, reach / len(values))
    worth = _saving(real) * tokens - _price(real, reach, tokens)
    count = int(np.count_nonzero(worth > 0))
    if not count:
        return None
    # There what a finer step of loads costs is what it saves.
    units = units_of(np.sqrt(12 / (tokens * real[:count])))
    numbers = np.rint(directions[:, :count] / value_of(units)).T
    numbers = np.clip(numbers, -LARGEST_LOAD, LARGEST_LOAD).astype(np.int32)
    alive = (numbers != 0).any(axis=1)
    if not alive.any():
        return None
    units = np.clip(units + int(units_of(COARSE)), LEAST_UNITS, MOST_UNITS)
    tables = table_of_deviation((np.sqrt(real[:count]) / COARSE).astype(np.float32))
    return Factors(numbers[alive], units[alive].astype(np.int32), tables[alive])


def strongest(values: Floats, most: int) -> tuple[Floats, Floats] | None:
    """Variances (count,) along the strongest directions (width, count) of rows (n, width), strongest first.

    By powers of the covariance on a few directions (Halko, Martinsson and Tropp, arXiv 0909.4061).
    """
    columns = min(most + SPARE, *values.shape)
    most = min(most, columns)
    if most < 1 or not np.isfinite(values).all():
        return None
    # Tokens as they are begin the search as well as random sums of them would.
    span = np.ascontiguousarray(values[np.linspace(0, len(values) - 1, columns).astype(int)].T)
    for rest in range(ROUNDS - 1, -1, -1):
        some = values[:: 1 + rest]  # the first rounds need not be exact
        span = some.T @ (some @ orthonormal(span))
    span = orthonormal(span)
    inside = values @ span
    variance, turn = np.linalg.eigh((inside.T @ inside).astype(np.float64) / len(values))
    return variance[::-1][:most].astype(np.float32), (span @ turn[:, ::-1][:, :most].astype(np.float32))


def orthonormal(columns: Floats) -> Floats:
    """An orthonormal basis of what columns span, by Cholesky's factor of their products."""
    size = np.linalg.norm(columns, axis=0)
    columns = columns / np.maximum(size, 1e-30)
    gram = (columns.T @ columns).astype(np.float64) + 1e-6 * np.eye(columns.shape[1])
    try:
        return columns @ np.linalg.inv(np.linalg.cholesky(gram)).T.astype(np.float32)
    except np.linalg.LinAlgError:  # one direction that drowns the others in rounding
        return np.linalg.qr(columns)[0]


def unbiased(strength: Floats, ratio: float) -> Floats:
    """Variances that all tokens have along directions that a sample makes look stronger than they are.

    Parameters
    ----------
    strength
        Variances in the sample, of data with unit variance elsewhere.
    ratio
        Width over tokens of the sample (Baik and Silverstein, 2006: spiked covariances).
    """
    half = (strength - 1 - ratio) / 2
    spike = half + np.sqrt(np.maximum(half * half - ratio, 0))  # strength = (1 + spike) (1 + ratio / spike)
    spike = np.maximum(spike, 1e-6)
    aligned = np.maximum(1 - ratio / spike**2, 0) / (1 + ratio / spike)
    return np.where(half * half > ratio, 1 + spike * aligned, 1).astype(np.float32)


def table_of_deviation(deviation: Floats) -> Integers:
    """Tables of the bank for deviations in steps."""
    tables = (units_of(np.maximum(deviation, 0.11)) - LOWEST + UNITS_A_TABLE // 2) >> 4
    return np.clip(tables, 0, LEVELS - 1).astype(np.int32)


def _saving(strength: Floats) -> Floats:
    """Bits a token: those of the components that it takes variance from, less its own."""
    own = np.log2(np.sqrt(strength) / COARSE + 0.5) + 1.5
    return (0.72 * (strength - 1) - own).astype(np.float32)


def _price(strength: Floats, reach: int, tokens: int) -> Floats:
    """Bits of the loads, weighed by `PRICE`."""
    return (PRICE * reach * 0.5 * np.log2(1 + tokens * strength / reach)).astype(np.float32)


def pack(out: bytearray, factors: Factors) -> None:
    """Append a count, the table of the symbols and that of the loads of each, units, and a frame of loads."""
    spread = np.sqrt(np.mean(np.square(factors.numbers, dtype=np.float64), axis=1))
    rows = table_of_deviation(spread.astype(np.float32)).astype(np.uint8)
    out.append(factors.count)
    out += factors.tables.astype(np.uint8).tobytes() + rows.tobytes()
    pack_numbers(out, np.diff(factors.units, prepend=np.int32(0)))
    indexes = np.repeat(rows[:, None], factors.numbers.shape[1], axis=1)
    packed = rans.compress(factors.numbers, gaussian_tables(), indexes)
    append_varint(out, len(packed))
    out += packed


def unpack(source: Source, reach: int) -> Factors:
    """The inverse of `pack`.

    Raises
    ------
    BitstreamError
        If the data are damaged.
    """
    count = source.read(1, "a number of factors")[0]
    if not 1 <= count <= min(MOST_FACTORS, reach):
        raise MalformedHeader(f"{count} factors of {reach} components cannot be: the file is damaged")
    tables = np.frombuffer(source.read(count, "tables of factors"), np.uint8)
    rows = np.frombuffer(source.read(count, "tables of loads"), np.uint8)
    units = np.cumsum(unpack_numbers(source, count), dtype=np.int64)
    data = source.read(source.read_varint("the size of loads"), "loads")
    if max(tables.max(), rows.max()) >= LEVELS or units.min() < LEAST_UNITS or units.max() > MOST_UNITS:
        raise MalformedHeader("a table or a step of a factor is out of range: the file is damaged")
    if rans_count(data) != count * reach:
        raise MalformedHeader("loads have another number than is due: the file is damaged")
    numbers = rans.decompress(data, gaussian_tables(), np.repeat(rows[:, None], reach, axis=1))
    if numbers.min() < -LARGEST_LOAD or numbers.max() > LARGEST_LOAD:
        raise MalformedHeader("a load is out of range: the file is damaged")
    return Factors(numbers.reshape(count, reach), units.astype(np.int32), tables.astype(np.int32))
