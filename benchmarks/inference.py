"""Speed of the image codec's networks: compiled code against torch, in one run.

    python -m siglum.benchmarks.inference [PICTURE]

Native and torch take turns in every repetition, and of each the least wall time counts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from siglum.benchmarks.machine import describe
from siglum.codecs.image import lossy, windows
from siglum.codecs.image.codec import ImageCodec
from siglum.codecs.image.engine import ENGINES, EngineName
from siglum.codecs.image.weights import load_by_name
from siglum.kernels import dispatch
from siglum.kernels.float_network import FloatNetwork, Pointwise, rounds

if TYPE_CHECKING:
    from siglum.codecs.image.weights import ImageWeights

CHANNELS, POSITIONS, LAYERS = 192, (8, 96), 16  # of the matrix products
LEVEL = 153
ROUNDING_LEVELS = (20, 60, 100, 140, 180, 220, 250)
Work = Callable[[], object]


def least_seconds(works: Mapping[str, Work], repeats: int) -> dict[str, float]:
    """Least wall time of each, taking turns; one round before the measurement warms up."""
    best = dict.fromkeys(works, float("inf"))
    for number in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if number:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def picture_of(path: Path | None) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: a file's picture, or a made one of the size of Kodak's."""
    if path is not None:
        from siglum.codecs.image.picture import read_picture

        pixels = np.atleast_3d(read_picture(path).pixels)
        return np.ascontiguousarray(np.broadcast_to(pixels[..., :3], (*pixels.shape[:2], 3)))
    rows, columns = np.mgrid[0:512, 0:768]
    waves = [128 + 90 * np.sin(rows / (20 + 9 * c)) * np.cos(columns / (31 - 8 * c)) for c in range(3)]
    noise = np.random.default_rng(0).normal(0, 6, (512, 768, 3))
    return np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def network_rows(pixels: NDArray[np.uint8], engines: Sequence[EngineName], repeats: int) -> list[str]:
    """Megapixels a second of the networks and of the whole codec."""
    weights = load_by_name("small")
    height, width = pixels.shape[:2]
    latents = lossy.encode(weights, pixels, LEVEL, 1)[1]
    rows = []
    for threads in (1, 2):
        works: dict[str, dict[str, Work]] = {"analysis": {}, "synthesis": {}, "encode": {}, "decode": {}}
        for name in engines:
            engine, preset = weights.engine(name), weights.preset
            codec = ImageCodec(level=LEVEL, lossless=False, threads=threads, engine=name)
            data = codec.encode(pixels)
            works["analysis"][name] = partial(windows.analyse, engine, preset, pixels, LEVEL, threads)
            works["synthesis"][name] = partial(
                windows.synthesise, engine, preset, latents, LEVEL, height, width, threads
            )
            works["encode"][name] = partial(codec.encode, pixels)
            works["decode"][name] = partial(codec.decode_array, data)
        for work, runs in works.items():
            seconds = least_seconds(runs, repeats)
            speeds = {name: height * width / 1e6 / value for name, value in seconds.items()}
            rows.append(_row(work, threads, "MP/s", speeds))
    return rows


def share_rows(pixels: NDArray[np.uint8], repeats: int) -> list[str]:
    """Milliseconds a megapixel of decoding, and the part of it that entropy decoding with its prior takes."""
    weights = load_by_name("small")
    height, width = pixels.shape[:2]
    megapixels = height * width / 1e6
    tiles, _ = lossy.encode(weights, pixels, LEVEL, 1)
    data = ImageCodec(level=LEVEL, lossless=False).encode(pixels)
    rows = []
    for threads in (1, 2):
        works: dict[str, Work] = {
            "latents": partial(lossy.decode_latents, weights, tiles, height, width, LEVEL, threads),
            "all": partial(ImageCodec(threads=threads).decode_array, data),
        }
        best = least_seconds(works, repeats)
        share = best["latents"] / best["all"]
        cells = "  ".join(f"{name} {1e3 * seconds / megapixels:.1f}" for name, seconds in best.items())
        rows.append(f"decode, {threads} threads: ms/MP {cells}  share of the latents {share:.1%}")
    return rows


def rounding_rows(folder: Path) -> list[str]:
    """What an analysis in bfloat16 costs against float32: changes of rate and squared error over a folder."""
    from siglum.datasets.images import find_images

    pictures = [picture_of(path) for path in find_images(folder)]
    weights = load_by_name("small")
    rows = []
    for level in ROUNDING_LEVELS:
        totals = {}
        for isa in ("avx2", "avx512"):
            with mock.patch.dict(os.environ, SIGLUM_ISA=isa):
                trials = [_trial(weights, pixels, level) for pixels in pictures]
            totals[isa] = np.sum(trials, axis=0)
        rate, error = 100 * (totals["avx512"] / totals["avx2"] - 1)
        rows.append(f"level {level:3}  rate {rate:+.4f} %  squared error {error:+.4f} %")
    return rows


