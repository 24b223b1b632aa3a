"""Code an array of symbols with one table: NumPy in, bytes out.

python examples/static_symbols.py
"""

from __future__ import annotations

import time

import numpy as np

from siglum.entropy import Tables, rans


def main() -> None:
    """4 million symbols of 0 to 255, about 6.4 bits each."""
    random = np.random.default_rng(0)
    symbols = np.clip(np.rint(random.normal(128, 20, 4_000_000)), 0, 255).astype(np.uint8)

    p = np.bincount(symbols) / symbols.size
    low, high = np.flatnonzero(p > 0.25 / 4096)[[0, -1]]  # what is rarer shares the escape
    tables = Tables.from_pmf([p[low : high + 1]], offsets=[low])  # integers: the decoder needs the same
    data = rans.compress(symbols, tables)
    decoded = rans.decompress(data, tables, dtype=np.uint8)
    assert np.array_equal(decoded, symbols)

    entropy = -(p[p > 0] * np.log2(p[p > 0])).sum() * symbols.size / 8
    print(f"{symbols.size:,} symbols -> {len(data):,} bytes, {len(data) / entropy - 1:.2%} over the entropy")

    out = np.empty_like(symbols)
    encode, decode = [], []
    for _ in range(5):
        start = time.thread_time()
        rans.compress(symbols, tables)
        middle = time.thread_time()
        rans.decompress(data, tables, out=out)
        encode.append(middle - start)
        decode.append(time.thread_time() - middle)
    million = symbols.size / 1e6
    print(
        f"encode {million / min(encode):,.0f} Msym/s   decode {million / min(decode):,.0f} Msym/s, one thread"
    )

    part = rans.decompress(data, tables, start=1_000_000, stop=1_000_100)  # only the chunk around it
    assert np.array_equal(part, symbols[1_000_000:1_000_100])

    payload = rans.encode(symbols[:1000], tables, 0, lanes=1)  # small: no frame, one lane
    print(
        f"1,000 symbols -> {len(payload)} bytes, {tables.bits(symbols[:1000], 0) / 8:.1f} of them information"
    )


if __name__ == "__main__":
    main()
