"""What the parts of image-vq are worth: ``python -m siglum.benchmarks.image_vq FOLDER [--limit N]``.

*Indices*: bits of all codeword numbers and coarse integers under the predicted Gaussians, and what the same numbers
cost under frequencies alone, each table the true frequencies of all the pictures at that quality, at no cost. A static
coder, as McQuic's, has a table a channel for all its vectors; harder to beat is one that is told every vector's class,
though that follows from the hyperlatents: a table a codebook, or a codebook and channel. Hyperlatents are counted with
the predictions only.
*Lanes*: five lanes, and one of them lost, so a fifth of all indices; concealed, and left at the prior's mean.
*Prefixes*: the file of a high quality cut to what a low one takes.
"""

from __future__ import annotations

import argparse
import collections
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siglum.benchmarks.metrics import psnr
from siglum.codecs import container
from siglum.codecs.image import windows
from siglum.codecs.image.lossy import tiles
from siglum.codecs.image_vq import blocks, cascade, lattice, stream
from siglum.codecs.image_vq.codec import ConcealedWarning, ImageVqCodec
from siglum.codecs.image_vq.constants import LATTICE_UNIT, REFINED, SKIPPED
from siglum.codecs.image_vq.prior import HYPER_BOUND
from siglum.codecs.image_vq.weights import VqWeights, load_by_name
from siglum.datasets.images import find_images, load_rgb

QUALITIES = (5.0, 20.0, 40.0, 60.0, 80.0)
LANES = 5
Counts = dict[tuple[int, int, int], "collections.Counter[bytes]"]  # part of a symbol, class, channel


def coded(
    weights: VqWeights, pixels: NDArray[np.uint8], level: int
) -> Iterator[tuple[cascade.Tile, float, float]]:
    """Each tile after its encoding, bits of its hyperlatents, bits of everything else."""
    y = windows.analyse(weights.engine, weights.preset, pixels, level, 1)
    for rows, columns in tiles(*pixels.shape[:2]):
        part = y[rows, columns]
        z = np.clip(np.rint(weights.engine.hyper_analyse(part, level, 1)), -HYPER_BOUND, HYPER_BOUND)
        mean, index = weights.prior(z.astype(np.int16), level, part.shape[:2], 1)
        tile = cascade.Tile(weights, index, 1)
        x = tile.vectors(part - mean * weights.mean_unit(level))
        steps = [step for layer in blocks.layers(weights.ranges) for step in tile.encode(layer, 0, x, 1)[0]]
        base = 8 * len(stream.encode_base(weights, z.astype(np.int16), level).payload)
        yield tile, base, sum((step.bits() for step in steps), 0.0)


