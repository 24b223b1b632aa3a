"""How much of their codebooks siglum's files of recordings use, counted in the streams that were kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from siglum.benchmarks.report.board import Board
from siglum.benchmarks.report.media import Keep
from siglum.errors import SiglumError


@dataclass(frozen=True)
class Codebooks:
    """All files of a codec at a setting.

    Attributes
    ----------
    files, frames
        How many were counted.
    stages
        Codes that frames use on average, of those that there are.
    least, mean
        Part of the codewords that was used: of the code with the least, and of all codes.
    perplexity
        A mean over the codes.
    """

    codec: str
    dial: float | None
    files: int
    frames: int
    stages: float
    of: int
    codewords: int
    least: float
    mean: float
    perplexity: float


def codebooks(board: Board, keep: Keep) -> list[Codebooks]:
    """Return a line a codec and setting of which streams were kept; those that do not decode here are left out."""
    groups: dict[tuple[str, float | None], list[Path]] = {}
    for row in board.rows:
        if row.codec in board.ours and (path := keep.stream(row)) is not None and path.suffix == ".sgl":
            groups.setdefault((row.codec, row.dial), []).append(path)
    if not groups:
        return []
    from siglum.benchmarks.audio_codes import used

    found = []
    for (codec, dial), paths in groups.items():
        try:
            counted = used(paths)
        except (SiglumError, OSError, ValueError):
            continue  # a failure of the codec's is in its rows; a model may be installed elsewhere only
        some = counted.counts.sum(axis=1) > 0
        if some.any():
            shares, of = counted.shares[some], len(counted.counts)
            found.append(
                Codebooks(
                    codec,
                    dial,
                    len(paths),
                    counted.frames,
                    float(counted.counts.sum() / counted.frames),
                    of,
                    counted.counts.shape[1],
                    float(shares.min()),
                    float(shares.mean()),
                    float(counted.perplexities[some].mean()),
                )
            )
    return found
