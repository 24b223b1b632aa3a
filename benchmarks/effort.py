"""What the image codec's efforts save and take: ``python -m siglum.benchmarks.effort PICTURE... [--most 9]``.

Every effort tries what the lower ones try, so one search gives the figures of all.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from siglum.benchmarks.bd_rate import bd_rate
from siglum.benchmarks.metrics import psnr
from siglum.codecs.image import effort, lossy, windows
from siglum.codecs.image.weights import load_by_name

LEVELS = (40, 96, 152, 208)
FRAME = 64  # bytes of a file at most besides the payload; its tile is the whole picture


def measure(path: Path, level: int, most: int, threads: int) -> Iterator[dict[str, Any]]:
    """One row an effort: bits a pixel, PSNR, seconds of thread time."""
    with Image.open(path) as image:
        pixels = np.array(image.convert("RGB"))
    height, width = pixels.shape[:2]
    weights = load_by_name("small")
    start = time.process_time()
    y = windows.analyse(weights.engine("native"), weights.preset, pixels, level, threads)
    search = effort.Search(weights, pixels, level, threads, "native")
    best: dict[int, tuple[effort.Choice, float]] = {}
    for least, choice in search.choices(y, most):
        before = min((tried for tried, _ in best.values()), key=lambda tried: tried.cost, default=choice)
        chosen = choice if choice.cost < before.cost else before
        best[least] = chosen, time.process_time() - start
    for number, (choice, seconds) in best.items():
        shown = lossy.synthesise(weights, choice.latents, level, height, width, threads)
        yield {
            "picture": path.name,
            "level": level,
            "effort": number,
            "bpp": 8 * (len(choice.tile.payload) + FRAME) / (height * width),
            "psnr": psnr(pixels, shown),
            "seconds": seconds,
        }


def summarise(rows: list[dict[str, Any]]) -> list[str]:
    """One line an effort: mean of the pictures' BD-rates against effort 5, mean seconds."""
    usual = effort.USUAL
    lines = []
    for number in sorted({row["effort"] for row in rows}):
        rates = []
        for name in sorted({row["picture"] for row in rows}):
            curves = [
                sorted(
                    (row["bpp"], row["psnr"])
                    for row in rows
                    if row["picture"] == name and row["effort"] == which
                )
                for which in (usual, number)
            ]
            if len(curves[0]) == len(curves[1]) >= 2:
                rates.append(bd_rate(*zip(*curves[0], strict=True), *zip(*curves[1], strict=True)))
        seconds = np.mean([row["seconds"] for row in rows if row["effort"] == number])
        mean = np.mean(rates) if rates else np.nan
        lines.append(f"effort {number}  BD-rate {mean:+.2f} %  {seconds:.2f} s  ({len(rates)} pictures)")
    return lines


@click.command()
@click.argument("pictures", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--most", type=click.IntRange(5, 9), default=7, show_default=True)
@click.option("--levels", default=",".join(map(str, LEVELS)), show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Keep the rows, as lines of JSON.")
def main(pictures: tuple[Path, ...], most: int, levels: str, threads: int, out: Path | None) -> None:
    """BD-rate (PSNR of RGB) of efforts against effort 5, and seconds of processor time a picture."""
    rows = []
    for path in pictures:
        for level in map(int, levels.split(",")):
            for row in measure(path, level, most, threads):
                rows.append(row)
                if out is not None:
                    with out.open("a") as file:
                        file.write(json.dumps(row) + "\n")
        sys.stderr.write(f"{path.name} done\n")
    click.echo("\n".join(summarise(rows)))


if __name__ == "__main__":
    main()