def count(tile: cascade.Tile, counts: Counts, static: Counts) -> None:
    """Add a tile's symbols to the counts, by class and channel; and by channel, with what is not coded as zero."""
    whole = tile.spent.copy()
    refined = tile.kinds == REFINED
    coarse, numbers = lattice.split(whole[refined] // LATTICE_UNIT)
    whole[refined] = 0
    whole[refined, 0] = numbers + 2**24  # beyond all codewords of the others
    for c in range(tile.channels):
        static[0, 0, c].update(_keys(whole[:, c]))
        static[1, 0, c].update(_keys(coarse[np.nonzero(refined)[1] == c].reshape(-1, 1)))
    for kind in range(SKIPPED):
        block, channel = np.nonzero(tile.kinds == kind)
        spent = tile.spent[block, channel]
        if kind == REFINED:
            coarse, numbers = lattice.split(spent // LATTICE_UNIT)
            parts = [(0, numbers[:, None]), *((1, coarse[:, i : i + 1]) for i in range(coarse.shape[1]))]
        else:
            parts = [(0, spent)]
        for part, symbols in parts:
            order = np.argsort(channel, kind="stable")
            bounds = np.searchsorted(channel[order], np.arange(tile.channels + 1))
            for c in range(tile.channels):
                counts[part, kind, c].update(_keys(symbols[order[bounds[c] : bounds[c + 1]]]))


def _keys(symbols: NDArray[np.integer]) -> list[bytes]:
    """Each row as bytes."""
    rows = np.ascontiguousarray(symbols, np.int32)
    return [row.tobytes() for row in rows]


def entropy(counters: Iterator[collections.Counter[bytes]]) -> float:
    """Bits of all symbols under their own frequencies, one table a counter."""
    total = 0.0
    for counter in counters:
        n = np.array(list(counter.values()), np.float64)
        total += float(n.sum() * np.log2(n.sum()) - (n * np.log2(n)).sum()) if n.size else 0.0
    return total


def indices(pictures: list[NDArray[np.uint8]], quality: float) -> str:
    """A line: predicted, with hyperlatents; by frequencies a codebook, and a codebook and channel."""
    weights, level = load_by_name(ImageVqCodec().config.model), ImageVqCodec(quality=quality).level
    counts: Counts = collections.defaultdict(collections.Counter)
    static: Counts = collections.defaultdict(collections.Counter)
    base = own = 0.0
    for pixels in pictures:
        for tile, hyper, bits in coded(weights, pixels, level):
            base, own = base + hyper, own + bits
            count(tile, counts, static)
    merged: dict[tuple[int, int], collections.Counter[bytes]] = collections.defaultdict(collections.Counter)
    for (part, kind, _), counter in counts.items():
        merged[part, kind].update(counter)
    area = sum(pixels.shape[0] * pixels.shape[1] for pixels in pictures)
    totals = [entropy(iter(tables.values())) for tables in (static, merged, counts)]
    others = "   ".join(
        f"{name} {bits / area:.4f} ({100 * ((base + own) / bits - 1):+.1f} %, without hyperlatents "
        f"{100 * (own / bits - 1):+.1f} %)"
        for name, bits in zip(("static", "a codebook", "a codebook and channel"), totals, strict=True)
    )
    return f"{quality:5.1f}  {base / area:.4f} + {own / area:.4f} bpp   {others}"


def lanes(pictures: list[NDArray[np.uint8]], quality: float) -> str:
    """A line: PSNR of whole files, of files without one lane of five, concealed and not."""
    totals = np.zeros(4)
    for number, pixels in enumerate(pictures):
        data = ImageVqCodec(quality=quality, lanes=LANES, threads=1).encode(pixels)
        header, chunks = container.read(data)
        lost = number % LANES
        base = len(tiles(*pixels.shape[:2]))
        bad = bytearray(data)
        reader = container.Reader(data)
        for position, entry in enumerate(reader.entries):
            if position >= base and (position - base) % LANES == lost:
                bad[entry.offset + entry.size // 2] ^= 1
        parts = {
            chunk.sequence: stream.Part(chunk.payload, chunk.symbols_crc or 0)
            for chunk in chunks
            if chunk.sequence < base or (chunk.sequence - base) % LANES != lost
        }
        codec = ImageVqCodec(conceal=True, threads=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConcealedWarning)
            concealed = codec.decode_array(bytes(bad))
        plain = codec.decode_parts(header, parts)
        one = ImageVqCodec(quality=quality, threads=1).encode(pixels)
        whole = codec.decode_array(data)
        totals += [
            psnr(pixels, whole),
            psnr(pixels, concealed),
            psnr(pixels, plain),
            100 * len(data) / len(one),
        ]
    whole_db, concealed_db, plain_db, size = totals / len(pictures)
    return (
        f"{quality:5.1f}  whole {whole_db:.2f} dB   a lane of {LANES} lost: {concealed_db:.2f} dB concealed, "
        f"{plain_db:.2f} dB with means   size {size:.1f} % of the usual lanes'"
    )


def prefixes(pictures: list[NDArray[np.uint8]], quality: float) -> str:
    """A line: rate and PSNR of the first chunks of a file, group by group."""
    found: dict[int, list[tuple[float, float]]] = collections.defaultdict(list)
    for pixels in pictures:
        data = ImageVqCodec(quality=quality, lanes=1, threads=1).encode(pixels)
        chunks = len(container.Reader(data).entries)
        for kept in range(1, chunks + 1):
            part = container.truncate_chunks(data, count=kept)
            shown = ImageVqCodec(threads=1).decode_array(part)
            rate = 8 * len(part) / (pixels.shape[0] * pixels.shape[1])
            found[kept - chunks].append((rate, psnr(pixels, shown)))
    rows = [np.mean(found[kept], axis=0) for kept in sorted(found) if len(found[kept]) == len(pictures)]
    return f"{quality:5.1f}  " + "  ".join(f"{rate:.3f}/{quality_db:.2f}" for rate, quality_db in rows)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--only", choices=("indices", "lanes", "prefixes"))
    given = parser.parse_args()
    pictures = [load_rgb(path) for path in find_images(given.folder)[: given.limit]]
    for title, line, qualities in (
        ("indices: hyperlatents + indices, and by frequencies", indices, QUALITIES),
        ("lanes", lanes, (20.0, 40.0, 60.0)),
        ("prefixes: bpp/dB", prefixes, (40.0, 80.0)),
    ):
        if given.only not in (None, line.__name__):
            continue
        print(title)
        for quality in qualities:
            print(line(pictures, quality), flush=True)


if __name__ == "__main__":
    main()
