"""Which codewords the files of the `audio` codec use: share and perplexity of every stage, over many files.

    python -m siglum.benchmarks.audio_codes KEPT/audio/3

Folders are those that ``codec bench --keep`` leaves, or any with .sgl files of recordings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.codecs import container
from siglum.codecs.audio import frame
from siglum.codecs.audio.codec import LIMITS
from siglum.codecs.audio.weights import load_by_id
from siglum.errors import SiglumError


@dataclass(frozen=True)
class Used:
    """What was counted.

    Attributes
    ----------
    frames
        All, silent ones without codes among them.
    counts
        Uses of every codeword of every code of a frame, (codes, codewords).
    """

    frames: int
    counts: NDArray[np.int64]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Part of each codebook that was used at all."""
        return np.asarray((self.counts > 0).mean(axis=1), np.float64)

    @property
    def perplexities(self) -> NDArray[np.float64]:
        """How many equally frequent codewords would be as uncertain; 1 for a codebook that is not used."""
        share = self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)
        logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
        return np.asarray(2.0 ** -(share * logs).sum(axis=1), np.float64)


def used(files: Iterable[Path]) -> Used:
    """Count the codes of files, all of one model.

    Raises
    ------
    BitstreamError
        If a file is damaged, or its model is not installed.
    ValueError
        If there is no file, or they are of several models.
    """
    model: bytes | None = None
    counts, frames = np.zeros((0, 0), np.int64), 0
    for path in files:
        header, chunks = container.read(path.read_bytes(), LIMITS)
        form = frame.form_of(header)
        if header.model != (model or header.model):
            raise ValueError(f"{path} is of another model than the files before it")
        weights, model = load_by_id(header.model), header.model
        if not counts.size:
            counts = np.zeros((weights.preset.codes, weights.preset.codewords), np.int64)
        for chunk in chunks:
            if chunk.type != container.ChunkType.DATA:
                continue
            head, parts = frame.unpack(chunk.payload, form.channels, form.frames)
            for part in parts:
                codes, stages = weights.prior.decode(part, head.frames or form.frames)
                frames += len(codes)
                _count(counts, codes, stages, weights.preset.groups)
    if model is None:
        raise ValueError("there are no files of recordings")
    return Used(frames, counts)


def _count(counts: NDArray[np.int64], codes: NDArray[Any], stages: NDArray[Any], groups: int) -> None:
    for place, book in enumerate(counts):
        book += np.bincount(codes[stages > place // groups, place], minlength=len(book))


def main(arguments: list[str] | None = None) -> int:
    """Print a line a code of a frame; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m siglum.benchmarks.audio_codes", description=__doc__)
    parser.add_argument("paths", type=Path, nargs="+", help="files and folders")
    options = parser.parse_args(arguments)
    files = [
        file for path in options.paths for file in ([path] if path.is_file() else sorted(path.rglob("*.sgl")))
    ]
    try:
        found = used(files)
    except (SiglumError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(files)} files, {found.frames} frames")
    print(f"{'code':>4} {'times':>9} {'used':>8} {'perplexity':>11}")
    for place, (share, perplexity) in enumerate(zip(found.shares, found.perplexities, strict=True)):
        print(f"{place:4} {found.counts[place].sum():9} {100 * share:6.1f} % {perplexity:11.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
