"""Speed and overhead of the entropy coder: ``python -m siglum.benchmarks.entropy``.

Every figure is the least thread CPU time of some repetitions, so that other load on the machine counts
little, and is only printed after the decoded symbols were compared.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from time import thread_time
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from siglum.benchmarks.machine import describe
from siglum.entropy import GAUSSIAN_SCALES, Tables, gaussian_tables, rans
from siglum.entropy import constriction as research
from siglum.errors import SiglumError

Result = TypeVar("Result")
Symbols = NDArray[np.int32]
RATES = (0.5, 2.0, 6.0)


def least_seconds(function: Callable[[], Result], repeats: int) -> tuple[float, Result]:
    """Least thread CPU time of a call, and its result."""
    result = function()
    least = float("inf")
    for _ in range(repeats):
        start = thread_time()
        result = function()
        least = min(least, thread_time() - start)
    return max(least, 1e-9), result


def scale_of_entropy(bits: float) -> float:
    """Standard deviation of the rounded Gaussian that has this entropy in bits."""
    low, high = 0.1, 60.0
    for _ in range(50):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if _entropy(middle) < bits else (low, middle)
    return low


def static_source(bits: float, count: int, seed: int) -> tuple[Symbols, Tables, int, float]:
    """Symbols of one table: (symbols, tables, index, bits of the true source)."""
    values, mass = _mass(scale_of_entropy(bits))
    kept = mass >= 0.25 / 4096
    tables = Tables.from_pmf([mass[kept]], [int(values[kept][0])])
    symbols = np.random.default_rng(seed).choice(values, size=count, p=mass).astype(np.int32)
    return symbols, tables, 0, float(-np.log2(mass)[symbols - values[0]].sum())


def indexed_source(bits: float, count: int, seed: int) -> tuple[Symbols, Tables, NDArray[np.uint8], float]:
    """Symbols of the 64 Gaussian tables, scales log-uniform over as wide a range as has this mean rate."""
    rng = np.random.default_rng(seed)
    tables = gaussian_tables()
    entropies = np.array([_entropy(float(scale)) for scale in GAUSSIAN_SCALES])
    ranges = [(0, high) for high in range(1, 65)] + [(low, 64) for low in range(1, 64)]
    low, high = min(ranges, key=lambda ends: abs(entropies[slice(*ends)].mean() - bits))
    indexes = rng.integers(low, high, count).astype(np.uint8)
    symbols = np.rint(rng.normal(size=count) * GAUSSIAN_SCALES[indexes]).astype(np.int32)
    true_bits = 0.0
    for index in range(low, high):
        values, mass = _mass(float(GAUSSIAN_SCALES[index]))
        here = symbols[indexes == index]
        true_bits -= float(np.log2(np.maximum(mass, 1e-300))[here - values[0]].sum())
    return symbols, tables, indexes, true_bits


def measure(
    symbols: Symbols, tables: Tables, indexes: Any, coder: str, repeats: int
) -> tuple[float, float, int]:
    """Msym/s of encoding and decoding, and the bytes."""
    module: Any = rans if coder == "siglum" else research

    def encode() -> bytes:
        encoder = module.Encoder()
        encoder.push(symbols, tables, indexes)
        payload: bytes = encoder.finish()
        return payload

    def decode() -> Symbols:
        decoder = module.Decoder(payload)
        decoded: Symbols = decoder.decode(tables, indexes, shape=symbols.shape)
        decoder.finish()
        return decoded

    encoding, payload = least_seconds(encode, repeats)
    decoding, decoded = least_seconds(decode, repeats)
    if not np.array_equal(decoded, symbols):
        raise AssertionError(f"{coder} did not give the symbols back")
    return symbols.size / encoding / 1e6, symbols.size / decoding / 1e6, len(payload)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="time the entropy coder")
    parser.add_argument("--symbols", type=int, default=1_000_000, help="symbols of a chunk (default 1000000)")
    parser.add_argument("--repeats", type=int, default=15, help="repetitions, of which the least time counts")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    count, repeats = arguments.symbols, arguments.repeats

    print(describe("the coder itself is plain C++", ("siglum", "numpy", "constriction")))
    print(f"measure   1 thread, {count} int32 symbols, least of {repeats} thread CPU times, through Python")
    print("constriction as siglum.entropy.constriction uses it: one i.i.d. call a table, escapes aside\n")
    print("tables    bits  coder         encode     decode     bits/symbol  over tables  over source")
    print("                              Msym/s     Msym/s                  %            %")
    for name, bits in ((name, bits) for name in ("static", "64 Gauss") for bits in RATES):
        source = static_source if name == "static" else indexed_source
        symbols, tables, indexes, true_bits = source(bits, count, arguments.seed)
        ideal = tables.bits(symbols, indexes)
        for coder in ("siglum", "constriction"):
            few = repeats if coder == "siglum" else 2
            try:
                encoding, decoding, size = measure(symbols, tables, indexes, coder, few)
            except SiglumError as error:
                print(f"{name:8}  {bits:<4}  {coder:12}  {error}")
                continue
            rates = f"{encoding:<9.1f}  {decoding:<9.1f}  {8 * size / count:<11.4f}"
            over = f"{100 * (8 * size / ideal - 1):<11.3f}  {100 * (8 * size / true_bits - 1):.3f}"
            print(f"{name:8}  {bits:<4}  {coder:12}  {rates}  {over}")
    original = np.zeros(count, dtype=np.int32)
    target = np.empty_like(original)
    seconds, _ = least_seconds(lambda: np.copyto(target, original), repeats)
    print(f"\nmemcpy of the same int32 symbols: {count / seconds / 1e6:.0f} Msym/s")


def _mass(scale: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Values and probabilities of a rounded Gaussian, by Simpson's rule on each cell's interval."""
    reach = int(10 * scale) + 4
    values = np.arange(-reach, reach + 1)
    nodes = np.linspace(-0.5, 0.5, 33)
    weights = np.array([1, *[4, 2] * 15, 4, 1]) / 96
    density = np.exp(-0.5 * ((values[:, None] + nodes) / scale) ** 2)
    mass = density @ weights
    return values, mass / mass.sum()


def _entropy(scale: float) -> float:
    mass = _mass(scale)[1]
    return -float((mass * np.log2(np.maximum(mass, 1e-300))).sum())


if __name__ == "__main__":
    main()
