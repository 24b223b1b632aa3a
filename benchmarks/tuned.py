"""Weights tuned for another measure against the usual ones: ``python -m siglum.benchmarks.tuned PICTURE...``."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image

from siglum.benchmarks.bd_rate import bd_rate
from siglum.benchmarks.metrics import ms_ssim_in_db, psnr
from siglum.codecs.image.codec import ImageCodec

LEVELS = (8, 48, 96, 144, 192, 240)
MEASURES = {"MS-SSIM": ms_ssim_in_db, "PSNR": psnr}


def curves(pixels: np.ndarray, model: str) -> dict[str, list[tuple[float, float]]]:
    """For each measure bits a pixel, whole files, and the measure in dB, in the order of levels."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in MEASURES}
    for level in LEVELS:
        codec = ImageCodec(level=level, lossless=False, model=model)
        data = codec.encode(pixels)
        shown = codec.decode_array(data)
        rate = 8 * len(data) / (pixels.shape[0] * pixels.shape[1])
        for name, measure in MEASURES.items():
            found[name].append((rate, measure(pixels, shown)))
    return found


@click.command()
@click.argument("pictures", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--anchor", metavar="MODEL", default="small", show_default=True)
@click.option("--model", metavar="MODEL", default="small-ms-ssim", show_default=True)
def main(pictures: tuple[Path, ...], anchor: str, model: str) -> None:
    """Mean BD-rates of a model against another, by MS-SSIM (mean of RGB, in dB) and by PSNR (of RGB)."""
    rates: dict[str, list[float]] = {name: [] for name in MEASURES}
    rows = []
    for path in pictures:
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
        both = curves(pixels, anchor), curves(pixels, model)
        rows.append([[point for points in of.values() for point in points] for of in both])
        for name in MEASURES:
            first, second = (tuple(zip(*of[name], strict=True)) for of in both)
            rates[name].append(bd_rate(*first, *second))
    means = np.mean(rows, axis=0).reshape(2, len(MEASURES), len(LEVELS), 2)
    for which, name in enumerate((anchor, model)):
        for number, level in enumerate(LEVELS):
            rate, similarity = means[which, 0, number]
            click.echo(
                f"{name} level {level}: {rate:.3f} bpp, {similarity:.2f} dB, {means[which, 1, number, 1]:.2f} dB"
            )
    for name, values in rates.items():
        click.echo(
            f"{name}: BD-rate {np.mean(values):+.2f} % ({min(values):+.1f} to {max(values):+.1f}), "
            f"{len(values)} pictures"
        )


if __name__ == "__main__":
    main()
