"""Decoding smaller against decoding all and averaging: ``python -m siglum.benchmarks.scaled PICTURE...``."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from siglum.benchmarks.metrics import psnr
from siglum.codecs.image.codec import ImageCodec
from siglum.codecs.image.scale import FACTORS

REPEATS = 5


def seconds(work: Callable[[], Any]) -> float:
    """The least of some repeats, in seconds of processor time."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def averaged(codec: ImageCodec, data: bytes, factor: int) -> Image.Image:
    """The whole picture, then smaller."""
    return Image.fromarray(codec.decode_array(data)).reduce(factor)


@click.command()
@click.argument("pictures", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--quality", default=60.0, show_default=True)
def main(pictures: tuple[Path, ...], quality: float) -> None:
    """Speed on one thread, PSNR against the whole averaged by Pillow's `reduce`, and against the original."""
    codec = ImageCodec(quality=quality, lossless=False, threads=1)
    rows: dict[int, list[tuple[float, ...]]] = {factor: [] for factor in FACTORS}
    for path in pictures:
        with Image.open(path) as image:
            original = image.convert("RGB")
        data = codec.encode(np.array(original))
        for factor in FACTORS:
            whole = np.array(averaged(codec, data, factor))
            small = codec.decode_scaled(data, factor).pixels
            wanted = np.array(original.reduce(factor))
            usual = seconds(partial(averaged, codec, data, factor))
            scaled = seconds(partial(codec.decode_scaled, data, factor))
            rows[factor].append((usual, scaled, psnr(whole, small), psnr(wanted, small), psnr(wanted, whole)))
    for factor, values in rows.items():
        usual, scaled, same, ours, theirs = np.mean(values, axis=0)
        click.echo(
            f"1/{factor}: {scaled * 1e3:.0f} ms, whole and averaged {usual * 1e3:.0f} ms: "
            f"{usual / scaled:.2f} times as fast; "
            f"{same:.1f} dB to it; to the original {ours:.1f} dB, it {theirs:.1f} dB"
        )


if __name__ == "__main__":
    main()
