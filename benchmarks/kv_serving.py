"""Caches for people who serve models: the store's size and speed, and the controller on simulated links.

python -m siglum.benchmarks.kv_serving [CACHE.safetensors …] [--model NAME] [--quality 60] [--quick]

Of each cache (by default of tests/media) are printed: bits an element, all bytes of the entries counted, for entries of
64 and 256 tokens, beside those of one file; speeds in MB of fp16 a second of CPU time, one thread, best of
three after a first run; microseconds to look a prompt up. Then 400 links whose bandwidth wanders (every tenth of a
second by a factor of up to 1.4, within a factor of 4; seed 0): the share of deadlines missed, time to first token, mean
quality of what was loaded, and the share of chunks computed anew, by policy.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, quantiles

from siglum import kv
from siglum.kv.control import RECOMPUTE, Chunk, Costs
from siglum.kv.simulate import Policy, Trace, adaptive, always, simulate

FIXTURE = Path(__file__).resolve().parent.parent / "tests" / "media" / "smollm2-kv.safetensors"
QUALITIES = (40, 60, 80)


def best(work: Callable[[], object], repeats: int = 3) -> float:
    """CPU seconds of the fastest of some runs."""
    spent = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return min(spent)


def loaded(path: Path, model: str | None) -> kv.KVCache:
    """The whole blocks of 64 tokens of a cache, under the name of a model."""
    cache = kv.read_cache(path)
    named = kv.KVCache(cache.layers, cache.dtype, cache.model if model is None else model, cache.position)
    return named.slice(0, cache.tokens // 64 * 64)


def measure_store(path: Path, model: str | None, quality: float, repeats: int) -> None:
    """Print size and speed of a store with one cache."""
    cache = loaded(path, model)
    tokens, whole = list(range(cache.tokens)), cache.tokens
    elements, megabytes = cache.elements, 2 * cache.elements / 1e6
    name = cache.model or "none"
    data = kv.compress(cache, quality=quality, threads=1)
    kv.decompress(data, threads=1)
    print(f"{path.name}: {whole} tokens, model {name}, quality {quality:g}")
    print(f"  one file            {8 * len(data) / elements:6.3f} bits an element")
    for span in (64, 256):
        if span > whole:
            continue
        put, size = float("inf"), 0
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as folder:
                store = kv.Store(folder, model=name, quality=quality, span=span, threads=1)
                put = min(put, best(lambda s=store: s.put(tokens, cache), 1))  # type: ignore[misc]
                size = sum(entry.size for entry in store.entries())
                get = best(lambda s=store: s.get(tokens), repeats)  # type: ignore[misc]
                look = best(lambda s=store: [s.lookup(tokens) for _ in range(20)], repeats) / 20  # type: ignore[misc]
        print(
            f"  entries of {span:3} tokens {8 * size / elements:5.3f} bits an element, "
            f"put {megabytes / put:6.1f} MB/s, get {megabytes / get:6.1f} MB/s, lookup {1e6 * look:6.0f} µs"
        )


def links(count: int) -> Sequence[tuple[Trace, float]]:
    """Links that wander, and the bandwidth that was seen on each before the prompt."""
    source, made = random.Random(0), []
    for _ in range(count):
        middle = 10 ** source.uniform(5.5, 7.5)
        rate, times, rates = middle, [], []
        for step in range(20):
            times.append(0.1 * step)
            rates.append(rate)
            rate = min(max(rate * 2 ** source.uniform(-0.5, 0.5), middle / 4), middle * 4)
        made.append((Trace(tuple(times), tuple(rates)), middle))
    return made


def measure_controller(path: Path, count: int, model: str | None = None) -> None:
    """Print what policies make of a prompt of 2048 tokens, with sizes of a real cache."""
    cache = loaded(path, model)
    sizes = [len(kv.compress(cache, quality=quality, threads=1)) for quality in QUALITIES]
    share = 256 / cache.tokens
    chunks = [Chunk(256, tuple(round(share * size) for size in sizes))] * 8
    costs = Costs(decode=2e-5, compute=8e-4, attend=1e-7, latency=0.02)
    deadline = 1.0
    policies: dict[str, Policy] = {
        "adaptive": adaptive(0.8),
        "adaptive, never anew": adaptive(0.8, can_recompute=False),
        **{f"always {quality}": always(number) for number, quality in enumerate(QUALITIES)},
        "always anew": always(RECOMPUTE),
    }
    print(f"{count} links, deadline {deadline} s; chunks of {', '.join(map(str, chunks[0].sizes))} bytes")
    print(
        "  policy                 missed  seconds: median, 95 %   mean quality of loaded chunks   computed anew"
    )
    for name, policy in policies.items():
        runs = [simulate(trace, deadline, chunks, costs, policy, guess=seen) for trace, seen in links(count)]
        took = [QUALITIES[c] for run in runs for c in run.choices if c != RECOMPUTE]
        cuts = quantiles([run.seconds for run in runs], n=20)
        anew = fmean(run.choices.count(RECOMPUTE) / len(chunks) for run in runs)
        quality = f"{fmean(took):.1f}" if took else "-"
        missed = fmean(run.missed for run in runs)
        print(f"  {name:22} {missed:5.1%}     {cuts[9]:5.2f}, {cuts[18]:5.2f}  {quality:>24}  {anew:24.1%}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(prog="python -m siglum.benchmarks.kv_serving", description=__doc__)
    parser.add_argument("caches", nargs="*", type=Path, default=[FIXTURE])
    parser.add_argument("--quality", type=float, default=60.0)
    parser.add_argument("--model", help="by which a calibration is chosen [default: as the file says]")
    parser.add_argument("--quick", action="store_true", help="one run of each, 40 links")
    chosen = parser.parse_args(arguments)
    for path in chosen.caches:
        measure_store(path, chosen.model, chosen.quality, 1 if chosen.quick else 3)
    measure_controller(chosen.caches[0], 40 if chosen.quick else 400, chosen.model)


if __name__ == "__main__":
    main()
