"""Structures of quantization in one audio codec: group-residual, residual and parallel VQ, trained end to end.

    python -m siglum.benchmarks.audio_quantizers --data SPEECH --out RUNS --held-out NAME --steps N

Three structures of twelve codes of ten bits a frame, 50 frames a second: two groups of six residual stages, twelve
residual stages, twelve groups. The runs of a seed have the same batches, numbers of steps and bits, and the same
first half, in which the networks train without a quantizer; codebooks then start from data, and both train together.
Every segment is coded with 1, 3 or 6 kbps' worth of the codes, the first ones (``--layers`` has other choices; one
number trains for that rate alone). Measured on recordings of folders that training never saw. Runs that are there
already go on where they stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from siglum.benchmarks.bd_rate import bootstrap
from siglum.benchmarks.machine import describe
from siglum.errors import UsageError, require_torch

STRUCTURES = ("grvq", "rvq", "parallel")
CLIPS = 16
USAGE_FRAMES = 50_000
Result = dict[str, Any]
Results = Mapping[tuple[str, int], Result]


def trained(options: argparse.Namespace, structure: str, seed: int, log: Callable[[str], None]) -> Result:
    """Return the measurements of one run, which is trained if it has none yet."""
    from siglum.benchmarks.audio_structures import SMALL, Arm, Plan, measure, shared, usage
    from siglum.codecs.audio.segments import clips
    from siglum.datasets.audio import SegmentSampler, find_recordings, speakers

    out = options.out / f"{structure}-{seed}"
    path = out / "result.json"
    plan = Plan(structure, seed, options.steps, layers=tuple(options.layers))
    if path.exists():
        found: Result = json.loads(path.read_text())
        if (found["steps"], found["layers"]) == (plan.steps, list(plan.layers)):
            return found
        raise UsageError(f"{path} is of a run of other steps or layers; name another folder")
    groups = speakers(find_recordings(options.data), options.data)
    missing = set(options.held_out) - set(groups)
    if missing:
        raise UsageError(f"{options.data} has no folder {', '.join(sorted(missing))} to hold out")
    train = [file for name, files in groups.items() if name not in options.held_out for file in files]
    held = [file for name in options.held_out for file in groups[name]]
    sampler = SegmentSampler(
        train, SMALL.rate, plan.frames * SMALL.frame, speeds=(1.0,), cache=options.out / "samples.npz"
    )
    before = Arm(shared(plan), sampler, options.out / f"none-{seed}", log)
    before.resume()
    before.run()
    arm = Arm(plan, sampler, out, log)
    arm.resume(before.out)
    arm.run()
    model = arm.finished()
    result = {
        "steps": plan.steps,
        "layers": list(plan.layers),
        "kbps": [
            count * 2 * np.log2(SMALL.codewords) * SMALL.rate / SMALL.frame / 1000 for count in plan.layers
        ],
        **measure(model, clips(held, SMALL.rate, SMALL.frame, count=CLIPS), plan.layers),
        "usage": usage(model, sampler, USAGE_FRAMES),
    }
    path.write_text(json.dumps(result))
    return result


def table(results: Results) -> list[str]:
    """Return a line a structure and rate, means over recordings and seeds, then the differences with intervals."""
    first = next(iter(results.values()))
    structures = list(dict.fromkeys(structure for structure, _ in results))
    head = f"{'structure':<10} {'kbps':>5} {'PESQ-WB':>8} {'of each seed':>14} {'STOI':>7} {'mel':>7}"
    lines = [f"{head} {'used, least':>12} {'perplexity':>11}"]
    for place, kbps in enumerate(first["kbps"]):
        codes = 2 * first["layers"][place]
        for structure in structures:
            runs = [result for (name, _), result in results.items() if name == structure]
            pesq, stoi, mel = (
                np.mean([run[metric][place] for run in runs]) for metric in ("pesq", "stoi", "mel")
            )
            seeds = " / ".join(f"{np.mean(run['pesq'][place]):.2f}" for run in runs)
            used = min(min(run["usage"]["used"][:codes]) for run in runs)
            perplexity = np.mean([run["usage"]["perplexity"][:codes] for run in runs])
            lines.append(
                f"{structure:<10} {kbps:5.1f} {pesq:8.3f} {seeds:>14} {stoi:7.4f} {mel:7.4f} "
                f"{100 * used:10.1f} % {perplexity:11.0f}"
            )
    lines += [
        "",
        "grvq against the others, PESQ-WB and STOI, 95 % intervals by bootstrap over the recordings",
    ]
    for place, kbps in enumerate(first["kbps"]):
        for other in structures:
            if other != "grvq" and "grvq" in structures:
                gaps = [_gap(results, other, metric, place) for metric in ("pesq", "stoi")]
                lines.append(f"  {kbps:.1f} kbps, {other:<9} {gaps[0]}   {gaps[1]}")
    return lines


def _gap(results: Results, other: str, metric: str, place: int) -> str:
    """The mean gain over another structure, of the recordings' means over the seeds."""
    pair = [
        np.mean([result[metric][place] for (name, _), result in results.items() if name == structure], axis=0)
        for structure in ("grvq", other)
    ]
    gains = pair[0] - pair[1]
    low, high = bootstrap(lambda drawn: float(gains[drawn].mean()), len(gains), resamples=2000)
    return f"{gains.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m siglum.benchmarks.audio_quantizers", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="recordings, a folder a speaker or source")
    parser.add_argument("--out", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--held-out", nargs="+", required=True, help="folders to measure on")
    parser.add_argument("--steps", type=int, default=2000, help="of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--layers", type=int, nargs="+", default=[1, 3, 6], help="pairs of codes, 1 kbps each"
    )
    parser.add_argument("--structures", nargs="+", choices=STRUCTURES, default=list(STRUCTURES))
    options = parser.parse_args(arguments)
    if options.steps < 100:
        parser.error("the number of steps must be 100 or more")
    if not all(1 <= count <= 6 for count in options.layers):
        parser.error("layers are numbers from 1 to 6")
    require_torch("training")
    import torch

    torch.set_num_threads(1)
    results: dict[tuple[str, int], Result] = {}
    for seed in options.seeds:
        for structure in options.structures:
            results[structure, seed] = trained(
                options, structure, seed, lambda line: print(line, file=sys.stderr, flush=True)
            )
    print(describe(f"{options.steps} steps a run, held out {', '.join(options.held_out)}"))
    print("\n".join(table(dict(sorted(results.items(), key=lambda item: STRUCTURES.index(item[0][0]))))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
