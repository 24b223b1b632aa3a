"""How far decoded samples differ between instruction sets and threads.

    python -m siglum.benchmarks.audio_exactness FILE…

Symbols are the same everywhere; samples come from arithmetic in floating point. Files are `.sgl` files of recordings.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from siglum.benchmarks.machine import describe
from siglum.kernels.dispatch import available_isas

LEVEL = 2.0**-15  # of 16 bits
_DECODE = """
import sys, numpy
from siglum.codecs.audio.codec import AudioCodec
data = open(sys.argv[1], "rb").read()
numpy.save(sys.argv[2], AudioCodec(threads=int(sys.argv[3])).decode_audio(data).samples)
"""


def decoded(file: Path, isa: str, threads: int) -> NDArray[np.float32]:
    """Samples of a file, decoded by a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "samples.npy"
        subprocess.run(
            [sys.executable, "-c", _DECODE, str(file), str(made), str(threads)],
            env={**os.environ, "SIGLUM_ISA": isa},
            check=True,
        )
        return np.asarray(np.load(made), np.float32)


def differences(files: Sequence[Path]) -> Iterator[tuple[str, int, float]]:
    """Instruction set, threads, and the largest difference from scalar code with one thread, in 16-bit levels."""
    plain = [decoded(file, "scalar", 1) for file in files]
    for isa in available_isas():
        for threads in (1, 2):
            others = [decoded(file, isa, threads) for file in files]
            worst = max(float(np.abs(a - b).max(initial=0)) for a, b in zip(plain, others, strict=True))
            yield isa, threads, worst / LEVEL


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
def main(files: Sequence[Path]) -> None:
    """Print a line for every instruction set of this machine, with one thread and two."""
    print(describe(f"{len(files)} files against scalar code with one thread"))
    for isa, threads, worst in differences(files):
        print(f"{isa:8} {threads} threads: samples differ by at most {worst:.4f} of a 16-bit level")


if __name__ == "__main__":
    main()
