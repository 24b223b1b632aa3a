"""Damage files at random and count how decoding ends: ``python tests/fuzz.py --seconds 60``.

`damage` hits whole files (bits flipped, cut, spliced, blocks doubled): only a typed error will do. `forge` hits headers
and payloads and writes the files' checksums anew, but not those of the symbols, which it does not know. `rewrite` codes
random symbols with every checksum right: some picture or recording may come out. Nothing may crash, hang or take much
memory.
"""

from __future__ import annotations

import argparse
import collections
import io
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import siglum
from siglum import errors
from siglum.codecs import container
from siglum.codecs.audio import frame, gain
from siglum.codecs.audio.codec import AudioCodec
from siglum.codecs.audio.edit import Coded, join
from siglum.codecs.audio.encoder import symbols
from siglum.codecs.audio.weights import load_by_id as load_audio
from siglum.codecs.container import Chunk, ChunkType, Header
from siglum.codecs.image import lossy
from siglum.codecs.image.weights import load_by_id
from siglum.kernels.checksum import crc32c

GOLDEN = Path(__file__).parent / "golden"
SKIPPED = {"tiled"}  # large: a second each
SECONDS, MEBIBYTES = 5.0, 1024.0  # what no decoding may take


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
        shape[int(random.integers(2))] = int(2 ** random.uniform(0, 28))
        quality = None if header.quality is None else int(random.integers(256))
        extra = dict(header.extra)
        if header.codec == frame.CODEC_ID and random.integers(2):
            shape = list(header.shape)
            extra[int(random.choice([*frame.KEYS, frame.KEY_DEPTH, 21]))] = int(2 ** random.uniform(0, 62))
        header = Header(
            header.codec, header.codec_version, header.model, tuple(shape), header.dtype, quality, extra
        )
    victim = int(random.integers(len(chunks)))
    old = chunks[victim]
    chunks[victim] = Chunk(old.type, old.sequence, damage(old.payload, random), old.symbols_crc)
    return container.write(header, chunks, container.Limits(max_pixels=2**62, max_elements=2**62))


def rewrite(data: bytes, random: np.random.Generator) -> bytes:
    """Random symbols of any size in place of a lossy picture's, with every checksum right."""
    header = container.Reader(data).header
    if header.codec == frame.CODEC_ID:
        return respeak(data, random)
    if len(header.model) != 8 or header.quality is None:
        return forge(data, random)
    weights = load_by_id(header.model)
    rows, columns = (int(side) for side in random.integers(1, 9, 2))
    wild = int(random.choice([1, 2, 20, 127, 200, 2**15, 2**31 - 1]))
    shape = (-(-rows // 4), -(-columns // 4), weights.preset["hyper"])
    z = random.integers(-wild, wild + 1, shape).astype(np.int32)
    level = int(random.integers(256))
    bounded = np.clip(z, -127, 127).astype(np.int16)
    symbols = random.integers(-wild - 1, wild + 1, (rows, columns, weights.preset["latent"])).astype(np.int32)
    _, index = lossy.predict(weights, bounded, symbols, level, 1)
    symbols[index < weights.skip] = 0
    payload = lossy.encode_symbols(weights, z, symbols, index, level)
    chunk = Chunk(ChunkType.DATA, 0, payload, lossy.symbols_checksum(z, symbols))
    size = (rows * 16 - int(random.integers(16)), columns * 16 - int(random.integers(16)), 3)
    return container.write(Header(1, 0, header.model, size, "uint8", level), [chunk])


def respeak(data: bytes, random: np.random.Generator) -> bytes:
    """Random codes and heads of chunks in place of a recording's, with every checksum right."""
    header, chunks = container.read(data, frame.LIMITS)
    form, weights = frame.form_of(header), load_audio(header.model)
    p, made = weights.preset, []
    for number, chunk in enumerate(chunks):
        head, _ = frame.unpack(chunk.payload, form.channels, form.frames)
        frames, parts, crc = head.frames or form.frames, [], 0
        for _ in range(form.channels):
            counts = random.integers(0, p.stages + 1, frames).astype(np.uint8)
            codes = random.integers(0, p.codewords, (frames, p.codes)).astype(np.int32)
            codes[np.arange(p.codes)[None] // p.groups >= counts[:, None]] = 0
            crc = crc32c(symbols(codes, counts, p.groups), crc)
            parts.append(weights.prior.encode(codes, counts))
        head = replace(head, gain=int(random.integers(gain.LEAST, gain.MOST + 1)))
        if random.integers(8) == 0:
            head = replace(head, reset=bool(random.integers(2)), skip=None)
        if head.length is not None and random.integers(4) == 0:
            head = replace(head, length=int(2 ** random.uniform(0, 39)))
        made.append(Chunk(ChunkType.DATA, number, frame.pack(head, parts), crc))
    return container.write(header, made, frame.LIMITS)


def spoken() -> dict[str, bytes]:
    """Recordings: mono, stereo at another rate, and of two segments that were cut out."""
    noise = (0.1 * np.random.default_rng(0).standard_normal((40000, 2))).astype(np.float32)
    mono = AudioCodec(frames=20, threads=1).encode_audio(noise[:, 0], 16000)
    stereo = AudioCodec(frames=50, threads=1, bitrate=4000).encode_audio(noise, 24000)
    parts = []
    for start, stop in ((3000, 12000), (20000, 33000)):
        file = io.BytesIO()
        Coded(io.BytesIO(mono)).cut(start, stop, file)
        parts.append(("", Coded(io.BytesIO(file.getvalue()))))
    joined = io.BytesIO()
    join(parts, joined)
    return {"mono": mono, "stereo": stereo, "joined": joined.getvalue()}


def main() -> int:
    """Run and print the counts; exit code 1 if anything but a typed error or a picture came out, or too late."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    good = {path.stem: path.read_bytes() for path in sorted(GOLDEN.glob("*.sgl")) if path.stem not in SKIPPED}
    good |= spoken()
    pictures = {name: siglum.decode(data, threads=1) for name, data in good.items()}
    names = list(good)
    counts: collections.Counter[str] = collections.Counter()
    slowest, silent = 0.0, 0
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        name = names[int(random.integers(len(names)))]
        edit = (damage, forge, rewrite)[int(random.integers(3))]
        bad = edit(good[name], random)
        start = time.monotonic()
        try:
            out = siglum.decode(bad, threads=1)
        except errors.BitstreamError as error:
            counts[f"{edit.__name__}: {type(error).__name__}"] += 1
        else:
            same = out.shape == pictures[name].shape and np.array_equal(out, pictures[name])
            counts[f"{edit.__name__}: {'the same' if same else 'another'}"] += 1
            silent += edit is damage and bad != good[name]
        slowest = max(slowest, time.monotonic() - start)
    for outcome, count in sorted(counts.items()):
        print(f"{count:9,}  {outcome}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024 if sys.platform != "darwin" else 1024**2
    )
    print(
        f"{sum(counts.values()):9,}  in all: {silent} silent, slowest {slowest:.2f} s, peak memory {peak:.0f} MiB"
    )
    return 1 if silent or slowest > SECONDS or peak > MEBIBYTES else 0


if __name__ == "__main__":
    sys.exit(main())
