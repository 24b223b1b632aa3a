"""What a prior saves on codes of image latents: ``python -m siglum.benchmarks.codebook_priors PICTURES``.

Vectors are the first 8 channels of `siglum.benchmarks.codebook_data`, companded by asinh(2 x); a row of a picture's
positions, its first 30, is a sequence. Quantizers start by k-means. Every payload is decoded and compared; bits a
vector are 8 times the bytes of all held-out codes, coder states included; `twin` is what `rate` says.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from siglum.benchmarks.codebook_data import Latents, latents
from siglum.benchmarks.machine import describe
from siglum.errors import SiglumError
from siglum.quantizers.priors.context import ContextPrior
from siglum.quantizers.priors.frequency import FrequencyPrior
from siglum.quantizers.residual import ResidualQuantizer
from siglum.quantizers.staged import Staged
from siglum.quantizers.vector import VectorQuantizer

DIM, LENGTH, STEPS, ROWS = 8, 30, 150, 64


def rows(grids: list[Any], most: int) -> Tensor:
    """Sequences (N, 30, 8) of the grids' rows, in random order."""
    wide = [grid[:, :LENGTH, :DIM] for grid in grids if grid.shape[1] >= LENGTH]
    values = np.concatenate(wide)
    return torch.asinh(2 * torch.from_numpy(values[np.random.default_rng(0).permutation(len(values))[:most]]))


def train(prior: ContextPrior, codes: Tensor, steps: int) -> None:
    """Adam on random rows, the rate falling to zero."""
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(prior.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    for _ in range(steps):
        batch = codes[torch.randint(len(codes), (ROWS,), generator=generator)]
        loss = prior.bits(batch).sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def measure(name: str, quantizer: Staged, prior: Any, codes: Tensor) -> str:
    """One line: bits of the twin and of the bytes, after a round trip that must be right."""
    with torch.no_grad():
        bits = float(sum(quantizer.rate(part, prior).sum() for part in codes.split(256)))
    coder, values = prior.export(), codes.numpy()
    begin = time.thread_time()
    data = coder.encode(values)
    middle = time.thread_time()
    decoded = coder.decode(data, values.shape)
    end = time.thread_time()
    if not np.array_equal(decoded, values):
        raise SiglumError(f"{name} does not decode to what was encoded")
    vectors = codes[..., 0].numel()
    return (
        f"| {name} | {bits / vectors:.3f} | {8 * len(data) / vectors:.3f} | {100 * (8 * len(data) / bits - 1):+.2f} % "
        f"| {vectors / 1e3 / (middle - begin):.0f} / {vectors / 1e3 / (end - middle):.0f} |"
    )


def experiment(data: Latents, what: str, quantizer: Staged, steps: int) -> None:
    """Lines of one quantizer."""
    known, held = rows(data.known, 8000), rows(data.held, 1500)
    quantizer.start(known.reshape(-1, DIM)[: 1024 * 50])
    train_codes, codes = quantizer.encode(known), quantizer.encode(held)
    books = [book.vectors().detach() for book in quantizer.codebooks]
    print(f"| {what}: no prior | {float(quantizer.rate(codes[0, 0])):.3f} | | | |", flush=True)
    for name, prior in (
        ("frequencies", FrequencyPrior(quantizer.sizes)),
        ("frequencies by class of the stage before", FrequencyPrior(quantizer.sizes, books)),
    ):
        if quantizer.stages > 1 or name == "frequencies":
            prior.start(train_codes)
            print(measure(f"{what}: {name}", quantizer, prior, codes), flush=True)
    context = ContextPrior(books)
    context.start(train_codes)
    train(context, train_codes, steps)
    print(measure(f"{what}: Gaussian from the vector before", quantizer, context, codes), flush=True)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path, help="folder of photographs to make latents of")
    parser.add_argument("--limit", type=int, help="pictures to use")
    parser.add_argument("--steps", type=int, default=STEPS, help="of training a context")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = latents(arguments.pictures, limit=arguments.limit)
    print(describe(f"{len(data.known)} pictures to train, {len(data.held)} held out; one thread"))
    print("\n| prior | bits a vector, twin | in bytes | over | k vectors a CPU second, encode / decode |")
    print("|---|---:|---:|---:|---:|")
    one = VectorQuantizer(dim=DIM, codewords=1024, codebook="ema")
    two = ResidualQuantizer(dim=DIM, stages=2, codewords=256, codebook="ema")
    experiment(data, "1 x 1024", one, arguments.steps)
    experiment(data, "2 x 256", two, arguments.steps)


if __name__ == "__main__":
    main()
