"""Latents of a neural codec: each symbol a Gaussian with a mean and a scale of its own.

python examples/gaussian_latents.py
"""

from __future__ import annotations

import time

import numpy as np

from siglum.entropy import gaussian_tables, rans, scale_index
from siglum.errors import BitstreamError


def main() -> None:
    """A million latents whose scales spread over three decades."""
    random = np.random.default_rng(0)
    means = random.normal(0, 5, 1_000_000)
    scales = np.exp(random.uniform(np.log(0.11), np.log(32), means.size))
    latents = random.normal(means, scales)

    symbols = np.rint(latents - means).astype(np.int16)  # the residual is what is coded
    tables = gaussian_tables()  # 64 tables of integers, the same on every machine
    indexes = scale_index(scales)  # the nearest of 64 scales, in log
    data = rans.compress(symbols, tables, indexes)
    decoded = rans.decompress(data, tables, indexes)
    assert np.array_equal(decoded, symbols)
    reconstruction = means + decoded

    bits = 8 * len(data)
    print(f"{symbols.size:,} latents -> {len(data):,} bytes, {bits / symbols.size:.3f} bits each,")
    print(f"{bits / tables.bits(symbols, indexes) - 1:.2%} over the information under the tables")
    print(f"largest error of the reconstruction: {np.abs(reconstruction - latents).max():.3f}")

    out = np.empty_like(symbols)
    encode, decode = [], []
    for _ in range(10):
        start = time.thread_time()
        rans.compress(symbols, tables, indexes)
        middle = time.thread_time()
        rans.decompress(data, tables, indexes, out=out)
        encode.append(middle - start)
        decode.append(time.thread_time() - middle)
    million = symbols.size / 1e6
    print(
        f"encode {million / min(encode):,.0f} Msym/s   decode {million / min(decode):,.0f} Msym/s, one thread"
    )

    # One chunk through several steps: the tables of a step depend on the symbols of the steps before.
    encoder = rans.Encoder()
    encoder.push(symbols[:500], tables, indexes[:500])
    encoder.push(symbols[500:1000], tables, (np.abs(symbols[:500]) % 64).astype(np.uint8))
    decoder = rans.Decoder(encoder.finish())
    first = decoder.decode(tables, indexes[:500])
    second = decoder.decode(tables, (np.abs(first) % 64).astype(np.uint8))
    decoder.finish()
    assert np.array_equal(np.concatenate([first, second]), symbols[:1000])

    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    try:
        rans.decompress(bytes(damaged), tables, indexes)
    except BitstreamError as error:
        print("one bit flipped:", error)


if __name__ == "__main__":
    main()
