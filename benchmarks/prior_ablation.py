"""What multivariate Gaussians save: the prior trained twice on one frozen transform, with factors and without.

    python -m siglum.benchmarks.prior_ablation --data PHOTOS --from last.pt --out RUNS --steps 900 --test KODAK

Both arms begin alike, have the same networks, batches and number of steps; in one the factors towards neighbours
stay zero. Rates are those of whole tiles as they would be in a file, over a folder of pictures that neither arm
has seen; runs that are there already go on where they stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siglum.benchmarks.bd_rate import compare_curves
from siglum.benchmarks.inference import picture_of
from siglum.benchmarks.machine import describe
from siglum.codecs import models
from siglum.codecs.image import lossy
from siglum.codecs.image.constants import SCALES
from siglum.codecs.image.quantise import OFFSET_CLASSES
from siglum.codecs.image.weights import ImageWeights, collect
from siglum.datasets.images import find_images
from siglum.errors import require_torch

LEVELS = (20, 56, 92, 128, 164, 200, 236)
ARMS = {"independent": False, "multivariate": True}
Point = tuple[float, float]


def trained(data: Path, start: str, out: Path, steps: int, correlated: bool) -> ImageWeights:
    """The prior of one arm, trained or taken from its checkpoint, in exact integers."""
    from siglum.codecs.image import prior_export
    from siglum.codecs.image.train_prior import PriorRecipe, PriorTrainer

    recipe = PriorRecipe(steps=steps, correlated=correlated)
    trainer = PriorTrainer(recipe, start, data, out, lambda line: print(line, file=sys.stderr))
    trainer.resume()
    trainer.run()
    model = trainer.average.eval()
    offsets = np.zeros((SCALES, OFFSET_CLASSES), np.float32)
    tensors = collect(model, prior_export.export(model), offsets, error_factor=recipe.error_factor)
    return ImageWeights(tensors, models.model_id(tensors))


def curve(weights: ImageWeights, pictures: Sequence[NDArray[np.uint8]]) -> list[Point]:
    """Mean bits a pixel and mean PSNR at each level."""
    points = []
    for level in LEVELS:
        found = []
        for pixels in pictures:
            height, width = pixels.shape[:2]
            coded, latents = lossy.encode(weights, pixels, level, 1)
            out = lossy.synthesise(weights, latents, level, height, width, 1)
            error = max(float(np.mean((out.astype(np.float64) - pixels) ** 2)), 1e-9)
            bits = 8 * sum(len(tile.payload) for tile in coded) / (height * width)
            found.append((bits, 10 * np.log10(255.0**2 / error)))
        rate, ratio = np.mean(found, axis=0)
        points.append((float(rate), float(ratio)))
    return points


def table(independent: Sequence[Point], multivariate: Sequence[Point]) -> list[str]:
    """A line a level, and the mean over the levels, of rates and PSNRs; then the BD-rate."""
    lines = [f"{'level':>5} {'independent':>20} {'multivariate':>20} {'rate':>8}"]
    for level, (rate, ratio), (other, its) in zip(LEVELS, independent, multivariate, strict=True):
        change = 100 * (other / rate - 1)
        lines.append(f"{level:5} {rate:9.4f} / {ratio:5.2f} dB {other:9.4f} / {its:5.2f} dB {change:+7.2f} %")
    ratios = [other[0] / one[0] for one, other in zip(independent, multivariate, strict=True)]
    lines.append(f"mean of the rates {100 * (np.exp(np.mean(np.log(ratios))) - 1):+.2f} %")
    compared = compare_curves(*zip(*independent, strict=True), *zip(*multivariate, strict=True))
    lines.append(f"BD-rate {compared.percent:+.2f} %")
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m siglum.benchmarks.prior_ablation", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="photographs to train on")
    parser.add_argument(
        "--from", dest="start", required=True, help="an installed model, or a checkpoint (.pt)"
    )
    parser.add_argument("--out", type=Path, required=True, help="where the two runs are kept")
    parser.add_argument("--steps", type=int, default=900, help="of each run")
    parser.add_argument("--test", type=Path, required=True, help="pictures to measure on")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error("the number of steps must be positive")
    require_torch("training")
    import torch

    torch.set_num_threads(1)
    pictures = [picture_of(path) for path in find_images(options.test)]
    print(describe(f"{len(pictures)} pictures, {options.steps} steps, whole tiles at their sizes"))
    found = {}
    for name, correlated in ARMS.items():
        weights = trained(options.data, options.start, options.out / name, options.steps, correlated)
        found[name] = curve(weights, pictures)
    print("\n".join(table(found["independent"], found["multivariate"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
