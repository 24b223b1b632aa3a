"""Damage files at random and count how decoding ends: ``python tests/fuzz.py --seconds 60``.

Half of the damage is to whole files (bits flipped, cut, spliced, blocks doubled); the other half is to payloads, with
every checksum that an attacker can compute made right again. The only acceptable ends are an error of
`siglum.errors` and, where the damage changed nothing that matters, the undamaged picture.
"""

from __future__ import annotations

import argparse
import collections
import resource
import sys
import time
from pathlib import Path

import numpy as np

import siglum
from siglum import errors
from siglum.codecs import container
from siglum.codecs.container import Chunk, Header

GOLDEN = Path(__file__).parent / "golden"
SKIPPED = {"tiled"}  # large: a second each


def damage(data: bytes, random: np.random.Generator) -> bytes:
    """One to four edits of a byte string."""
    bad = bytearray(data)
    for _ in range(random.integers(1, 5)):
        if not bad:
            break
        place = int(random.integers(len(bad)))
        kind = random.integers(5)
        if kind == 0:
            bad[place] ^= 1 << int(random.integers(8))
        elif kind == 1:
            bad[place] = int(random.integers(256))
        elif kind == 2:
            del bad[place:]
        elif kind == 3:
            bad[place : place + int(random.integers(9))] = random.bytes(int(random.integers(9)))
        else:
            source = int(random.integers(len(bad)))
            length = int(random.integers(1, 33))
            bad[place : place + length] = bad[source : source + length]
    return bytes(bad)


def forge(data: bytes, random: np.random.Generator) -> bytes:
    """Damage the payload of a chunk or a field of the header, and write all checksums anew."""
    reader = container.Reader(data)
    header, chunks = reader.header, list(reader.chunks())
    if random.integers(4) == 0:
        shape = list(header.shape)
        shape[int(random.integers(2))] = int(2 ** random.uniform(0, 14))
        quality = None if header.quality is None else int(random.integers(256))
        header = Header(
            header.codec,
            header.codec_version,
            header.model,
            tuple(shape),
            header.dtype,
            quality,
            header.extra,
        )
    victim = int(random.integers(len(chunks)))
    old = chunks[victim]
    chunks[victim] = Chunk(old.type, old.sequence, damage(old.payload, random), old.symbols_crc)
    return container.write(header, chunks)


def main() -> int:
    """Run and print the counts; exit code 1 if anything but a typed error or the right picture came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    good = {path.stem: path.read_bytes() for path in sorted(GOLDEN.glob("*.sgl")) if path.stem not in SKIPPED}
    pictures = {name: siglum.decode(data, threads=1) for name, data in good.items()}
    names = list(good)
    counts: collections.Counter[str] = collections.Counter()
    slowest, wrong = 0.0, 0
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        name = names[int(random.integers(len(names)))]
        edit = damage if random.integers(2) else forge
        bad = edit(good[name], random)
        start = time.monotonic()
        try:
            out = siglum.decode(bad, threads=1)
        except errors.BitstreamError as error:
            counts[f"{edit.__name__}: {type(error).__name__}"] += 1
        else:
            same = out.shape == pictures[name].shape and np.array_equal(out, pictures[name])
            counts[f"{edit.__name__}: {'harmless' if same else 'other metadata or level, or wrong'}"] += 1
            wrong += not same and bad != good[name] and edit is damage
        slowest = max(slowest, time.monotonic() - start)
    for outcome, count in sorted(counts.items()):
        print(f"{count:9,}  {outcome}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{sum(counts.values()):9,}  in all; slowest {slowest:.2f} s; peak memory {peak:.0f} MiB; {wrong} silent errors"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
