"""Time the coder on a GPU: ``python -m siglum.benchmarks.gpu_rans``.

Device time between two CUDA events around whole calls, symbols and payloads on the device, the least of the
repetitions; every figure stands only after the symbols were compared, and the bytes with the CPU's. The host
reads a few numbers for every chunk in between, which is part of the time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click
import numpy as np

from siglum.benchmarks import entropy_sources as sources
from siglum.benchmarks.entropy_sources import Task
from siglum.benchmarks.machine import describe
from siglum.entropy import rans

CHUNKS = (1 << 12, 1 << 13, 1 << 14, 1 << 16)


def measure(task: Task, chunk: int, repeats: int) -> dict[str, Any]:
    """Speeds of one task in chunks of this size, in Gsym/s.

    Raises
    ------
    AssertionError
        If the bytes or the symbols are not those of the CPU.
    """
    import torch

    from siglum.kernels.gpu import rans as gpu

    symbols = torch.from_numpy(task.symbols).cuda()
    which = 0 if task.indexes is None else torch.from_numpy(task.indexes).cuda()
    payloads = gpu.encode_chunks(symbols, task.tables, which, chunk)
    encoder = rans.Encoder(lanes=32)
    encoder.push(task.symbols[:chunk], task.tables, 0 if task.indexes is None else task.indexes[:chunk])
    if payloads.to_bytes()[0] != encoder.finish():
        raise AssertionError("the GPU's bytes are not the CPU's")

    def decode() -> Any:
        return gpu.decode_chunks(payloads, task.tables, which, task.count, chunk, symbols.dtype)

    if not torch.equal(decode(), symbols):
        raise AssertionError("the GPU does not give the symbols back")
    encoding = _seconds(lambda: gpu.encode_chunks(symbols, task.tables, which, chunk), repeats)
    decoding = _seconds(decode, repeats)
    size = int(payloads.data.numel())
    return {
        "task": task.name,
        "symbols": task.count,
        "chunk": chunk,
        "encode_gsps": task.count / encoding / 1e9,
        "decode_gsps": task.count / decoding / 1e9,
        "bits_per_symbol": 8 * size / task.count,
        "over_percent": 100 * (8 * size / task.source_bits - 1),
    }


def _seconds(call: Callable[[], Any], repeats: int) -> float:
    import torch

    least = float("inf")
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        least = min(least, begin.elapsed_time(end) / 1e3)
    return least


def _rows(count: int, repeats: int) -> Iterator[dict[str, Any]]:
    # A few million different symbols suffice: they are repeated up to the count.
    for task in (sources.gaussian(1 << 22, 0), sources.laplace(4.0, 1 << 22, 0), sources.indexed(1 << 22, 0)):
        times = -(-count // task.count)
        indexes = None if task.indexes is None else np.tile(task.indexes, times)
        long = Task(task.name, np.tile(task.symbols, times), task.mass, task.first, indexes, task.scales)
        for chunk in CHUNKS:
            yield measure(long, chunk, repeats)


@click.command()
@click.option("--symbols", default=1 << 28, show_default=True, type=click.IntRange(1 << 16), metavar="N")
@click.option("--repeats", default=20, show_default=True, type=click.IntRange(1), metavar="N")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def main(symbols: int, repeats: int, as_json: bool) -> None:
    """Time rANS on the GPU, in chunks of several sizes."""
    try:
        import torch
        import triton  # noqa: F401
    except ImportError as error:
        raise click.ClickException(f"{error.name} is not installed: pip install siglum[gpu]") from None
    if not torch.cuda.is_available():
        raise click.ClickException("there is no GPU here that torch can use; nothing was timed")
    properties = torch.cuda.get_device_properties(0)
    settings = f"device time of whole calls, least of {repeats}; symbols and payloads on the device"
    click.echo(describe(settings, ("siglum", "numpy", "torch", "triton")), err=as_json)
    gpu = (
        f"{properties.name}, sm_{properties.major}{properties.minor}, {properties.multi_processor_count} SMs"
    )
    click.echo(f"GPU       {gpu}, CUDA {torch.version.cuda}", err=as_json)
    if not as_json:
        click.echo("\ntask                chunk   encode    decode    bits/sym  over entropy")
        click.echo("                            Gsym/s    Gsym/s              %")
    for row in _rows(symbols, repeats):
        if as_json:
            click.echo(json.dumps(row))
        else:
            speeds = f"{row['encode_gsps']:<8.4g}  {row['decode_gsps']:<8.4g}"
            rate = f"{row['bits_per_symbol']:<8.4f}  {row['over_percent']:.3f}"
            click.echo(f"{row['task']:18}  {row['chunk']:<6}  {speeds}  {rate}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
