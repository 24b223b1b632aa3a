"""Codebook learning on image latents: ``python -m siglum.benchmarks.codebooks PICTURES [--json FILE]``.

Vectors are those of `siglum.benchmarks.codebook_data`, companded by asinh(2 x) and scaled to unit variance; every
fourth picture is held out. Each run trains a small autoencoder (a residual perceptron on both sides of a vector
quantizer) for some passes over 20 vectors a codeword, with Adam, a warm-up of 20 steps and a learning rate that
falls to zero. Usage, perplexity and distortion are those of held-out vectors, 20 a codeword as well; `mse` is in
units of the variance of a component, through the decoder. CPU seconds are of one thread, with the evaluations.

With --json the results are written after every run, and runs that the file already has are not repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from siglum.benchmarks.codebook_data import Latents, latents
from siglum.benchmarks.codebook_peers import PeerQuantizer
from siglum.benchmarks.machine import PACKAGES, describe
from siglum.quantizers import get

PER_WORD = 20


@dataclass(frozen=True)
class Run:
    """One training."""

    name: str
    codewords: int
    codebook: Any
    dim: int = 8
    start: str = "random"  # or "data": vectors drawn from the data, or "own": what the kind does
    estimator: str = "straight-through"
    rate: float = 1e-3
    passes: int = 3
    batch: int = 16384
    settle: float = 1.0  # part of the steps after which EMA codebooks stop restarting
    peer: bool = False  # the codebook is a class of vector-quantize-pytorch and its settings


@dataclass
class Result:
    """What is reported of a run."""

    run: dict[str, Any]
    usage: float = 0.0
    perplexity: float = 0.0
    mse: float = 0.0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


SIMVQ = {"kind": "simvq"}
BRIDGE = {"kind": "bridge", "group": 64}
EMA = {"kind": "ema", "decay": 0.95}
GUMBEL = {"kind": "gumbel", "temperature": 0.1}
DIVERSE = {"kind": "penalised", "codebook": "gradient", "diversity": 0.1, "temperature": 2.0}
SMALL: dict[str, Any] = {"codewords": 1024, "batch": 4096, "passes": 40}
WIDE: dict[str, Any] = {**SMALL, "dim": 64}
OWN: dict[str, Any] = {"start": "own"}
PEER = {"kind": "VectorQuantize", "decay": 0.95, "commitment_weight": 0.25, "rotation_trick": False}
RESTARTS = {**PEER, "kmeans_init": True, "threshold_ema_dead_code": 2}
RUNS = [
    Run("gradient", 65536, "gradient"),
    Run("gradient, from data", 65536, "gradient", start="data"),
    Run("EMA, no restarts", 65536, {**EMA, "restart": 0.0}),
    Run("EMA", 65536, EMA, settle=0.8),
    Run("SimVQ", 65536, SIMVQ, rate=2e-4, **OWN),
    Run("SimVQ, rotation", 65536, SIMVQ, rate=2e-4, estimator="rotation", **OWN),
    Run("VQBridge", 65536, BRIDGE, passes=4),
    Run("VQBridge, from data", 65536, BRIDGE, **OWN),
    Run("frozen k-means (VQGAN-LC)", 65536, {"kind": "frozen", "iterations": 3}, **OWN),
    Run("gradient", codebook="gradient", **SMALL),
    Run("gradient, rotation", codebook="gradient", estimator="rotation", **SMALL),
    Run("EMA, no restarts", codebook={**EMA, "restart": 0.0}, **SMALL),
    Run("EMA", codebook=EMA, settle=0.8, **SMALL),
    Run("EMA, k-means start", codebook=EMA, settle=0.8, **SMALL, **OWN),
    Run("EMA, k-means start, rotation", codebook=EMA, estimator="rotation", settle=0.8, **SMALL, **OWN),
    Run("SimVQ", codebook=SIMVQ, rate=2e-4, **SMALL, **OWN),
    Run("VQBridge", codebook={"kind": "bridge"}, **SMALL),
    Run("gradient, k-means start", codebook="gradient", **SMALL, **OWN),
    Run("DiVeQ, k-means start", codebook="gradient", estimator="diveq", **SMALL, **OWN),
    Run("IBQ, k-means start", codebook={"kind": "ibq"}, estimator="codebook", **SMALL, **OWN),
    Run("Gumbel, k-means start", codebook=GUMBEL, estimator="codebook", **SMALL, **OWN),
    Run("gradient, diversity penalty", codebook=DIVERSE, **SMALL),
    Run("gradient", codebook="gradient", **WIDE),
    Run("gradient, rotation", codebook="gradient", estimator="rotation", **WIDE),
    Run("EMA, no restarts", codebook={**EMA, "restart": 0.0}, **WIDE),
    Run("EMA", codebook=EMA, settle=0.8, **WIDE),
    Run("EMA, k-means start", codebook=EMA, settle=0.8, **WIDE, **OWN),
    Run("SimVQ", codebook=SIMVQ, rate=2e-4, **WIDE, **OWN),
    Run("VQBridge", codebook={"kind": "bridge"}, **WIDE),
    *(
        Run(f"vector-quantize-pytorch: {name}", codebook=peer, peer=True, **sizes)
        for sizes in (SMALL, WIDE)
        for name, peer in (
            ("EMA, no restarts", PEER),
            ("EMA, k-means start, restarts below 2", RESTARTS),
            ("the same, rotation", {**RESTARTS, "rotation_trick": True}),
            ("SimVQ", {"kind": "SimVQ", "rotation_trick": False, "commitment_weight": 0.25}),
        )
    ),
]


class Coder(nn.Module):
    """Perceptrons around a vector quantizer; both begin as the identity."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.before, self.after = _perceptron(run.dim), _perceptron(run.dim)
        self.quantizer: Any
        if run.peer:
            self.quantizer = PeerQuantizer(run.dim, run.codewords, **run.codebook)
        else:
            self.quantizer = get(
                "vector", dim=run.dim, codewords=run.codewords, codebook=run.codebook, estimator=run.estimator
            )

    def analyse(self, x: Tensor) -> Tensor:
        """Vectors (N, D) before quantisation."""
        return x + self.before(x)

    def synthesise(self, values: Tensor) -> Tensor:
        """Vectors (N, D) after it."""
        return values + self.after(values)