def _trial(weights: ImageWeights, pixels: NDArray[np.uint8], level: int) -> tuple[float, float]:
    """Bits and mean squared error a pixel."""
    height, width = pixels.shape[:2]
    coded, latents = lossy.encode(weights, pixels, level, 1)
    decoded = lossy.synthesise(weights, latents, level, height, width, 1)
    bits = 8 * sum(len(tile.payload) for tile in coded) / (height * width)
    return bits, float(np.mean((decoded.astype(np.float64) - pixels) ** 2))


def product_rows(engines: Sequence[EngineName], repeats: int) -> list[str]:
    """GFLOP/s of matrix products of the networks' sizes, on one thread, by instruction set."""
    random = np.random.default_rng(0)
    weight = (random.standard_normal((CHANNELS, CHANNELS)) / np.sqrt(CHANNELS)).astype(np.float32)
    layers = [Pointwise(weight, np.zeros(CHANNELS, np.float32))] * LAYERS
    network = FloatNetwork(layers, CHANNELS)
    x = random.standard_normal((*POSITIONS, CHANNELS)).astype(np.float32)
    out = np.empty_like(x)
    works: dict[str, Work] = {isa: partial(network, x, out=out, isa=isa) for isa in dispatch.available_isas()}
    if "torch" in engines:
        works["torch"] = _torch_products(x, weight)
    operations = 2 * LAYERS * POSITIONS[0] * POSITIONS[1] * CHANNELS**2
    speeds = {name: operations / seconds / 1e9 for name, seconds in least_seconds(works, repeats).items()}
    return [f"{name:10} {speed:8.1f} GFLOP/s" for name, speed in speeds.items()]


def _torch_products(x: NDArray[np.float32], weight: NDArray[np.float32]) -> Work:
    import torch

    matrix, start = torch.from_numpy(weight), torch.from_numpy(x.reshape(-1, CHANNELS))

    def work() -> object:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        with torch.inference_mode():
            y = start
            for _ in range(LAYERS):
                y = torch.nn.functional.linear(y, matrix)
        torch.set_num_threads(before)
        return y

    return work


def cold_rows(pixels: NDArray[np.uint8], engines: Sequence[EngineName], repeats: int) -> list[str]:
    """Seconds of a whole process: `codec decode` to PNG and `codec encode` of the picture."""
    from siglum.codecs.image.picture import Picture, write_picture

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source, coded, back = (str(Path(folder) / name) for name in ("in.png", "a.sgl", "out.png"))
        write_picture(Picture(pixels), source)
        Path(coded).write_bytes(ImageCodec(level=LEVEL, lossless=False).encode(pixels))
        for verb, files in (("decode", (coded, back)), ("encode", (source, str(Path(folder) / "b.sgl")))):
            runs: dict[str, Work] = {}
            for name in engines:
                command = [sys.executable, "-c", "from siglum.cli.main import main; main()", verb, files[0]]
                command += ["-o", files[1], "-f", "--quiet", "--engine", name]
                runs[name] = partial(subprocess.run, command, check=True)
            rows.append(_row(f"codec {verb}", dispatch.threads(), "s", least_seconds(runs, repeats)))
    return rows


def _row(work: str, threads: int, unit: str, values: Mapping[str, float]) -> str:
    native, torch = values["native"], values.get("torch")
    cells = f"{work:14} {threads:7} {native:9.2f}"
    if torch is None:
        return f"{cells} {'-':>9} {'-':>6}  {unit}"
    ratio = torch / native if unit == "s" else native / torch
    return f"{cells} {torch:9.2f} {ratio:6.2f}  {unit}"


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m siglum.benchmarks.inference", description=__doc__)
    parser.add_argument("picture", type=Path, nargs="?", help="a picture; by default one is made, 768x512")
    parser.add_argument("--repeats", type=int, default=9, help="timed runs, of which the best counts")
    parser.add_argument("--cold", type=int, default=5, help="timed processes; 0 starts none")
    parser.add_argument(
        "--rounding", type=Path, help="only: what bfloat16 costs over this folder of pictures"
    )
    options = parser.parse_args(arguments)
    if options.rounding:
        if not rounds("avx512"):
            parser.error("this machine does not multiply bfloat16")
        print("\n".join(rounding_rows(options.rounding)))
        return 0
    if options.repeats < 1 or options.cold < 0:
        parser.error("numbers must be positive")
    engines = [name for name in ENGINES if name == "native" or find_spec("torch") is not None]
    pixels = picture_of(options.picture)
    print(
        describe(
            f"{pixels.shape[1]}x{pixels.shape[0]}, model small, level {LEVEL}, torch on the CPU or its GPU"
        )
    )
    print(f"measure   least wall time of {options.repeats}, engines in turn; ratio: how many times as fast\n")
    print(f"{'work':14} {'threads':>7} {'native':>9} {'torch':>9} {'ratio':>6}")
    for row in network_rows(pixels, engines, options.repeats):
        print(row, flush=True)
    for row in share_rows(pixels, options.repeats):
        print(row, flush=True)
    if options.cold:
        for row in cold_rows(pixels, engines, options.cold):
            print(row, flush=True)
    print(f"\nfloat32 products, {POSITIONS[0] * POSITIONS[1]} x {CHANNELS} x {CHANNELS}, one thread")
    print("\n".join(product_rows(engines, options.repeats)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