def _perceptron(dim: int) -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(dim, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, dim))
    for parameter in layers[-1].parameters():
        nn.init.zeros_(parameter)
    return layers


@torch.no_grad()
def evaluate(coder: Coder, held: Tensor) -> dict[str, float]:
    """Usage, perplexity and distortion of held-out vectors (N, D)."""
    coder.eval()
    counts = torch.zeros(coder.quantizer.sizes[0], dtype=torch.int64)
    error = 0.0
    for part in held.split(1 << 16):
        codes = coder.quantizer.encode(coder.analyse(part))
        counts += torch.bincount(codes[:, 0], minlength=len(counts))
        error += float((coder.synthesise(coder.quantizer.decode(codes)) - part).square().sum())
    coder.train()
    p = counts[counts > 0].double() / counts.sum()
    return {
        "usage": float((counts > 0).double().mean()),
        "perplexity": float(2 ** -(p * p.log2()).sum()),
        "mse": error / held.numel(),
    }


def batches(x: Tensor, size: int, steps: int) -> Iterator[Tensor]:
    """Random batches, each vector once a pass."""
    generator = torch.Generator().manual_seed(0)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < size:
            order = torch.randperm(len(x), generator=generator)
        yield x[order[:size]]
        order = order[size:]


def vectors(data: Latents, run: Run) -> tuple[Tensor, Tensor]:
    """Vectors (N, D) to train with and held-out ones: companded, of zero mean and unit variance."""
    known, held = (
        torch.asinh(2 * torch.from_numpy(x)) for x in data.vectors(run.dim, PER_WORD * run.codewords)
    )
    mean, scale = known.mean(0), known.std(0)
    return (known - mean) / scale, (held - mean) / scale


def train(run: Run, x: Tensor, held: Tensor) -> Result:
    """Train one autoencoder and evaluate it."""
    torch.manual_seed(0)
    begin = time.thread_time()
    coder = Coder(run)
    book: Any = getattr(coder.quantizer, "codebook", None)
    if run.start == "own":
        coder.quantizer.start(x)
    elif run.start == "data":
        book.assign(x[: run.codewords])
    steps = run.passes * len(x) // run.batch
    optimiser = torch.optim.Adam(coder.parameters(), lr=run.rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, (step + 1) / 20) * (1 - step / steps)
    )
    result = Result(asdict(run))
    for step, batch in enumerate(batches(x, run.batch, steps)):
        if step >= run.settle * steps and hasattr(book, "restart"):
            book.restart = 0.0
        quantized = coder.quantizer(coder.analyse(batch))
        loss = (coder.synthesise(quantized.values) - batch).square().mean() + sum(quantized.losses.values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % max(1, steps // 8) == 0:
            point = evaluate(coder, held[: max(len(held) // 8, 1)])
            result.curve.append({"step": step + 1, "loss": float(loss.detach()), **point})
    for name, value in evaluate(coder, held).items():
        setattr(result, name, value)
    result.seconds = time.thread_time() - begin
    return result


def line(result: dict[str, Any]) -> str:
    """One line of the table."""
    run = result["run"]
    return (
        f"| {run['codewords']:,} | {run['dim']} | {run['name']} | {100 * result['usage']:.2f} % "
        f"| {result['perplexity']:,.0f} | {result['mse']:.4f} | {result['seconds']:.0f} |"
    )


def main() -> None:
    """Train, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path, help="folder of photographs to make latents of")
    parser.add_argument("--json", type=Path, help="results with curves; runs that it has are not repeated")
    parser.add_argument("--codewords", type=int, help="only the runs of this many codewords")
    parser.add_argument(
        "--peers", action="store_true", help="train vector-quantize-pytorch instead, which must be installed"
    )
    parser.add_argument("--limit", type=int, help="pictures to use")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    done: list[dict[str, Any]] = []
    if arguments.json and arguments.json.exists():
        done = json.loads(arguments.json.read_text())["results"]
    data = latents(arguments.pictures, limit=arguments.limit)
    settings = (
        f"{len(data.known)} pictures to train, {len(data.held)} held out, {data.positions[0]} and "
        f"{data.positions[1]} positions of 64 channels; {PER_WORD} vectors a codeword of each; one thread"
    )
    about = describe(settings, (*PACKAGES, "vector-quantize-pytorch") if arguments.peers else PACKAGES)
    print(about)
    print("\n| K | D | method | usage | perplexity | mse | CPU s |\n|---:|---:|---|---:|---:|---:|---:|")
    for run in RUNS:
        if arguments.codewords not in (None, run.codewords) or run.peer != arguments.peers:
            continue
        known = [result for result in done if result["run"] == asdict(run)]
        result = known[0] if known else asdict(train(run, *vectors(data, run)))
        print(line(result), flush=True)
        if not known:
            done.append(result)
            if arguments.json:
                arguments.json.write_text(json.dumps({"about": about, "results": done}, indent=1))


if __name__ == "__main__":
    main()
